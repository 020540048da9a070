"""What turns a backbone's maps into an answer; heads know of a backbone only its ``feature_channels``."""

from torch import Tensor, nn


class LinearHead(nn.Module):
    """Global average pool, flatten, linear: (N, C, H, W) -> logits (N, classes)."""

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.pool(x).flatten(1))
        return logits


class Classifier(nn.Module):
    """A backbone and the head on its last map: images (N, C, H, W) -> logits (N, classes)."""

    def __init__(self, *, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(images))
        return logits
