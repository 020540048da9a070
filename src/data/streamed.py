"""The data module of photos that are decoded while training (src/data/decoded.py has its loaders)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule

from src.data.decoded import EvalStream, TrainStream
from src.data.info import DatasetInfo
from src.data.module import check_parts
from src.data.raw import Split
from src.data.transforms import Photos


class StreamedImages(LightningDataModule):
    """Splits of photos in files; ``Split.images`` are their paths below ``root``.

    ``train_sizes`` and ``ramp`` tell the side of the training images by the epoch (``side_at``); validation and test
    images are resized to ``resize`` (see ``EvalTransform``) and cropped to ``info.image_size``.
    """

    def __init__(
        self,
        info: DatasetInfo,
        splits: dict[str, Split],
        *,
        root: Path,
        normalization: dict[str, Any],
        preset: Photos,
        mixup: float,
        cutmix: float,
        train_sizes: Sequence[int],
        ramp: Sequence[float] = (),
        resize: int | None,
        ten_crop: bool = False,
        seed: int,
        batch_size: int,
        eval_batch_size: int,
        accumulate: int = 1,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.info, self.splits, self.root, self.normalization = info, splits, root, normalization
        self.preset, self.mixup, self.cutmix = preset, mixup, cutmix
        self.train_sizes, self.ramp, self.resize, self.ten_crop = train_sizes, ramp, resize, ten_crop
        self.seed, self.workers = seed, workers
        self.batch_size, self.eval_batch_size, self.accumulate = batch_size, eval_batch_size, accumulate
        self.sizes = {name: len(split) for name, split in splits.items()}
        self.monitored: tuple[str, ...] = ("val",) if "val" in splits else ()
        # with more ranks than images in the only evaluation batch a rank has nothing to do, and that is fine
        self.allow_zero_length_dataloader_with_multiple_devices = True

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
        """The training split, shuffled and augmented as in this epoch of ``epochs``, for one of ``world`` ranks."""
        check_parts(self.batch_size, world, self.accumulate)
        return TrainStream(
            self.root,
            self.splits["train"],
            self.normalization,
            preset=self.preset,
            mixup=self.mixup,
            cutmix=self.cutmix,
            size=side_at(epoch, epochs, self.train_sizes, self.ramp),
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
        """Any split, "train" too: whole, in its own order, not augmented; this rank's share of it."""
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

    def train_dataloader(self) -> TrainStream:
        """The current epoch's loader; without Trainer(reload_dataloaders_every_n_epochs=1), RuntimeError."""
        trainer, progress = self._trainer, self._trainer.fit_loop.epoch_loop.batch_progress
        if trainer.reload_dataloaders_every_n_epochs != 1:
            raise RuntimeError("each epoch has its own loader: set reload_dataloaders_every_n_epochs=1")
        return self.train_loader(
            **self._place,
            epoch=trainer.current_epoch,
            epochs=trainer.max_epochs or 1,
            trained=lambda: progress.current.processed,
        )

    def val_dataloader(self) -> list[EvalStream]:
        """One loader for each split in ``monitored``, of one crop an image; none where there is no validation."""
        return [self.eval_loader(split, **self._place, ten_crop=False) for split in self.monitored]

    def test_dataloader(self) -> EvalStream:
        return self.eval_loader("test", **self._place)

    @property
    def _place(self) -> dict[str, Any]:
        trainer = self._trainer
        return {"device": trainer.strategy.root_device, "rank": trainer.global_rank, "world": trainer.world_size}

    @property
    def _trainer(self) -> Any:
        assert self.trainer is not None, "without a Trainer, call train_loader() or eval_loader()"
        return self.trainer


def side_at(epoch: int, epochs: int, sizes: Sequence[int], ramp: Sequence[float] = ()) -> int:
    """The side of the training images in this epoch (from 0) of ``epochs`` [pixels].

    Each of ``sizes`` holds for an equal part of them. With ``ramp`` = (from, to), shares of the epochs, the side stays
    at the first, then rises in multiples of 32 to the last, and stays there.
    """
    if not ramp:
        return sizes[min(epoch * len(sizes) // epochs, len(sizes) - 1)]
    progress, (first, last) = epoch / epochs, ramp
    if progress <= first or progress >= last:
        return sizes[0 if progress <= first else -1]
    side = sizes[0] + (sizes[-1] - sizes[0]) * (progress - first) / (last - first)
    return round(side / 32) * 32
