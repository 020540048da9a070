"""The pieces of a residual network: convolutions with normalisation, gates and initialisation."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import SqueezeExcitation, StochasticDepth

Norm = Callable[[int], nn.Module]  # makes the normalisation of that many channels

Input = TypeVar("Input", Tensor, list[Tensor])


ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "mish": nn.Mish,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}


def make_conv(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, groups: int = 1, bias: bool = False
) -> nn.Conv2d:
    """Return a convolution padded such that stride 1 keeps the size of the map (odd kernels)."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)


def make_conv_bn(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    norm: Norm = nn.BatchNorm2d,
) -> nn.Sequential:
    """Return a convolution without bias, and the BatchNorm that brings one."""
    return nn.Sequential(make_conv(in_channels, out_channels, kernel, stride, groups=groups), norm(out_channels))


def make_norm_act(channels: int, activation: str, *, norm: Norm = nn.BatchNorm2d) -> nn.Sequential:
    """Return BatchNorm and the activation, the two that stand before a pre-activated convolution."""
    return nn.Sequential(norm(channels), ACTIVATIONS[activation]())


def make_squeeze_excitation(channels: int) -> nn.Module:
    """Return squeeze-and-excitation (Hu et al. 2018) with a 16th of the channels, rounded to a multiple of 8, inside.

    There are at least 8.
    """
    return SqueezeExcitation(channels, max(8, (channels // 16 + 4) // 8 * 8))


GATES: Mapping[str, Callable[[int], nn.Module]] = {  # scale the channels of F(x)
    "none": lambda channels: nn.Identity(),
    "se": make_squeeze_excitation,
}


def make_drop(probability: float) -> nn.Module:
    """Return stochastic depth (Huang et al. 2016): in training, drop F(x) of an image with this probability."""
    return StochasticDepth(probability, "row") if probability else nn.Identity()


def init_weights(model: nn.Module) -> None:
    """Draw the convolutions by fan-out as He et al. 2015 do, without bias; leave torch's defaults elsewhere.

    BatchNorm thus starts at scale 1 and shift 0, and a linear layer uniform in ±1/sqrt(inputs).
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def run_module(module: nn.Module, x: Input, *, recompute: bool) -> Tensor:
    """Return the output of the module for ``x``; ``recompute`` saves the memory of its inner activations in training.

    Only ``x`` is then kept for the backward pass, which computes the rest again (Chen et al. 2016, "Training Deep Nets
    with Sublinear Memory Cost"). BatchNorm counts each batch once, and dropout draws the same numbers both times, so
    the results are those of an ordinary run, bit for bit.
    """
    output: Tensor
    if not (recompute and module.training and torch.is_grad_enabled()):
        output = module(x)
        return output

    def make_contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), keep_statistics(module)

    output = checkpoint(module, x, use_reentrant=False, context_fn=make_contexts)
    return output


@contextmanager
def keep_statistics(module: nn.Module) -> Iterator[None]:
    """Leave the running statistics of every BatchNorm as they are, though it normalises by the batch."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
