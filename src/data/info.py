"""The facts of a data set, kept in one place and passed on by the builders; no model retypes them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """What a network and a loader must know of a data set; no torch is needed to know it."""

    name: str
    classes: tuple[str, ...]
    channels: int
    image_size: int  # side of the square images [pixels]
    mean: tuple[float, ...]  # per channel, of pixels in [0, 1]; () where it is still to be measured
    std: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        return len(self.classes)
