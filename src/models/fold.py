"""Fold BatchNorm into the convolutions before it, for evaluation: fewer passes over the maps, and the same function.

In evaluation BatchNorm is an affine map a channel, so it can become part of the weights and the bias of the convolution
whose output it takes. Where it takes anything else (a sum, as in pre-activation nets), it stays.
"""

import copy
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_weights
from torchvision.models.densenet import _DenseLayer

NamedLayer = tuple[nn.Module, str, nn.Module]  # the module that holds it, its name there, and the layer itself


def fold_batchnorm(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a copy in evaluation mode with each BatchNorm behind a convolution folded into it.

    Its convolutions and linear layers are of type ``dtype``, and so are the images [B, C, H, W] that it takes; a
    BatchNorm that stays keeps its own type, for rounded statistics would cost accuracy.
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)
    for module in list(model.modules()):
        layers = find_chain(module)
        for (_, _, conv), (holder, name, norm) in pairwise(layers):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
                conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)  # type: ignore[arg-type]
                setattr(holder, name, nn.Identity())
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.to(dtype)
    return model


def find_chain(module: nn.Module) -> list[NamedLayer]:
    """Return layers of this module of which each takes the output of the one before it, and nothing else does."""
    if isinstance(module, _DenseLayer):
        return [(module, name, getattr(module, name)) for name in ("conv1", "norm2")]
    return list(iterate_layers(module)) if isinstance(module, nn.Sequential) else []


def iterate_layers(layers: nn.Sequential) -> Iterator[NamedLayer]:
    """Iterate over the layers of nested Sequentials in the order of computation."""
    for name, layer in layers.named_children():
        if isinstance(layer, nn.Sequential):
            yield from iterate_layers(layer)
        else:
            yield layers, name, layer
