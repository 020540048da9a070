"""Hold a data set as it was loaded, before classes, sizes and splits are chosen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .info import DatasetInfo


@dataclass(frozen=True)
class Split:
    """Hold images uint8 [N, H, W, C] in [0, 255], or their paths, bytes [N], and their class numbers int64 [N].

    ``paths``, bytes [N], are those of the files that images were decoded from, where there are any; ``groups``, text
    [N], name what must not be torn apart by a cut.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    paths: NDArray[np.bytes_] | None = None
    groups: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64]) -> "Split":
        paths = None if self.paths is None else self.paths[index]
        groups = None if self.groups is None else self.groups[index]
        return Split(self.images[index], self.labels[index], paths, groups)


@dataclass(frozen=True)
class Raw:
    """Hold a data set as published; where it has no validation split, one is held out from the training split."""

    info: DatasetInfo
    train: Split
    test: Split
    val: Split | None = None


@dataclass(frozen=True)
class PhotoFiles:
    """Name the photos of a split.

    ``read`` decodes one by its number as training does, and raises UserError where it cannot; None where all of them
    have been decoded. ``sizes`` are their widths and heights, where these are known beforehand [pixels].
    """

    paths: Sequence[str]
    read: Callable[[int], object] | None = None
    sizes: Sequence[tuple[int, int]] | None = None
