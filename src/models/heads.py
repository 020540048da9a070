"""Heads: modules that turn the last map of a backbone into logits. They know only its number of channels."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from .backbone import Backbone
from .layers import init_weights


class LinearHead(nn.Module):
    """Global average pool, flatten, linear: (N, C, H, W) -> logits (N, classes)."""

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.pool(x).flatten(1))
        return logits


class MaxHead(nn.Module):
    """Global max pool, linear: (N, C, H, W) -> logits (N, classes); a small object counts as much as a large one."""

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        # amax always divides a gradient among equal maxima; on a GPU, max-pooling has no deterministic backward pass
        logits: Tensor = self.linear(x.amax(dim=(2, 3)))
        return logits


class ConvHead(nn.Module):
    """The head of Waghmode et al. 2023: (N, C, H, W) -> logits (N, classes).

    Two 3x3 convolutions of 32, max-pool, two of 64, max-pool, flatten, dense 512, dropout, linear. They put it on
    maps of one pixel, which the pools leave alone (ceil mode); larger maps are averaged before they are flattened.
    """

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, width in ((in_channels, 32), (32, 64)):
            layers += [
                nn.Conv2d(inputs, width, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
        self.layers = nn.Sequential(
            *layers,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),  # they don't state the probability
            nn.Linear(512, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


class PooledHead(nn.Module):
    """Average pool to a fixed size, flatten, then fully connected layers: (N, C, H, W) -> logits (N, classes)."""

    def __init__(self, *, size: int, layers: nn.Sequential) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(size)
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(self.pool(x).flatten(1))
        return logits


class MakeHead(Protocol):
    """A class of heads that needs no more than the numbers of channels and classes."""

    def __call__(self, *, in_channels: int, num_classes: int) -> nn.Module: ...


HEADS: Mapping[str, MakeHead] = {"linear": LinearHead, "max": MaxHead, "conv": ConvHead}


class Classifier(nn.Module):
    """A backbone and the head on its last map: images (N, C, H, W) -> logits (N, classes)."""

    def __init__(self, *, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(images))
        return logits


def make_classifier(backbone: Backbone, *, head: str, num_classes: int) -> Classifier:
    """Return the backbone with the head of this name on its last map, freshly initialised."""
    channels = backbone.feature_channels[-1]
    model = Classifier(backbone=backbone, head=HEADS[head](in_channels=channels, num_classes=num_classes))
    init_weights(model)
    return model
