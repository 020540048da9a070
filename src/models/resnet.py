"""Residual networks: He et al. 2016, "Deep Residual Learning for Image Recognition", and their descendants.

A block computes y = relu(x + F(x)); without the addition it is the plain net's. With several groups in its 3x3 it is
ResNeXt's (Xie et al. 2017), with a wide one that of Wide ResNet-50-2 (Zagoruyko & Komodakis 2016), with a gate behind
F that of SE-ResNet (Hu et al. 2018). Parameters are defined in the order of torchvision's ResNet, so the values of the
two state dicts correspond one by one.
"""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from torch import Tensor, nn

from .blocks import BasicBranch, BlockStyle, BottleneckBranch, Branch, ResidualBlock
from .heads import Classifier, make_classifier
from .layers import ACTIVATIONS, make_conv_bn, run_module


class MakeBlock(Protocol):
    """Makes a block of these channels and this stride, dropped in training with the probability ``drop``."""

    def __call__(self, *, in_channels: int, width: int, stride: int, drop: float) -> nn.Module: ...


class ResNet(nn.Module):
    """A stem, stages of blocks, and a last norm for nets whose blocks end without one (pre-activation: BN, relu).

    ``strides`` are those of each stage's blocks, ``widths`` those of its 3x3 convolutions; a block gives ``expansion``
    times as many channels. The probability of a block to be dropped rises linearly to ``stochastic_depth`` at the
    last. With ``checkpoint_activations`` only the inputs of the blocks are kept for the backward pass.
    """

    def __init__(
        self,
        *,
        stem: nn.Module,
        stem_channels: int,
        stem_stride: int,
        block: MakeBlock,
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
        """Return one map a stage: (N, feature_channels[i], H / feature_strides[i], W / feature_strides[i])."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            for block in stage.children():
                x = run_module(block, x, recompute=self.checkpoint_activations)
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


def get_strides(blocks: Sequence[int]) -> list[list[int]]:
    """Return the stride of every block of every stage: each stage but the first halves the map in its first block."""
    return [[2 if i else 1] + [1] * (count - 1) for i, count in enumerate(blocks)]


def make_cifar_stem(in_channels: int, width: int, activation: str = "relu") -> nn.Sequential:
    """Return 3x3, BN, relu, which keep the resolution."""
    return nn.Sequential(make_conv_bn(in_channels, width, 3), ACTIVATIONS[activation]())


def make_imagenet_stem(in_channels: int, width: int, activation: str = "relu") -> nn.Sequential:
    """Return 7x7 of stride 2, BN, relu, 3x3 max-pool of stride 2: a quarter of the resolution."""
    return nn.Sequential(
        make_conv_bn(in_channels, width, 7, stride=2),
        ACTIVATIONS[activation](),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )


def choose_branch(*, bottleneck: bool, width: int, cardinality: int, group_width: int | None) -> Branch:
    """Return the branch F of a network whose first stage has this width, and by default groups as wide as that."""
    if not bottleneck:
        return BasicBranch()
    return BottleneckBranch(widening=cardinality * (group_width or width) / width, groups=cardinality)


def build_cifar_resnet(
    *,
    in_channels: int,
    num_classes: int,
    depth: int,
    block: str,
    shortcut: str,
    width: int,
    cardinality: int,
    group_width: int | None,
    style: BlockStyle,
    head: str,
    stochastic_depth: float,
    checkpoint_activations: bool,
) -> Classifier:
    """Build a net of 6n + 2 layers (Section 4.2), or 9n + 2 with bottlenecks.

    A 3x3 convolution, three stages of n blocks on maps of 32, 16 and 8 pixels, and a head.
    """
    bottleneck = block == "bottleneck"
    n = (depth - 2) // (9 if bottleneck else 6)
    branch = choose_branch(bottleneck=bottleneck, width=width, cardinality=cardinality, group_width=group_width)
    backbone = ResNet(
        stem=make_cifar_stem(in_channels, width, style.activation),
        stem_channels=width,
        stem_stride=1,
        block=partial(ResidualBlock, branch, shortcut=shortcut, style=style),
        expansion=branch.expansion,
        widths=[width, 2 * width, 4 * width],
        strides=get_strides((n, n, n)),
        stochastic_depth=stochastic_depth,
        checkpoint_activations=checkpoint_activations,
    )
    return make_classifier(backbone, head=head, num_classes=num_classes)


IMAGENET_BLOCKS = {  # Table 1: blocks of each stage
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def build_imagenet_resnet(
    *,
    in_channels: int,
    num_classes: int,
    depth: int,
    shortcut: str,
    stem: str,
    cardinality: int,
    group_width: int | None,
    style: BlockStyle,
    head: str,
    stochastic_depth: float,
    checkpoint_activations: bool,
) -> Classifier:
    """Build a net of Table 1, or the same on the stem "cifar" for images of 32x32 pixels."""
    branch = choose_branch(bottleneck=depth >= 50, width=64, cardinality=cardinality, group_width=group_width)
    make_stem, stem_stride = (make_imagenet_stem, 4) if stem == "imagenet" else (make_cifar_stem, 1)
    backbone = ResNet(
        stem=make_stem(in_channels, 64, style.activation),
        stem_channels=64,
        stem_stride=stem_stride,
        block=partial(ResidualBlock, branch, shortcut=shortcut, style=style),
        expansion=branch.expansion,
        widths=[64, 128, 256, 512],
        strides=get_strides(IMAGENET_BLOCKS[depth]),
        stochastic_depth=stochastic_depth,
        checkpoint_activations=checkpoint_activations,
    )
    return make_classifier(backbone, head=head, num_classes=num_classes)
