"""Pre-activation residual networks: He et al. 2016, "Identity Mappings in Deep Residual Networks".

BN and relu stand before each convolution, so a block computes y = x + F(x) with nothing behind the addition. Wide
ResNets (Zagoruyko & Komodakis 2016) are such nets with more channels; ResNet V2 for ImageNet is here as Keras defines
it, with which its weights were published.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from .heads import Classifier
from .layers import ACTIVATIONS, make_drop, make_shortcut, make_squeeze
from .resnet import IMAGENET_BLOCKS, ResNet, classifier, stage_strides

Norm = Callable[[int], nn.Module]


def norm_act(channels: int, activation: str, norm: Norm = nn.BatchNorm2d) -> nn.Sequential:
    """BN, relu."""
    return nn.Sequential(norm(channels), ACTIVATIONS[activation]())


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps the map's size at stride 1."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=bias)


def project(in_channels: int, out_channels: int, stride: int, *, bias: bool = False) -> nn.Conv2d:
    """The projection of a pre-activation net: 1x1, without a BN of its own."""
    return conv(in_channels, out_channels, 1, stride, bias=bias)


def around(shortcut: nn.Module, x: Tensor, activated: Tensor) -> Tensor:
    """What is added to the residual: a projection is of the activated map, everything else of x itself."""
    way: Tensor = shortcut(activated if isinstance(shortcut, nn.Conv2d) else x)
    return way


class PreActBasicBlock(nn.Module):
    """y = shortcut(x) + F(x), where F is BN, relu, 3x3, BN, relu, (dropout,) 3x3."""

    def __init__(
        self,
        *,
        in_channels: int,
        width: int,
        stride: int,
        shortcut: str,
        activation: str = "relu",
        squeeze: bool = False,
        dropout: float = 0.0,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm = norm_act(in_channels, activation)
        self.residual = nn.Sequential(
            conv(in_channels, width, 3, stride),
            norm_act(width, activation),
            nn.Dropout(dropout) if dropout else nn.Identity(),
            conv(width, width, 3),
        )
        self.squeeze = make_squeeze(width, on=squeeze)
        self.drop = make_drop(drop)
        shape = {"in_channels": in_channels, "out_channels": width, "stride": stride}
        self.shortcut = make_shortcut(shortcut, **shape, project=project)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.norm(x)
        y: Tensor = self.drop(self.squeeze(self.residual(activated)))
        return y if self.shortcut is None else around(self.shortcut, x, activated) + y


class PreActBottleneckBlock(nn.Module):
    """y = shortcut(x) + F(x), where F is BN, relu, 1x1, BN, relu, 3x3, BN, relu, 1x1, to four times the width.

    With ``bias`` the last convolution and the projection have one, as in Keras.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        width: int,
        stride: int,
        shortcut: str,
        activation: str = "relu",
        squeeze: bool = False,
        bias: bool = False,
        norm: Norm = nn.BatchNorm2d,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        out_channels = width * 4
        self.norm = norm_act(in_channels, activation, norm)
        self.residual = nn.Sequential(
            conv(in_channels, width, 1),
            norm_act(width, activation, norm),
            conv(width, width, 3, stride),
            norm_act(width, activation, norm),
            conv(width, out_channels, 1, bias=bias),
        )
        self.squeeze = make_squeeze(out_channels, on=squeeze)
        self.drop = make_drop(drop)
        shape = {"in_channels": in_channels, "out_channels": out_channels, "stride": stride}
        self.shortcut = make_shortcut(shortcut, **shape, project=partial(project, bias=bias))

    def forward(self, x: Tensor) -> Tensor:
        activated = self.norm(x)
        y: Tensor = self.drop(self.squeeze(self.residual(activated)))
        return y if self.shortcut is None else around(self.shortcut, x, activated) + y


