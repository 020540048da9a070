"""Photos with boxes and masks in COCO's format: what a detector learns from, and in which batches.

Photos travel as bytes in their own size; the network resizes them on its device (src/models/detection.py). The order
of an epoch, the flips and the sizes are a pure function of (seed, epoch, image).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..order import SAMPLE, Resumable, derive_seed, draw_order, slice_batches
from ..workers import read_batches
from .check import select_segmentation
from .index import CocoIndex
from .masks import decode_masks

THINNEST = 0.1  # boxes that are thinner inside their image are left out [pixels]


Target = dict[str, Any]


def select_learnable(index: CocoIndex, i: int, masks: bool) -> list[dict[str, Any]]:
    """The annotations of image ``i`` that a detector learns from: no crowds, no boxes without an area, no objects
    without a mask where ``masks`` are learned; each with its ``corners`` [x1, y1, x2, y2] inside of the image."""
    record, kept = index.images[i], []
    for annotation in index.annotations(i):
        x, y, width, height = annotation["bbox"]
        left, top = max(x, 0.0), max(y, 0.0)
        right, bottom = min(x + width, record.width), min(y + height, record.height)
        if annotation.get("iscrowd") or right - left < THINNEST or bottom - top < THINNEST:
            continue
        if not masks or select_segmentation(annotation) is not None:
            kept.append(annotation | {"corners": [left, top, right, bottom]})
    return kept


def make_target(index: CocoIndex, i: int, masks: bool) -> Target:
    """What torchvision's detectors learn from: boxes float32 [N, 4] as corners, labels int64 [N] from 1, and masks
    uint8 [N, H, W], besides the image's id and its objects' areas."""
    objects, record = select_learnable(index, i, masks), index.images[i]
    target: Target = {
        "boxes": torch.tensor([a["corners"] for a in objects], dtype=torch.float32).view(-1, 4),
        "labels": torch.tensor([a["label"] + 1 for a in objects], dtype=torch.int64),
        "area": torch.tensor([a.get("area", 0.0) for a in objects], dtype=torch.float32),
        "iscrowd": torch.zeros(len(objects), dtype=torch.int64),
        "image_id": record.id,
    }
    if masks:
        target["masks"] = decode_masks([select_segmentation(a) for a in objects], record.height, record.width)
    return target


def mirror(image: Tensor, target: Target) -> tuple[Tensor, Target]:
    """The image [C, H, W] and its target, left and right exchanged."""
    boxes = target["boxes"].clone()
    boxes[:, [0, 2]] = image.shape[-1] - boxes[:, [2, 0]]
    flipped = target | {"boxes": boxes}
    if "masks" in target:
        flipped["masks"] = target["masks"].flip(-1)
    return image.flip(-1), flipped


def group_by_shape(order: NDArray[np.int64], wide: NDArray[np.bool_], size: int) -> list[NDArray[np.int64]]:
    """The samples in this order as batches of ``size``: wide images together and tall ones together, so that little
    is padded. What is left of both makes mixed batches, so that there are exactly len(order) // size."""
    waiting: dict[bool, list[int]] = {True: [], False: []}
    batches = []
    for i in order.tolist():
        group = waiting[bool(wide[i])]
        group.append(i)
        if len(group) == size:
            batches.append(np.array(group))
            group.clear()
    left = order[np.isin(order, waiting[True] + waiting[False])]
    return [*batches, *(left[k : k + size] for k in range(0, len(left) - size + 1, size))]


class TrainReader:
    """Reads the training photos of an epoch and their targets, mirrored and with their ``side`` as drawn."""

    def __init__(
        self, index: CocoIndex, *, masks: bool, flip: bool, sides: Sequence[int], seed: int, epoch: int
    ) -> None:
        self.index, self.masks, self.flip, self.sides = index, masks, flip, sides
        self.seed, self.epoch = seed, epoch

    def __call__(self, numbers: NDArray[np.int64]) -> tuple[list[Tensor], list[Target]]:
        images, targets = zip(*map(self.sample, numbers.tolist()), strict=True)
        return list(images), list(targets)

    def sample(self, i: int) -> tuple[Tensor, Target]:
        coin, die = derive_seed(self.seed, self.epoch, SAMPLE, i).generate_state(2).tolist()
        image, target = self.index.load(i), make_target(self.index, i, self.masks)
        target["side"] = self.sides[die % len(self.sides)]
        return mirror(image, target) if self.flip and coin % 2 else (image, target)


class TrainLoader(Resumable):
    """An epoch of micro-batches: photos uint8 [3, H, W] and their targets, as lists.

    The union of the ranks' and accumulated parts' micro-batches of a step is the global batch, whatever their number;
    the last incomplete batch is dropped.
    """

    def __init__(
        self,
        read: TrainReader,
        *,
        batch_size: int,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        device: torch.device | str = "cpu",
        trained: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(read.epoch, trained)
        self.read, self.workers, self.device = read, workers, torch.device(device)
        self.batch_size, self.accumulate, self.rank, self.world = batch_size, accumulate, rank, world

    def __len__(self) -> int:
        return len(self.read.index) // self.batch_size * self.accumulate

    def __iter__(self) -> Iterator[tuple[list[Tensor], list[Target]]]:
        numbers, images = self.remaining(), self.read.index.images
        wide = np.array([image.width >= image.height for image in images])
        batches = group_by_shape(draw_order(self.read.seed, self.read.epoch, len(images)), wide, self.batch_size)
        part = self.batch_size // (self.accumulate * self.world)
        mine = []
        for k in numbers:
            first = (k % self.accumulate * self.world + self.rank) * part
            mine.append(batches[k // self.accumulate][first : first + part])
        for k, batch in zip(
            numbers, read_batches(self.read, mine, workers=self.workers, device=self.device), strict=True
        ):
            self._yielded = k + 1
            yield batch


class EvalReader:
    """Reads photos of a split as they are, with their numbers in it."""

    def __init__(self, index: CocoIndex) -> None:
        self.index = index

    def __call__(self, numbers: NDArray[np.int64]) -> tuple[list[Tensor], list[int]]:
        return [self.index.load(i) for i in numbers.tolist()], numbers.tolist()


class EvalLoader:
    """A split in its own order: photos uint8 [3, H, W] and their numbers in ``index``, as lists; none twice over the
    ranks. What is to be found in them, ``index`` knows."""

    def __init__(
        self,
        index: CocoIndex,
        *,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.index, self.workers, self.device = index, workers, torch.device(device)
        self.slices = slice_batches(len(index), batch_size, rank=rank, world=world)

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[tuple[list[Tensor], list[int]]]:
        batches = [np.arange(first, stop) for first, stop in self.slices]
        return read_batches(EvalReader(self.index), batches, workers=self.workers, device=self.device)
