"""Hold the statistics that each BatchNorm has learned against those of a batch, where a wrong function shows.

The tensors of two networks can have the same shapes and mean two functions: where shortcut A pads, which convolution
strides, how pixels are scaled. What a BatchNorm then sees is not what it was trained on, and no label is needed to
notice.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

FARTHEST = 3.0  # of a channel: beyond, one dead channel would hide all others [standard deviations]


class Mismatch(NamedTuple):
    """How far a batch is from what the BatchNorms of a network have seen in training, in the worst quarter of these.

    In standard deviations: how far means are apart, plus how much deviations differ (as a natural logarithm). The worst
    quarter, for a wrong padding or stride leaves the layers before it as they are.
    """

    distance: float
    layers: int


def measure_mismatch(network: nn.Module, images: Tensor) -> Mismatch:
    """Hold the running statistics of a network in evaluation mode against those of normalised images [B, C, H, W].

    Without a BatchNorm that keeps statistics the distance is 0, of 0 layers.
    """
    distances: list[float] = []

    def compare(norm: _BatchNorm) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            distances.append(compare_statistics(norm, inputs[0]))

        return hook

    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    handles = [norm.register_forward_pre_hook(compare(norm)) for norm in norms]
    training = network.training
    try:
        with torch.inference_mode():
            network.eval()(images)
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    worst = sorted(distances, reverse=True)[: math.ceil(len(distances) / 4)]
    return Mismatch(sum(worst) / max(len(worst), 1), len(distances))


def compare_statistics(norm: _BatchNorm, x: Tensor) -> float:
    """Return how far a batch [B, C, …] is from the running statistics of a BatchNorm, on the mean over channels."""
    assert norm.running_mean is not None and norm.running_var is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double() + norm.eps
    channels = x.double().transpose(0, 1).flatten(1)
    found = channels.var(dim=1, correction=0) + norm.eps
    apart = ((channels.mean(dim=1) - mean).abs() / variance.sqrt()).clamp(max=FARTHEST)
    wider = ((found / variance).log().abs() / 2).clamp(max=FARTHEST)
    return float((apart + wider).mean())
