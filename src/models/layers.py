"""The pieces of a residual network: convolution with normalisation, and the shortcuts of He et al. 2016."""

from torch import Tensor, nn
from torch.nn import functional as F


def conv_bn(in_channels: int, out_channels: int, *, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution that keeps the map's size at stride 1, and BatchNorm, which brings the bias."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    )


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


def make_shortcut(option: str, *, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """The way around a block (He et al. 2016, Section 4.1), or None in a plain net.

    A: the identity, zero-padded where shapes differ. B: the identity, or a projection (1x1 convolution)
    where shapes differ. C: a projection everywhere.
    """
    same_shape = stride == 1 and in_channels == out_channels
    if option == "none":
        return None
    if option != "C" and same_shape:
        return nn.Identity()
    if option == "A":
        return ZeroPadded(stride=stride, new_channels=out_channels - in_channels)
    if option in ("B", "C"):
        return conv_bn(in_channels, out_channels, kernel=1, stride=stride)
    raise ValueError(f"shortcut {option!r}: A, B, C or none")


def he_init(model: nn.Module) -> None:
    """Draw the convolutions as He et al. 2015 do, by fan-out; the rest keeps torch's defaults.

    So BatchNorm starts at scale 1 and shift 0, and a linear layer uniform in ±1/sqrt(inputs).
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
