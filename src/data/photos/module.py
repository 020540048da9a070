"""Hold the data module of photos that are decoded while training (src/data/photos/loader.py has its loaders)."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..base import CommonSettings, DataModule, Loader, check_parts
from ..info import DatasetInfo
from ..raw import PhotoFiles, Split
from ..transforms import Photos
from .loader import EvalStream, TrainStream
from .reader import read_photo
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
        **common: "Unpack[CommonSettings]",
    ) -> None:
        super().__init__(info, splits, **common)
        self.splits, self.root, self.workers = splits, root, workers
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
