"""Residual networks: He et al. 2016, "Deep Residual Learning for Image Recognition", and what grew from them.

A block computes y = relu(F(x) + x); without the addition it is the plain net's. With several groups in its 3x3 it is
ResNeXt's (Xie et al. 2017), with a wide one that of Wide ResNet-50-2 (Zagoruyko & Komodakis 2016), with a gate behind
F that of SE-ResNet (Hu et al. 2018). Parameters are defined in the order of torchvision's ResNet, so the values of the
two state dicts correspond one by one.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from .heads import HEADS, Classifier
from .layers import ACTIVATIONS, conv_bn, he_init, make_drop, make_shortcut, make_squeeze, run


class BasicBlock(nn.Module):
    """y = relu(F(x) + shortcut(x)), where F is 3x3, BN, relu, 3x3, BN."""

    def __init__(
        self,
        *,
        in_channels: int,
        width: int,
        stride: int,
        shortcut: str,
        activation: str = "relu",
        squeeze: bool = False,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            conv_bn(in_channels, width, kernel=3, stride=stride),
            ACTIVATIONS[activation](),
            conv_bn(width, width, kernel=3),
        )
        self.squeeze = make_squeeze(width, on=squeeze)
        self.drop = make_drop(drop)
        self.shortcut = make_shortcut(shortcut, in_channels=in_channels, out_channels=width, stride=stride)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.squeeze(self.residual(x)))
        out: Tensor = self.activation(y if self.shortcut is None else y + self.shortcut(x))
        return out


class BottleneckBlock(nn.Module):
    """y = relu(F(x) + shortcut(x)), where F is 1x1, BN, relu, 3x3, BN, relu, 1x1, BN, to four times the width.

    The 3x3 has ``inner`` channels in ``groups``; they equal the width and 1 in He et al. The paper strides in the
    first 1x1; here, as in torchvision and in later work, the 3x3 does.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        width: int,
        stride: int,
        shortcut: str,
        widening: float = 1.0,
        groups: int = 1,
        activation: str = "relu",
        squeeze: bool = False,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        inner, out_channels = round(width * widening), width * 4
        self.residual = nn.Sequential(
            conv_bn(in_channels, inner, kernel=1),
            ACTIVATIONS[activation](),
            conv_bn(inner, inner, kernel=3, stride=stride, groups=groups),
            ACTIVATIONS[activation](),
            conv_bn(inner, out_channels, kernel=1),
        )
        self.squeeze = make_squeeze(out_channels, on=squeeze)
        self.drop = make_drop(drop)
        self.shortcut = make_shortcut(shortcut, in_channels=in_channels, out_channels=out_channels, stride=stride)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.squeeze(self.residual(x)))
        out: Tensor = self.activation(y if self.shortcut is None else y + self.shortcut(x))
        return out


