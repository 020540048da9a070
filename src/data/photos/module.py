"""Hold the data module of photos that are decoded while training (src/data/photos/loader.py has its loaders)."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...config.data import DataConfig
from ..adapt import select_classes
from ..base import CommonSettings, DataModule, Loader, check_batch_size, check_parts
from ..cut import make_splits
from ..info import DatasetInfo, Normalization
from ..normalization import IMAGENET_MEAN, IMAGENET_STD
from ..order import weigh_samples
from ..raw import PhotoFiles, Raw, Split
from ..transforms import Photos
from ..workers import count_workers
from .listing import Listing
from .loader import EvalStream, TrainStream
from .reader import find_readable, read_photo
from .sizes import compute_side

if TYPE_CHECKING:
    from typing_extensions import Unpack


class StreamedImages(DataModule):
    """Hold splits of photos in files; ``Split.images`` are their paths below ``root``.

    ``train_sizes`` and ``ramp`` decide the side of the training images in an epoch (``compute_side``); validation and
    test images are resized to ``resize`` (see ``EvalTransform``) and cropped to ``info.image_size``. ``common``: see
    DataModule.
    """

    def __init__(
        self,
        info: DatasetInfo,
        splits: dict[str, Split],
        *,
        root: Path,
        preset: Photos,
        mixup: float,
        cutmix: float,
        train_sizes: Sequence[int],
        ramp: Sequence[float] = (),
        resize: int | None,
        ten_crop: bool = False,
        workers: int = 0,
        balanced: bool = False,
        **common: "Unpack[CommonSettings]",
    ) -> None:
        super().__init__(info, splits, **common)
        self.splits, self.root, self.workers = splits, root, workers
        self.weights = weigh_samples(splits["train"].labels) if balanced else None
        self.preset, self.mixup, self.cutmix = preset, mixup, cutmix
        self.train_sizes, self.ramp, self.resize, self.ten_crop = train_sizes, ramp, resize, ten_crop

    def list_photos(self) -> dict[str, PhotoFiles]:
        def find(split: str) -> PhotoFiles:
            paths = [str(self.root / os.fsdecode(path)) for path in self.splits[split].images]
            return PhotoFiles(paths, lambda k: read_photo(Path(paths[k]), self.info.channels))

        return {split: find(split) for split in self.splits}

    def get_picture(self, split: str, i: int) -> torch.Tensor:
        return read_photo(self.root / os.fsdecode(self.splits[split].images[i]), self.info.channels)

    @property
    def sides(self) -> list[int]:
        return [*self.train_sizes, self.info.image_size]

    def train_loader(
        self,
        device: torch.device | str = "cpu",
        *,
        rank: int = 0,
        world: int = 1,
        epoch: int = 0,
        epochs: int = 1,
        trained: Callable[[], int] | None = None,
    ) -> TrainStream:
        check_parts(self.batch_size, world, self.accumulate)
        return TrainStream(
            self.root,
            self.splits["train"],
            self.normalization,
            preset=self.preset,
            mixup=self.mixup,
            cutmix=self.cutmix,
            size=compute_side(epoch, epochs, self.train_sizes, self.ramp),
            channels=self.info.channels,
            num_classes=self.info.num_classes,
            seed=self.seed,
            epoch=epoch,
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            rank=rank,
            world=world,
            workers=self.workers,
            device=device,
            trained=trained,
            weights=self.weights,
        )

    def eval_loader(
        self,
        split: str,
        device: torch.device | str = "cpu",
        *,
        rank: int = 0,
        world: int = 1,
        ten_crop: bool | None = None,
    ) -> EvalStream:
        return EvalStream(
            self.root,
            self.splits[split],
            self.normalization,
            resize=self.resize,
            size=self.info.image_size,
            ten_crop=self.ten_crop if ten_crop is None else ten_crop,
            channels=self.info.channels,
            batch_size=self.eval_batch_size,
            rank=rank,
            world=world,
            workers=self.workers,
            device=device,
        )

    def val_dataloader(self) -> list[Loader]:
        """Return the validation loaders; ten crops are for the test only."""
        return [self.eval_loader(split, **self._place, ten_crop=False) for split in self.monitored]

    def _load_epoch(self, epoch: int, epochs: int, trained: Callable[[], int]) -> TrainStream:
        return self.train_loader(**self._place, epoch=epoch, epochs=epochs, trained=trained)


def list_photos(found: Listing, channels: int, *, name: str, skip_unreadable: bool) -> Raw:
    """Return the paths of photos by split, without those that cannot be read where ``skip_unreadable`` says so."""
    found.warn_of_left_out()

    def split(split_name: str) -> Split:
        files = found.files(split_name)
        paths = np.array([os.fsencode(path) for path, _ in files])
        labels = np.array([label for _, label in files], dtype=np.int64)
        groups = np.array([found.groups[path] for path, _ in files]) if found.groups else None
        whole = Split(paths, labels, groups=groups)
        if not skip_unreadable:
            return whole
        return whole.take(np.flatnonzero(find_readable(found.root, [path for path, _ in files])))

    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else (_average(IMAGENET_MEAN), _average(IMAGENET_STD))
    info = DatasetInfo(name, found.classes, channels, 224, mean, std)
    return Raw(info, split("train"), split("test"), split("val") if "val" in found.splits else None)


def _average(values: tuple[float, ...]) -> tuple[float, ...]:
    return (sum(values) / len(values),)


def build_streamed(
    config: DataConfig,
    raw: Raw,
    *,
    root: Path,
    preset: Photos,
    normalization: Normalization,
    train_sizes: Sequence[int],
    test_size: int,
    ramp: Sequence[float] = (),
    mixup: float | None = None,
    cutmix: float | None = None,
    ten_crop: bool = False,
    workers: int | None = None,
    seed: int,
    accumulate: int,
    devices: int,
    balanced: bool = False,
) -> StreamedImages:
    """Build the data module of listed photos: choose classes and split; nothing is decoded yet.

    Raises UserError for everything that is wrong with these settings.
    """
    check_parts(config.batch_size, devices, accumulate)
    if config.classes:
        raw = select_classes(raw, config.classes)
    splits = make_splits(raw, config)
    check_batch_size(config.batch_size, len(splits["train"]))
    return StreamedImages(
        replace(raw.info, image_size=test_size),
        splits,
        root=root,
        normalization=normalization,
        preset=preset,
        mixup=preset.mixup if mixup is None else mixup,
        cutmix=preset.cutmix if cutmix is None else cutmix,
        train_sizes=train_sizes,
        ramp=ramp,
        resize=None if preset.square else round(test_size * preset.resize),
        ten_crop=ten_crop,
        workers=count_workers(workers, devices),
        balanced=balanced,
        seed=seed,
        batch_size=config.batch_size,
        eval_batch_size=config.eval_batch_size,
        accumulate=accumulate,
    )
