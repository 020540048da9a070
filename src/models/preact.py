"""Pre-activation residual networks: He et al. 2016b, "Identity Mappings in Deep Residual Networks".

BN and relu stand before each convolution, so a block computes y = x + F(x) with nothing behind the addition. Wide
ResNets (Zagoruyko & Komodakis 2016) are such nets with more channels; ResNet V2 for ImageNet is here as Keras defines
it, with which its weights were published.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import nn

from .blocks import BlockStyle, Branch, PreActBasicBranch, PreActBottleneckBranch, ResidualBlock
from .heads import Classifier, make_classifier
from .layers import make_conv, make_norm_act
from .resnet import IMAGENET_BLOCKS, ResNet, get_strides


def build_three_stages(
    *,
    in_channels: int,
    num_classes: int,
    branch: Branch,
    shortcut: str,
    blocks: int,
    widths: Sequence[int],
    stem_channels: int,
    style: BlockStyle,
    head: str,
    stochastic_depth: float,
    checkpoint_activations: bool,
) -> Classifier:
    """Build a net for 32x32 images: a 3x3 convolution, three stages of ``blocks``, BN, relu, a head."""
    backbone = ResNet(
        stem=make_conv(in_channels, stem_channels, 3),
        stem_channels=stem_channels,
        stem_stride=1,
        block=partial(ResidualBlock, branch, shortcut=shortcut, style=style),
        expansion=branch.expansion,
        widths=widths,
        strides=get_strides((blocks,) * 3),
        stochastic_depth=stochastic_depth,
        last=make_norm_act(widths[-1] * branch.expansion, style.activation),
        checkpoint_activations=checkpoint_activations,
    )
    return make_classifier(backbone, head=head, num_classes=num_classes)


def build_preact_resnet(
    *,
    in_channels: int,
    num_classes: int,
    depth: int,
    block: str,
    shortcut: str,
    width: int,
    style: BlockStyle,
    head: str,
    stochastic_depth: float,
    checkpoint_activations: bool,
) -> Classifier:
    """Build a net of 6n + 2 layers, or 9n + 2 with bottlenecks, for 32x32 images."""
    bottleneck = block == "bottleneck"
    return build_three_stages(
        in_channels=in_channels,
        num_classes=num_classes,
        branch=PreActBottleneckBranch() if bottleneck else PreActBasicBranch(),
        shortcut=shortcut,
        blocks=(depth - 2) // (9 if bottleneck else 6),
        widths=[width, 2 * width, 4 * width],
        stem_channels=width,
        style=style,
        head=head,
        stochastic_depth=stochastic_depth,
        checkpoint_activations=checkpoint_activations,
    )


def build_wide_resnet(
    *,
    in_channels: int,
    num_classes: int,
    depth: int,
    widen: int,
    dropout: float,
    style: BlockStyle,
    head: str,
    stochastic_depth: float,
    checkpoint_activations: bool,
) -> Classifier:
    """Build WRN-d-k, a pre-activation net of d = 6n + 4 layers with k times the channels.

    In the 6n + 4 the projection of each stage counts as a layer, and the linear one at the end does not.
    """
    return build_three_stages(
        in_channels=in_channels,
        num_classes=num_classes,
        branch=PreActBasicBranch(dropout=dropout),
        shortcut="B",
        blocks=(depth - 4) // 6,
        widths=[16 * widen, 32 * widen, 64 * widen],
        stem_channels=16,
        style=style,
        head=head,
        stochastic_depth=stochastic_depth,
        checkpoint_activations=checkpoint_activations,
    )


def build_resnet_v2(
    *,
    in_channels: int,
    num_classes: int,
    depth: int,
    style: BlockStyle,
    head: str,
    stochastic_depth: float,
    checkpoint_activations: bool,
) -> Classifier:
    """Build ResNet V2 for ImageNet as ``keras.applications`` defines it.

    Biases in the stem, in each expansion and projection; the stride in the last block of a stage, where the shortcut
    takes every second pixel; zeros, not minus infinity, around the max-pool; Keras' BN (momentum .99, eps 1.001e-5).
    """
    norm = partial(nn.BatchNorm2d, eps=1.001e-5, momentum=0.01)
    branch, style = PreActBottleneckBranch(), replace(style, norm=norm, bias=True)

    def make_block(*, in_channels: int, width: int, stride: int, drop: float) -> nn.Module:
        shortcut = "B" if stride == 1 else "A"  # a block that strides keeps its channels
        shape = {"in_channels": in_channels, "width": width, "stride": stride}
        return ResidualBlock(branch, **shape, shortcut=shortcut, style=style, drop=drop)

    stem = nn.Sequential(
        nn.Conv2d(in_channels, 64, 7, stride=2, padding=3),
        nn.ZeroPad2d(1),
        nn.MaxPool2d(kernel_size=3, stride=2),
    )
    backbone = ResNet(
        stem=stem,
        stem_channels=64,
        stem_stride=4,
        block=make_block,
        expansion=branch.expansion,
        widths=[64, 128, 256, 512],
        strides=[[1] * (count - 1) + [2 if i < 3 else 1] for i, count in enumerate(IMAGENET_BLOCKS[depth])],
        stochastic_depth=stochastic_depth,
        last=make_norm_act(2048, style.activation, norm=norm),
        checkpoint_activations=checkpoint_activations,
    )
    return make_classifier(backbone, head=head, num_classes=num_classes)
