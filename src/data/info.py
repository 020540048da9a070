"""Keep the facts of a data set in one place, from where the builders pass them on; no model retypes them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DatasetInfo:
    """Hold what a network and a loader must know of a data set; needs no torch."""

    name: str
    classes: tuple[str, ...]
    channels: int
    image_size: int  # side of the square images [pixels]
    mean: tuple[float, ...]  # per channel, of pixels in [0, 1]; () where it is still to be measured
    std: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        return len(self.classes)


class Normalization(TypedDict):
    """Say how pixels in [0, 1] are normalised: a plain dict, so that it can be stored with the weights."""

    name: str
    mean: list[float]  # per channel
    std: list[float]
    mean_image: "Tensor | None"  # float32 [H, W, C], subtracted instead of ``mean`` by per_pixel_mean
