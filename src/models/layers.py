"""The pieces of a residual network: convolution with normalisation, shortcuts, and what goes into a block."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torchvision.ops import SqueezeExcitation, StochasticDepth

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "mish": nn.Mish,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}


def conv_bn(in_channels: int, out_channels: int, *, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution that keeps the map's size at stride 1, and BatchNorm, which brings the bias."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def project_bn(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The projection of a post-activation net: 1x1, BN."""
    return conv_bn(in_channels, out_channels, kernel=1, stride=stride)


class ZeroPadded(nn.Module):
    """Option A where shapes differ: every ``stride``-th pixel, zeros as the new channels; no parameters."""

    def __init__(self, *, stride: int, new_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = new_channels

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, new_channels={self.new_channels}"


def make_shortcut(
    option: str,
    *,
    in_channels: int,
    out_channels: int,
    stride: int,
    project: Callable[[int, int, int], nn.Module] = project_bn,
) -> nn.Module | None:
    """The way around a block (He et al. 2016, Section 4.1), or None in a plain net.

    A: the identity, zero-padded where shapes differ. B: the identity, or a projection (1x1 convolution)
    where shapes differ. C: a projection everywhere. ``project(in_channels, out_channels, stride)`` makes one.
    """
    same_shape = stride == 1 and in_channels == out_channels
    if option == "none":
        return None
    if option != "C" and same_shape:
        return nn.Identity()
    if option == "A":
        return ZeroPadded(stride=stride, new_channels=out_channels - in_channels)
    if option in ("B", "C"):
        return project(in_channels, out_channels, stride)
    raise ValueError(f"shortcut {option!r}: A, B, C or none")


def make_squeeze(channels: int, *, on: bool) -> nn.Module:
    """Squeeze-and-excitation (Hu et al. 2018) to a 16th of the channels: a multiple of 8, so at least 8."""
    return SqueezeExcitation(channels, max(8, (channels // 16 + 4) // 8 * 8)) if on else nn.Identity()


def make_drop(probability: float) -> nn.Module:
    """Stochastic depth (Huang et al. 2016): leaves out the residual of an image with this probability in training."""
    return StochasticDepth(probability, "row") if probability else nn.Identity()


def he_init(model: nn.Module) -> None:
    """Draw the convolutions as He et al. 2015 do, by fan-out, without bias; the rest keeps torch's defaults.

    So BatchNorm starts at scale 1 and shift 0, and a linear layer uniform in ±1/sqrt(inputs).
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def recomputed(module: nn.Module, *inputs: Any) -> Any:
    """Run a module of which only the inputs are kept for the backward pass, which computes the rest again.

    Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". BatchNorm counts each batch once, and
    dropout draws the same numbers both times, so the results are those of an ordinary run, bit for bit.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), statistics_kept(module)

    return checkpoint(module, *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
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


def run(module: nn.Module, *inputs: Any, recompute: bool) -> Any:
    """The module's output; ``recompute`` saves the memory of its inner activations while training."""
    if recompute and module.training and torch.is_grad_enabled():
        return recomputed(module, *inputs)
    return module(*inputs)
