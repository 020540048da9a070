"""The ways around a block: options A, B and C of He et al. 2016."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from .layers import make_conv_bn


class ZeroPadShortcut(nn.Module):
    """Option A where shapes differ: every ``stride``-th pixel, with zeros as the new channels; no parameters.

    They follow the old channels, as in the authors' code; with ``padding`` "both" half of them comes before the old
    ones, as in weights that are widely used. The shapes are the same, the function is another.
    """

    def __init__(self, *, stride: int, new_channels: int, padding: str = "end") -> None:
        super().__init__()
        self.stride = stride
        self.before = new_channels // 2 if padding == "both" else 0
        self.behind = new_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.behind))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, before={self.before}, behind={self.behind}"


def make_shortcut(
    option: str,
    *,
    in_channels: int,
    out_channels: int,
    stride: int,
    make_projection: Callable[[int, int, int], nn.Module] | None = None,
    zero_padding: str = "end",
) -> nn.Module | None:
    """Return the shortcut of a block (He et al. 2016, Section 4.1), or None in a plain net.

    A: the identity, zero-padded where shapes differ. B: the identity, or a projection where shapes differ.
    C: a projection everywhere. ``make_projection(in_channels, out_channels, stride)`` makes one; by default a 1x1
    convolution with BatchNorm. Raises ValueError for another option.
    """
    if option == "none":
        return None
    if option != "C" and stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if option == "A":
        return ZeroPadShortcut(stride=stride, new_channels=out_channels - in_channels, padding=zero_padding)
    if option not in ("B", "C"):
        raise ValueError(f"shortcut {option!r}: A, B, C or none")
    if make_projection is None:
        return make_conv_bn(in_channels, out_channels, 1, stride)
    return make_projection(in_channels, out_channels, stride)
