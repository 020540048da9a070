"""The contract of a backbone: all that heads, feature pyramids, fine-tuning and probes may know of a network."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from ..errors import UserError


@runtime_checkable
class Backbone(Protocol):
    """A module that turns images (N, C, H, W) into feature maps, one for each of its stages."""

    feature_channels: list[int]  # of each map
    feature_strides: list[int]  # of each map: pixels of the image for one of the map

    @property
    def parts(self) -> list[list[nn.Module]]:
        """The modules from the stem to the last stage, grouped by what is frozen or begins to learn together."""

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Return the maps (N, feature_channels[i], H / feature_strides[i], W / feature_strides[i])."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return the last map."""

    def modules(self) -> Iterator[nn.Module]:
        """Iterate over the backbone and all modules inside it, as every nn.Module does."""


def get_backbone(model: nn.Module, name: str) -> Backbone:
    """Return the backbone of the classifier ``model``; raise UserError where the network ``name`` has none."""
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, Backbone):
        raise UserError(
            f"model={name}: this network has no backbone that gives feature maps; take one of python -m src.models, "
            "or give it feature_channels, feature_strides, parts and forward_features (src/models/backbone.py)"
        )
    return backbone