def cifar_preact(
    *,
    in_channels: int,
    num_classes: int,
    block: Callable[..., nn.Module],
    expansion: int,
    blocks: int,
    widths: Sequence[int],
    stem_channels: int,
    activation: str,
    head: str,
    stochastic_depth: float,
    checkpoint_activations: bool,
) -> Classifier:
    """A 3x3 convolution, three stages of ``blocks``, BN, relu, a head."""
    backbone = ResNet(
        stem=conv(in_channels, stem_channels, 3),
        stem_channels=stem_channels,
        stem_stride=1,
        block=block,
        expansion=expansion,
        widths=widths,
        strides=stage_strides((blocks,) * 3),
        stochastic_depth=stochastic_depth,
        last=norm_act(widths[-1] * expansion, activation),
        checkpoint_activations=checkpoint_activations,
    )
    return classifier(backbone, head, num_classes)


def preact_resnet(
    *,
    in_channels: int,
    num_classes: int,
    depth: int,
    block: str,
    shortcut: str,
    width: int,
    activation: str,
    se: bool,
    head: str,
    stochastic_depth: float,
    checkpoint_activations: bool,
) -> Classifier:
    """6n + 2 layers, or 9n + 2 with bottlenecks, for 32x32 images."""
    kind = PreActBottleneckBlock if block == "bottleneck" else PreActBasicBlock
    return cifar_preact(
        in_channels=in_channels,
        num_classes=num_classes,
        block=partial(kind, shortcut=shortcut, activation=activation, squeeze=se),
        expansion=4 if block == "bottleneck" else 1,
        blocks=(depth - 2) // (9 if block == "bottleneck" else 6),
        widths=[width, 2 * width, 4 * width],
        stem_channels=width,
        activation=activation,
        head=head,
        stochastic_depth=stochastic_depth,
        checkpoint_activations=checkpoint_activations,
    )


def wide_resnet(
    *,
    in_channels: int,
    num_classes: int,
    depth: int,
    widen: int,
    dropout: float,
    activation: str,
    se: bool,
    head: str,
    stochastic_depth: float,
    checkpoint_activations: bool,
) -> Classifier:
    """WRN-d-k: 6n + 4 layers (each stage's projection counts as one), k times the channels of a pre-activation net."""
    return cifar_preact(
        in_channels=in_channels,
        num_classes=num_classes,
        block=partial(PreActBasicBlock, shortcut="B", activation=activation, squeeze=se, dropout=dropout),
        expansion=1,
        blocks=(depth - 4) // 6,
        widths=[16 * widen, 32 * widen, 64 * widen],
        stem_channels=16,
        activation=activation,
        head=head,
        stochastic_depth=stochastic_depth,
        checkpoint_activations=checkpoint_activations,
    )


def resnet_v2(
    *,
    in_channels: int,
    num_classes: int,
    depth: int,
    activation: str,
    se: bool,
    head: str,
    stochastic_depth: float,
    checkpoint_activations: bool,
) -> Classifier:
    """ResNet V2 for ImageNet as ``keras.applications`` defines it.

    Biases in the stem, in each expansion and projection; the stride in the last block of a stage, where the shortcut
    takes every second pixel; zeros, not minus infinity, around the max-pool; Keras' BN (momentum .99, eps 1.001e-5).
    """
    norm = partial(nn.BatchNorm2d, eps=1.001e-5, momentum=0.01)

    def block(*, in_channels: int, width: int, stride: int, drop: float) -> nn.Module:
        shortcut = "B" if stride == 1 else "A"  # a block that strides keeps its channels
        return PreActBottleneckBlock(
            in_channels=in_channels,
            width=width,
            stride=stride,
            shortcut=shortcut,
            activation=activation,
            squeeze=se,
            bias=True,
            norm=norm,
            drop=drop,
        )

    stem = nn.Sequential(
        nn.Conv2d(in_channels, 64, 7, stride=2, padding=3),
        nn.ZeroPad2d(1),
        nn.MaxPool2d(kernel_size=3, stride=2),
    )
    counts = IMAGENET_BLOCKS[depth]
    backbone = ResNet(
        stem=stem,
        stem_channels=64,
        stem_stride=4,
        block=block,
        expansion=4,
        widths=[64, 128, 256, 512],
        strides=[[1] * (count - 1) + [2 if i < 3 else 1] for i, count in enumerate(counts)],
        stochastic_depth=stochastic_depth,
        last=norm_act(2048, activation, norm),
        checkpoint_activations=checkpoint_activations,
    )
    return classifier(backbone, head, num_classes)
