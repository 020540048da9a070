"""The baselines without shortcuts: AlexNet, VGG and a small one; convolutions and max-pools in a row.

AlexNet and VGG are torchvision's; for images of 32 pixels they get the smallest change that makes them fit.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from .heads import Classifier, PooledHead, make_classifier
from .layers import ACTIVATIONS, init_weights


class ConvNet(nn.Module):
    """A row of layers; each max-pool ends a stage."""

    def __init__(self, *, features: nn.Sequential, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.features = features
        self.feature_channels = list(channels)
        self.feature_strides = list(strides)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Return one map a stage: (N, feature_channels[i], H / feature_strides[i], W / feature_strides[i]).

        AlexNet does not pad everywhere: its maps have a pixel or two less.
        """
        maps = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
        return maps

    @property
    def parts(self) -> list[list[nn.Module]]:
        """The stages, each with the max-pool that ends it."""
        found: list[list[nn.Module]] = [[]]
        for layer in self.features:
            found[-1].append(layer)
            if isinstance(layer, nn.MaxPool2d):
                found.append([])
        return found[:-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x)[-1]


def set_in_channels(features: nn.Sequential, in_channels: int) -> None:
    """Replace the first convolution of a torchvision network where images have other than three channels."""
    conv = features[0]
    assert isinstance(conv, nn.Conv2d)
    if conv.in_channels != in_channels:
        features[0] = nn.Conv2d(in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)  # type: ignore[arg-type]


def build_vgg(
    *, in_channels: int, num_classes: int, depth: int, batch_norm: bool, head: str, dropout: float
) -> Classifier:
    """Build a VGG (Simonyan & Zisserman 2015); its head "mlp" is two layers of 4,096 on maps of 7x7."""
    from torchvision.models.vgg import VGG, cfgs, make_layers

    features = make_layers(cfgs[{11: "A", 13: "B", 16: "D", 19: "E"}[depth]], batch_norm=batch_norm)
    set_in_channels(features, in_channels)
    backbone = ConvNet(features=features, channels=(64, 128, 256, 512, 512), strides=(2, 4, 8, 16, 32))
    if head == "mlp":
        published = VGG(features, num_classes=num_classes, init_weights=True, dropout=dropout)
        return Classifier(backbone=backbone, head=PooledHead(size=7, layers=published.classifier))
    return make_classifier(backbone, head=head, num_classes=num_classes)


def build_alexnet(*, in_channels: int, num_classes: int, dropout: float, first_stride: int = 4) -> Classifier:
    """Build AlexNet (Krizhevsky 2014, "One weird trick …") as torchvision has it: five convolutions, three linear.

    With ``first_stride`` 1 an image of 32 pixels is large enough for the three pools.
    """
    from torchvision.models import AlexNet

    published = AlexNet(num_classes=num_classes, dropout=dropout)
    set_in_channels(published.features, in_channels)
    conv = published.features[0]
    assert isinstance(conv, nn.Conv2d)
    if first_stride == 1:
        conv.stride, conv.padding = (1, 1), (5, 5)
    backbone = ConvNet(
        features=published.features,
        channels=(64, 192, 256),
        strides=[first_stride * factor for factor in (2, 4, 8)],
    )
    return Classifier(backbone=backbone, head=PooledHead(size=6, layers=published.classifier))


def build_small_cnn(*, in_channels: int, num_classes: int, width: int, activation: str, dropout: float) -> Classifier:
    """Build two 3x3 convolutions, max-pool, two of twice the width, max-pool, 8x8 maps, dense 512, linear."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((in_channels, width), (width, 2 * width)):
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), ACTIVATIONS[activation]()]
        layers.append(nn.MaxPool2d(2))
    backbone = ConvNet(features=nn.Sequential(*layers), channels=(width, 2 * width), strides=(2, 4))
    dense = nn.Sequential(
        nn.Linear(2 * width * 8 * 8, 512),
        ACTIVATIONS[activation](),
        nn.Dropout(dropout),
        nn.Linear(512, num_classes),
    )
    model = Classifier(backbone=backbone, head=PooledHead(size=8, layers=dense))
    init_weights(model)
    return model