class ResNet(nn.Module):
    """Stem, then stages of blocks, then what the last map still needs (a pre-activation net: BN, relu).

    ``strides`` are those of each stage's blocks, ``widths`` those of its 3x3 convolutions; a block gives ``expansion``
    times as many channels. ``block(in_channels=, width=, stride=, drop=)`` makes one; its probability to be dropped
    rises linearly to ``stochastic_depth`` at the last. ``checkpoint_activations`` keeps only the blocks' inputs.
    """

    def __init__(
        self,
        *,
        stem: nn.Module,
        stem_channels: int,
        stem_stride: int,
        block: Callable[..., nn.Module],
        expansion: int,
        widths: Sequence[int],
        strides: Sequence[Sequence[int]],
        stochastic_depth: float = 0.0,
        last: nn.Module | None = None,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        self.checkpoint_activations = checkpoint_activations
        self.feature_channels = [width * expansion for width in widths]
        self.feature_strides: list[int] = []
        self.stem = stem
        self.stages = nn.ModuleList()
        in_channels, reduction, built, blocks = stem_channels, stem_stride, 0, sum(map(len, strides))
        for width, stage_strides in zip(widths, strides, strict=True):
            stage = nn.Sequential()
            for stride in stage_strides:
                built += 1
                drop = stochastic_depth * built / blocks
                stage.append(block(in_channels=in_channels, width=width, stride=stride, drop=drop))
                in_channels, reduction = width * expansion, reduction * stride
            self.stages.append(stage)
            self.feature_strides.append(reduction)
        self.norm = last

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """One map a stage: (N, feature_channels[i], H / feature_strides[i], W / feature_strides[i])."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            for block in stage:  # type: ignore[attr-defined]
                x = run(block, x, recompute=self.checkpoint_activations)
            maps.append(x)
        if self.norm is not None:
            maps[-1] = self.norm(x)
        return maps

    @property
    def parts(self) -> list[list[nn.Module]]:
        """The stem and the stages, the last with the final norm."""
        last = [] if self.norm is None else [self.norm]
        return [[self.stem], *([stage] for stage in self.stages[:-1]), [self.stages[-1], *last]]

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x)[-1]


def stage_strides(blocks: Sequence[int]) -> list[list[int]]:
    """Each stage after the first halves the map in its first block."""
    return [[2 if i else 1] + [1] * (count - 1) for i, count in enumerate(blocks)]


def cifar_stem(in_channels: int, width: int, activation: str = "relu") -> nn.Sequential:
    """3x3, BN, relu: keeps the resolution."""
    return nn.Sequential(conv_bn(in_channels, width, kernel=3), ACTIVATIONS[activation]())


def imagenet_stem(in_channels: int, width: int, activation: str = "relu") -> nn.Sequential:
    """7x7 of stride 2, BN, relu, 3x3 max-pool of stride 2: a quarter of the resolution."""
    return nn.Sequential(
        conv_bn(in_channels, width, kernel=7, stride=2),
        ACTIVATIONS[activation](),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )


def classifier(backbone: nn.Module, head: str, num_classes: int) -> Classifier:
    """The backbone with a head of this name on its last map, initialised."""
    channels: list[int] = backbone.feature_channels  # type: ignore[assignment]
    model = Classifier(
        backbone=backbone,
        head=HEADS[head](in_channels=channels[-1], num_classes=num_classes),
    )
    he_init(model)
    return model


def block_maker(
    *, bottleneck: bool, width: int, cardinality: int, group_width: int | None, **options: Any
) -> Callable[..., nn.Module]:
    """The kind of block a network consists of; ``width`` is that of the first stage."""
    if not bottleneck:
        return partial(BasicBlock, **options)
    widening = cardinality * (group_width or width) / width
    return partial(BottleneckBlock, **options, widening=widening, groups=cardinality)


def cifar_resnet(
    *,
    in_channels: int,
    num_classes: int,
    depth: int,
    block: str,
    shortcut: str,
    width: int,
    cardinality: int,
    group_width: int | None,
    activation: str,
    se: bool,
    head: str,
    stochastic_depth: float,
    checkpoint_activations: bool,
) -> Classifier:
    """6n + 2 layers (Section 4.2), or 9n + 2 with bottlenecks: a 3x3 convolution, three stages of n blocks, a head."""
    bottleneck = block == "bottleneck"
    n = (depth - 2) // (9 if bottleneck else 6)
    backbone = ResNet(
        stem=cifar_stem(in_channels, width, activation),
        stem_channels=width,
        stem_stride=1,
        block=block_maker(
            bottleneck=bottleneck,
            width=width,
            cardinality=cardinality,
            group_width=group_width,
            shortcut=shortcut,
            activation=activation,
            squeeze=se,
        ),
        expansion=4 if bottleneck else 1,
        widths=[width, 2 * width, 4 * width],
        strides=stage_strides((n, n, n)),
        stochastic_depth=stochastic_depth,
        checkpoint_activations=checkpoint_activations,
    )
    return classifier(backbone, head, num_classes)


IMAGENET_BLOCKS = {  # Table 1
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def imagenet_resnet(
    *,
    in_channels: int,
    num_classes: int,
    depth: int,
    shortcut: str,
    stem: str,
    cardinality: int,
    group_width: int | None,
    activation: str,
    se: bool,
    head: str,
    stochastic_depth: float,
    checkpoint_activations: bool,
) -> Classifier:
    """The networks of Table 1, or the same on a stem for 32x32 images."""
    bottleneck = depth >= 50
    make_stem, stem_stride = (imagenet_stem, 4) if stem == "imagenet" else (cifar_stem, 1)
    backbone = ResNet(
        stem=make_stem(in_channels, 64, activation),
        stem_channels=64,
        stem_stride=stem_stride,
        block=block_maker(
            bottleneck=bottleneck,
            width=64,
            cardinality=cardinality,
            group_width=group_width,
            shortcut=shortcut,
            activation=activation,
            squeeze=se,
        ),
        expansion=4 if bottleneck else 1,
        widths=[64, 128, 256, 512],
        strides=stage_strides(IMAGENET_BLOCKS[depth]),
        stochastic_depth=stochastic_depth,
        checkpoint_activations=checkpoint_activations,
    )
    return classifier(backbone, head, num_classes)
