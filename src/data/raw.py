"""Hold a data set as it was loaded, before classes, sizes and splits are chosen."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .info import DatasetInfo


@dataclass(frozen=True)
class Split:
    """Hold images uint8 [N, H, W, C] in [0, 255], or their paths, bytes [N], and their class numbers int64 [N]."""

    images: NDArray[Any]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64]) -> "Split":
        return Split(self.images[index], self.labels[index])


@dataclass(frozen=True)
class Raw:
    """Hold a data set as published; where it has no validation split, one is held out from the training split."""

    info: DatasetInfo
    train: Split
    test: Split
    val: Split | None = None
