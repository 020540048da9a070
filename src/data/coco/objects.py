"""Load photos with boxes and masks in COCO's format, in the batches that a detector learns from.

Photos travel as bytes in their own size; the network resizes them on its device (src/models/detection.py). The order
of an epoch, the flips and the sizes are a pure function of (seed, epoch, image).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...files import Json
from ..order import SAMPLE, Resumable, derive_seed, draw_order, slice_batches
from ..raw import PhotoFiles
from ..workers import read_batches
from .check import select_segmentation
from .index import CocoIndex
from .masks import decode_masks


class Target(TypedDict, total=False):
    """Hold the objects of an image as torchvision's detectors learn from them, N of them."""

    boxes: Tensor  # float32 [N, 4], corners [pixels]
    labels: Tensor  # int64 [N], from 1
    area: Tensor  # float32 [N]
    iscrowd: Tensor  # int64 [N]
    image_id: int
    masks: Tensor  # uint8 [N, H, W], where masks are learned
    side: int  # the shorter side that the network resizes the photo to [pixels]


def select_learnable(index: CocoIndex, i: int, masks: bool) -> list[Json]:
    """Select the annotations of image ``i`` that a detector learns from.

    Crowds are left out, and objects without a mask where ``masks`` are learned. Each annotation has its ``corners``
    [x1, y1, x2, y2] inside of the image added.
    """
    record, kept = index.images[i], []
    for annotation in index.annotations(i):
        x, y, width, height = annotation["bbox"]
        left, top = max(x, 0.0), max(y, 0.0)
        right, bottom = min(x + width, record.width), min(y + height, record.height)
        if not annotation.get("iscrowd") and (not masks or select_segmentation(annotation) is not None):
            kept.append(annotation | {"corners": [left, top, right, bottom]})
    return kept


def make_target(index: CocoIndex, i: int, masks: bool) -> Target:
    """Make the target of image ``i``, with ``masks`` where they are learned."""
    objects, record = select_learnable(index, i, masks), index.images[i]
    target: Target = {
        "boxes": torch.tensor([a["corners"] for a in objects], dtype=torch.float32).view(-1, 4),
        "labels": torch.tensor([a["label"] + 1 for a in objects], dtype=torch.int64),
        "area": torch.tensor([a.get("area", 0.0) for a in objects], dtype=torch.float32),
        "iscrowd": torch.zeros(len(objects), dtype=torch.int64),
        "image_id": record.id,
    }
    if masks:
        drawn = [mask for a in objects if (mask := select_segmentation(a)) is not None]
        target["masks"] = decode_masks(drawn, record.height, record.width)
    return target


def mirror(image: Tensor, target: Target) -> tuple[Tensor, Target]:
    """Mirror the image [C, H, W] and its target, left to right."""
    boxes = target["boxes"].clone()
    boxes[:, [0, 2]] = image.shape[-1] - boxes[:, [2, 0]]
    flipped = target | {"boxes": boxes}
    if "masks" in target:
        flipped["masks"] = target["masks"].flip(-1)
    return image.flip(-1), flipped


def group_by_shape(order: NDArray[np.int64], wide: NDArray[np.bool_], size: int) -> list[NDArray[np.int64]]:
    """Group the samples, in this order, into len(order) // size batches of wide images or of tall ones.

    Images of one shape need little padding. What is left of both shapes makes mixed batches.
    """
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


def list_photo_files(index: CocoIndex) -> PhotoFiles:
    """Return the files of an index' photos, with the sizes that its annotations say."""
    sizes = [(image.width, image.height) for image in index.images]
    return PhotoFiles([str(image.path) for image in index.images], index.load, sizes)


class TrainReader:
    """Read the training photos of an epoch and their targets, mirrored and with their ``side`` as drawn."""

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
    """Yield an epoch of micro-batches: photos uint8 [3, H, W] and their targets, as lists.

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
        slices = []
        for k in numbers:
            first = (k % self.accumulate * self.world + self.rank) * part
            slices.append(batches[k // self.accumulate][first : first + part])
        for k, batch in zip(
            numbers, read_batches(self.read, slices, workers=self.workers, device=self.device), strict=True
        ):
            self._yielded = k + 1
            yield batch


class EvalReader:
    """Read photos of a split as they are, with their numbers in it."""

    def __init__(self, index: CocoIndex) -> None:
        self.index = index

    def __call__(self, numbers: NDArray[np.int64]) -> tuple[list[Tensor], list[int]]:
        return [self.index.load(i) for i in numbers.tolist()], numbers.tolist()


class EvalLoader:
    """Yield a split in its own order: photos uint8 [3, H, W] and their numbers in ``index``, as lists.

    No photo is seen by two ranks. ``index`` has the objects that are to be found.
    """

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
