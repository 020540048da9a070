"""Load photos that are decoded while training.

A worker process decodes, crops and augments each sample, with its own random numbers from (seed, epoch, sample); the
batch is normalised, erased and mixed on the device, with numbers from (seed, epoch, batch). Bytes travel, not floats.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..info import Normalization
from ..normalization import apply_affine, compute_affine
from ..order import BATCH, SAMPLE, Resumable, derive_seed, draw_order, fix_random_state, slice_batches
from ..raw import Split
from ..transforms import Photos
from ..workers import read_batches
from .augment import EvalTransform, TrainTransform, draw_mixing, erase, mix_images
from .reader import read_photo

CROPS = 10  # of a ten-crop test


class Decoded(NamedTuple):
    """Hold a batch as a worker hands it over."""

    images: Tensor  # uint8 [B, (crops,) H, W, C]
    boxes: Tensor  # int64 [B, 4], to be erased
    labels: Tensor  # int64 [B]
    indices: Tensor  # int64 [B], the samples' numbers in their split


class Decoder:
    """Read and transform the samples of a split; with ``epoch``, each with its random numbers of that epoch."""

    def __init__(
        self,
        root: Path,
        split: Split,
        transform: TrainTransform | EvalTransform,
        *,
        channels: int,
        seed: int = 0,
        epoch: int | None = None,
    ) -> None:
        self.root, self.split, self.transform = root, split, transform
        self.channels, self.seed, self.epoch = channels, seed, epoch

    def __call__(self, numbers: NDArray[np.int64]) -> Decoded:
        images, boxes = zip(*map(self._read_sample, numbers.tolist()), strict=True)
        together = torch.stack([image.movedim(-3, -1) for image in images])
        labels = torch.from_numpy(self.split.labels[numbers])
        return Decoded(together, torch.stack(boxes), labels, torch.from_numpy(numbers))

    def _read_sample(self, number: int) -> tuple[Tensor, Tensor]:
        photo = read_photo(self.root / os.fsdecode(self.split.images[number]), self.channels)
        if self.epoch is None:
            return self.transform(photo)
        with fix_random_state(derive_seed(self.seed, self.epoch, SAMPLE, number)):
            return self.transform(photo)


class TrainStream(Resumable):
    """Yield an epoch of augmented micro-batches: images float32 [B, C, S, S] channels_last and labels int64 [B].

    Where images are mixed, the fraction of each class, float32 [B, classes], stands in for the labels.

    The union of the ranks' and accumulated parts' micro-batches of a step is the global batch, whatever their number;
    the last incomplete batch is dropped. Each image is mixed with the one before it in the global batch (the first with
    the last), which a part of the batch therefore reads too.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        normalization: Normalization,
        *,
        preset: Photos,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        size: int,
        channels: int = 3,
        num_classes: int,
        seed: int,
        epoch: int,
        batch_size: int,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        device: torch.device | str = "cpu",
        trained: Callable[[], int] | None = None,
        weights: Tensor | None = None,
    ) -> None:
        """``weights`` [N] say how often each photo is drawn, with replacement; None draws each once."""
        super().__init__(epoch, trained)
        self.weights = weights
        self.read = Decoder(root, split, TrainTransform(preset, size), channels=channels, seed=seed, epoch=epoch)
        self.n, self.num_classes, self.normalization = len(split), num_classes, normalization
        self.mixup, self.cutmix, self.erases, self.size, self.seed = mixup, cutmix, preset.erase > 0, size, seed
        self.batch_size, self.accumulate, self.rank, self.world = batch_size, accumulate, rank, world
        self.workers, self.device = workers, torch.device(device)

    def __len__(self) -> int:
        return self.n // self.batch_size * self.accumulate

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        numbers = self.remaining()
        order = draw_order(self.seed, self.epoch, self.n, self.weights)
        batches = [order[self._find_positions(k)] for k in numbers]
        scale, shift = compute_affine(self.normalization, self.size, self.device)
        decoded = read_batches(self.read, batches, workers=self.workers, device=self.device)
        for k, batch in zip(numbers, decoded, strict=True):
            images = apply_affine(batch.images.to(self.device, non_blocking=True), scale, shift)
            labels = batch.labels.to(self.device, non_blocking=True)
            if self.erases:
                images = erase(images, batch.boxes)
            self._yielded = k + 1
            yield self._mix(images, labels, k // self.accumulate) if self.mixes else (images, labels)

    @property
    def mixes(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def _find_positions(self, k: int) -> NDArray[np.int64] | slice:
        """Find the micro-batch's samples in the epoch's order, preceded by the one that the first is mixed with."""
        part = self.batch_size // (self.accumulate * self.world)
        first = (k * self.world + self.rank) * part
        if not self.mixes or part == self.batch_size:
            return slice(first, first + part)
        start = first - first % self.batch_size
        before = start + (first - start - 1) % self.batch_size
        return np.concatenate([[before], np.arange(first, first + part)])

    def _mix(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        if len(images) == self.batch_size:  # whole: the last comes before the first
            images, labels = torch.cat([images[-1:], images]), torch.cat([labels[-1:], labels])
        entropy = derive_seed(self.seed, self.epoch, BATCH, step)
        mixing = draw_mixing(entropy, mixup=self.mixup, cutmix=self.cutmix, size=self.size)
        return mix_images(images, labels, mixing, num_classes=self.num_classes)


class EvalStream:
    """Yield a split in its own order: images float32 [B, C, S, S] channels_last, labels and indices int64 [B].

    With ``ten_crop`` images are [B, 10, C, S, S]. Each global batch is divided among the ranks without padding: no
    sample is seen twice.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        normalization: Normalization,
        *,
        resize: int | None,
        size: int,
        ten_crop: bool = False,
        channels: int = 3,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        transform = EvalTransform(resize=resize, size=size, ten_crop=ten_crop)
        self.read = Decoder(root, split, transform, channels=channels)
        self.normalization, self.size = normalization, size
        self.slices = slice_batches(
            len(split), max(1, batch_size // (CROPS if ten_crop else 1)), rank=rank, world=world
        )
        self.workers, self.device = workers, torch.device(device)

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        scale, shift = compute_affine(self.normalization, self.size, self.device)
        batches = [np.arange(first, stop) for first, stop in self.slices]
        for batch in read_batches(self.read, batches, workers=self.workers, device=self.device):
            crops, _, labels, indices = (part.to(self.device, non_blocking=True) for part in batch)
            images = apply_affine(crops.flatten(0, -4), scale, shift)
            yield images.unflatten(0, crops.shape[:-3]), labels, indices
