"""Residual networks: He et al. 2016, "Deep Residual Learning for Image Recognition".

A block computes y = relu(F(x) + x); without the addition it is the plain net's. Parameters are defined in the
order of torchvision's ResNet, so the values of the two state dicts correspond one by one.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from src.models.heads import Classifier, LinearHead
from src.models.layers import conv_bn, he_init, make_shortcut


class BasicBlock(nn.Module):
    """y = relu(F(x) + shortcut(x)), where F is 3x3, BN, relu, 3x3, BN."""

    expansion = 1

    def __init__(self, *, in_channels: int, width: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            conv_bn(in_channels, width, kernel=3, stride=stride),
            nn.ReLU(inplace=True),
            conv_bn(width, width, kernel=3),
        )
        self.shortcut = make_shortcut(shortcut, in_channels=in_channels, out_channels=width, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.residual(x)
        return F.relu(y if self.shortcut is None else y + self.shortcut(x), inplace=True)


class BottleneckBlock(nn.Module):
    """y = relu(F(x) + shortcut(x)), where F is 1x1, BN, relu, 3x3, BN, relu, 1x1, BN.

    The paper strides in the first 1x1; here, as in torchvision and in later work, the 3x3 does.
    """

    expansion = 4

    def __init__(self, *, in_channels: int, width: int, stride: int, shortcut: str) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.residual = nn.Sequential(
            conv_bn(in_channels, width, kernel=1),
            nn.ReLU(inplace=True),
            conv_bn(width, width, kernel=3, stride=stride),
            nn.ReLU(inplace=True),
            conv_bn(width, out_channels, kernel=1),
        )
        self.shortcut = make_shortcut(shortcut, in_channels=in_channels, out_channels=out_channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.residual(x)
        return F.relu(y if self.shortcut is None else y + self.shortcut(x), inplace=True)


Block = type[BasicBlock] | type[BottleneckBlock]


class ResNet(nn.Module):
    """Stem, then stages of blocks; each stage after the first halves the map and doubles the channels."""

    def __init__(
        self,
        *,
        stem: nn.Module,
        stem_stride: int,
        block: Block,
        blocks: Sequence[int],
        width: int,
        shortcut: str,
    ) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(len(blocks))]
        self.feature_channels = [w * block.expansion for w in widths]
        self.feature_strides = [stem_stride * 2**i for i in range(len(blocks))]
        self.stem = stem
        self.stages = nn.ModuleList()
        in_channels = width
        for i, (w, count) in enumerate(zip(widths, blocks, strict=True)):
            stage = nn.Sequential()
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                stage.append(block(in_channels=in_channels, width=w, stride=stride, shortcut=shortcut))
                in_channels = w * block.expansion
            self.stages.append(stage)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """One map a stage: (N, feature_channels[i], H / feature_strides[i], W / feature_strides[i])."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x)[-1]


def cifar_stem(in_channels: int, width: int) -> nn.Sequential:
    """3x3, BN, relu: keeps the resolution."""
    return nn.Sequential(conv_bn(in_channels, width, kernel=3), nn.ReLU(inplace=True))


def imagenet_stem(in_channels: int, width: int) -> nn.Sequential:
    """7x7 of stride 2, BN, relu, 3x3 max-pool of stride 2: a quarter of the resolution."""
    return nn.Sequential(
        conv_bn(in_channels, width, kernel=7, stride=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )


def classifier(backbone: ResNet, num_classes: int) -> Classifier:
    """The backbone with a linear head on its last map, initialised."""
    model = Classifier(
        backbone=backbone,
        head=LinearHead(in_channels=backbone.feature_channels[-1], num_classes=num_classes),
    )
    he_init(model)
    return model


def cifar_resnet(*, in_channels: int, num_classes: int, depth: int, shortcut: str, width: int) -> Classifier:
    """6n + 2 layers (Section 4.2): a 3x3 convolution, three stages of n basic blocks, a linear layer."""
    n = (depth - 2) // 6
    stem = cifar_stem(in_channels, width)
    backbone = ResNet(stem=stem, stem_stride=1, block=BasicBlock, blocks=(n, n, n), width=width, shortcut=shortcut)
    return classifier(backbone, num_classes)


IMAGENET_STAGES: dict[int, tuple[Block, tuple[int, int, int, int]]] = {  # Table 1
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (BottleneckBlock, (3, 4, 6, 3)),
    101: (BottleneckBlock, (3, 4, 23, 3)),
    152: (BottleneckBlock, (3, 8, 36, 3)),
}


def imagenet_resnet(*, in_channels: int, num_classes: int, depth: int, shortcut: str, stem: str) -> Classifier:
    """The networks of Table 1, or the same on a stem for 32x32 images."""
    block, blocks = IMAGENET_STAGES[depth]
    make_stem, stem_stride = (imagenet_stem, 4) if stem == "imagenet" else (cifar_stem, 1)
    backbone = ResNet(
        stem=make_stem(in_channels, 64),
        stem_stride=stem_stride,
        block=block,
        blocks=blocks,
        width=64,
        shortcut=shortcut,
    )
    return classifier(backbone, num_classes)
