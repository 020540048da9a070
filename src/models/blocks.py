"""The residual block, y = f(x + F(x)), and the branches F that it can have.

A branch is a small value that makes the layers of F; the block adds the gate, stochastic depth, the shortcut and the
addition, which are the same for all of them. A new branch is one class here; a new gate or activation is one entry of
a table in layers.py and one choice in src/zoo/base.py.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor, nn

from .layers import (
    ACTIVATIONS,
    GATES,
    Norm,
    make_conv,
    make_conv_bn,
    make_drop,
    make_norm_act,
)
from .shortcuts import make_shortcut


@dataclass(frozen=True)
class BlockStyle:
    """What all blocks of a network have in common, whatever their branch and shape."""

    activation: str = "relu"  # a key of ACTIVATIONS
    gate: str = "none"  # behind F: a key of GATES
    norm: Norm = nn.BatchNorm2d
    bias: bool = False  # of a pre-activated bottleneck's last convolution and projection, as in Keras
    zero_padding: str = "end"  # where shortcut A puts its zeros: "end", or "both", half before and half behind
    stride_in: str = "3x3"  # which convolution of a bottleneck strides: "3x3" or "1x1", the first


class Branch(Protocol):
    """F(x): (N, in_channels, H, W) -> (N, expansion * width, H / stride, W / stride)."""

    @property
    def expansion(self) -> int:
        """Channels that come out, as a multiple of the width."""

    @property
    def preactivated(self) -> bool:
        """True where BatchNorm and activation stand before the convolutions, and so before F."""

    def make_layers(self, in_channels: int, width: int, stride: int, style: BlockStyle) -> nn.Sequential:
        """Return the layers of F; of a pre-activated one, those behind its first BatchNorm and activation."""


@dataclass(frozen=True)
class BasicBranch:
    """3x3, BN, relu, 3x3, BN (He et al. 2016)."""

    expansion: ClassVar[int] = 1
    preactivated: ClassVar[bool] = False

    def make_layers(self, in_channels: int, width: int, stride: int, style: BlockStyle) -> nn.Sequential:
        return nn.Sequential(
            make_conv_bn(in_channels, width, 3, stride, norm=style.norm),
            ACTIVATIONS[style.activation](),
            make_conv_bn(width, width, 3, norm=style.norm),
        )


@dataclass(frozen=True)
class BottleneckBranch:
    """1x1, BN, relu, 3x3, BN, relu, 1x1, BN, to four times the width (He et al. 2016).

    The 3x3 has ``widening`` times the width in ``groups``: several make it ResNeXt's (Xie et al. 2017). The paper
    strides in the first 1x1; here, as in torchvision and in later work, the 3x3 does, unless the style says otherwise.
    """

    widening: float = 1.0
    groups: int = 1

    expansion: ClassVar[int] = 4
    preactivated: ClassVar[bool] = False

    def make_layers(self, in_channels: int, width: int, stride: int, style: BlockStyle) -> nn.Sequential:
        inner = round(width * self.widening)
        first, second = (stride, 1) if style.stride_in == "1x1" else (1, stride)
        return nn.Sequential(
            make_conv_bn(in_channels, inner, 1, first, norm=style.norm),
            ACTIVATIONS[style.activation](),
            make_conv_bn(inner, inner, 3, second, groups=self.groups, norm=style.norm),
            ACTIVATIONS[style.activation](),
            make_conv_bn(inner, width * self.expansion, 1, norm=style.norm),
        )


@dataclass(frozen=True)
class PreActBasicBranch:
    """BN, relu, 3x3, BN, relu, (dropout,) 3x3 (He et al. 2016b; dropout: Zagoruyko & Komodakis 2016)."""

    dropout: float = 0.0

    expansion: ClassVar[int] = 1
    preactivated: ClassVar[bool] = True

    def make_layers(self, in_channels: int, width: int, stride: int, style: BlockStyle) -> nn.Sequential:
        return nn.Sequential(
            make_conv(in_channels, width, 3, stride),
            make_norm_act(width, style.activation, norm=style.norm),
            nn.Dropout(self.dropout) if self.dropout else nn.Identity(),
            make_conv(width, width, 3),
        )


@dataclass(frozen=True)
class PreActBottleneckBranch:
    """BN, relu, 1x1, BN, relu, 3x3, BN, relu, 1x1, to four times the width (He et al. 2016b)."""

    expansion: ClassVar[int] = 4
    preactivated: ClassVar[bool] = True

    def make_layers(self, in_channels: int, width: int, stride: int, style: BlockStyle) -> nn.Sequential:
        return nn.Sequential(
            make_conv(in_channels, width, 1),
            make_norm_act(width, style.activation, norm=style.norm),
            make_conv(width, width, 3, stride),
            make_norm_act(width, style.activation, norm=style.norm),
            make_conv(width, width * self.expansion, 1, bias=style.bias),
        )


class ResidualBlock(nn.Module):
    """y = f(x + F(x)); pre-activated, y = x + F(x) with nothing behind the addition; in a plain net without x.

    ``drop`` is the probability of stochastic depth. Where shapes differ, or with shortcut C everywhere, a projection
    takes the place of x; a pre-activated block projects the activated map, as its authors do.
    """

    def __init__(
        self,
        branch: Branch,
        *,
        in_channels: int,
        width: int,
        stride: int,
        shortcut: str,
        style: BlockStyle,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        out_channels = width * branch.expansion

        def make_projection(inputs: int, outputs: int, stride: int) -> nn.Module:
            if branch.preactivated:
                return make_conv(inputs, outputs, 1, stride, bias=style.bias)
            return make_conv_bn(inputs, outputs, 1, stride, norm=style.norm)

        self.norm = (
            make_norm_act(in_channels, style.activation, norm=style.norm) if branch.preactivated else nn.Identity()
        )
        self.residual = branch.make_layers(in_channels, width, stride, style)
        self.squeeze = GATES[style.gate](out_channels)
        self.drop = make_drop(drop)
        self.shortcut = make_shortcut(
            shortcut,
            in_channels=in_channels,
            out_channels=out_channels,
            stride=stride,
            make_projection=make_projection,
            zero_padding=style.zero_padding,
        )
        self.activation = nn.Identity() if branch.preactivated else ACTIVATIONS[style.activation]()

    def forward(self, x: Tensor) -> Tensor:
        activated = self.norm(x)
        y = self.drop(self.squeeze(self.residual(activated)))
        if self.shortcut is not None:
            y = y + self.shortcut(activated if isinstance(self.shortcut, nn.Conv2d) else x)
        out: Tensor = self.activation(y)
        return out
