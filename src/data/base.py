"""What all data modules share: the facts of their splits, and the loaders that a Trainer asks for."""

from collections.abc import Callable, Mapping, Sized
from typing import Any

import torch
from lightning import LightningDataModule

from ..errors import UserError
from .info import DatasetInfo


def check_parts(batch_size: int, devices: int, accumulate: int) -> None:
    """Raise UserError unless a global batch divides over the devices and accumulated parts."""
    if batch_size % (devices * accumulate):
        raise UserError(
            f"data.batch_size={batch_size} does not divide over "
            f"{devices} device{'s' * (devices > 1)} × {accumulate} accumulated part{'s' * (accumulate > 1)}"
        )


class DataModule(LightningDataModule):
    """The splits of one run; how they lie, and are loaded, is each kind's own (``train_loader``, ``eval_loader``).

    ``info`` are the facts of the set as it is used, ``sizes`` the numbers of images by split,
    ``normalization`` the plain dict to be stored with the weights (src/data/normalization.py), and
    ``monitored`` the splits that a Trainer validates on.
    """

    def __init__(
        self,
        info: DatasetInfo,
        splits: Mapping[str, Sized],
        *,
        normalization: dict[str, Any],
        seed: int,
        batch_size: int,
        eval_batch_size: int,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        self.info, self.normalization, self.seed = info, normalization, seed
        self.batch_size, self.eval_batch_size, self.accumulate = batch_size, eval_batch_size, accumulate
        self.sizes = {name: len(split) for name, split in splits.items()}
        self.monitored: tuple[str, ...] = ("val",) if "val" in splits else ()

    @property
    def sides(self) -> list[int]:
        """The sides of the images that a network sees, the test's last [pixels]."""
        return [self.info.image_size]

    def train_loader(
        self,
        device: torch.device | str = "cpu",
        *,
        rank: int = 0,
        world: int = 1,
        epoch: int = 0,
        trained: Callable[[], int] | None = None,
    ) -> Any:
        """The training split, shuffled and augmented as in this epoch, for one of ``world`` ranks.

        Raises UserError where the batch does not divide over the ranks.
        """
        raise NotImplementedError

    def eval_loader(self, split: str, device: torch.device | str = "cpu", *, rank: int = 0, world: int = 1) -> Any:
        """Any split, "train" too: whole, in its own order, not augmented; this rank's share of it."""
        raise NotImplementedError

    def train_dataloader(self) -> Any:
        """The current epoch's loader; without Trainer(reload_dataloaders_every_n_epochs=1), RuntimeError."""
        if self._trainer.reload_dataloaders_every_n_epochs != 1:
            raise RuntimeError("each epoch has its own loader: set reload_dataloaders_every_n_epochs=1")
        return self.train_loader(**self._place, **self._time)

    def val_dataloader(self) -> list[Any]:
        """One loader for each split in ``monitored``; none where there is no validation."""
        return [self.eval_loader(split, **self._place) for split in self.monitored]

    def test_dataloader(self) -> Any:
        return self.eval_loader("test", **self._place)

    @property
    def _place(self) -> dict[str, Any]:
        trainer = self._trainer
        return {"device": trainer.strategy.root_device, "rank": trainer.global_rank, "world": trainer.world_size}

    @property
    def _time(self) -> dict[str, Any]:
        trainer, progress = self._trainer, self._trainer.fit_loop.epoch_loop.batch_progress
        return {"epoch": trainer.current_epoch, "trained": lambda: progress.current.processed}

    @property
    def _trainer(self) -> Any:
        assert self.trainer is not None, "without a Trainer, call train_loader() or eval_loader()"
        return self.trainer
