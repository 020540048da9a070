"""Share what all data modules need: the facts of their splits, and the loaders that a Trainer asks for."""

from collections.abc import Callable, Iterator, Mapping, Sized
from typing import Any, Protocol, TypedDict

import numpy as np
import torch
from lightning import LightningDataModule, Trainer
from numpy.typing import NDArray

from ..errors import UserError
from .info import DatasetInfo, Normalization
from .raw import PhotoFiles


class Loader(Protocol):
    """Iterate over the batches of one pass; ``len`` is their number."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


class Place(TypedDict):
    """Say on which device, and for which of ``world`` ranks, a loader makes its batches."""

    device: torch.device
    rank: int
    world: int


class RequiredSettings(TypedDict):
    normalization: Normalization
    seed: int
    batch_size: int
    eval_batch_size: int


class CommonSettings(RequiredSettings, total=False):
    """Name the keyword arguments that every data module passes on to ``DataModule``."""

    accumulate: int


def check_parts(batch_size: int, devices: int, accumulate: int) -> None:
    """Raise UserError unless a global batch divides over the devices and accumulated parts."""
    if batch_size % (devices * accumulate):
        raise UserError(
            f"data.batch_size={batch_size} does not divide over "
            f"{devices} device{'s' * (devices > 1)} × {accumulate} accumulated part{'s' * (accumulate > 1)}"
        )


def check_batch_size(batch_size: int, images: int, kind: str = "training images") -> None:
    """Raise UserError where not even one training batch would be full."""
    if batch_size > images:
        raise UserError(
            f"data.batch_size={batch_size} is larger than the {images} {kind}; lower it, for no batch would be full"
        )


def count_labels(labels: NDArray[Any], num_classes: int) -> list[int]:
    """Return how many images have each class; labels: int64 [N], or 0 and 1 [N, C]."""
    counts = np.bincount(labels, minlength=num_classes) if labels.ndim == 1 else (labels > 0).sum(axis=0)
    return [int(count) for count in counts]


class EachEpoch:
    """Iterate over the loader of an epoch anew in each pass, for a Trainer that keeps its loader for all epochs."""

    def __init__(self, load: Callable[[], Loader]) -> None:
        self.load = load

    def __len__(self) -> int:
        return len(self.load())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.load())


class DataModule(LightningDataModule):
    """Hold the splits of one run; each kind stores and loads them in its own ``train_loader`` and ``eval_loader``.

    ``info`` holds the facts of the set as it is used, ``sizes`` the number of images of each split, ``normalization``
    the plain dict that is stored with the weights (src/data/normalization.py), ``monitored`` the splits that a Trainer
    validates on, and ``label_counts`` how many images of each split have each class, where images have classes.
    """

    def __init__(
        self,
        info: DatasetInfo,
        splits: Mapping[str, Sized],
        *,
        normalization: Normalization,
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
        labels = {name: getattr(split, "labels", None) for name, split in splits.items()}
        self.label_counts = {
            name: count_labels(found, info.num_classes) for name, found in labels.items() if found is not None
        }

    def list_photos(self) -> dict[str, PhotoFiles]:
        """Return the photo files of each split; {} for a set that is published as a whole."""
        return {}

    def get_picture(self, split: str, i: int) -> torch.Tensor:
        """Return an image of a split, in its own order, as uint8 [C, H, W] and before any augmentation."""
        raise NotImplementedError

    @property
    def sides(self) -> list[int]:
        """Return the sides of the images that the network sees, the test's last [pixels]."""
        return [self.info.image_size]

    def train_loader(
        self,
        device: torch.device | str = "cpu",
        *,
        rank: int = 0,
        world: int = 1,
        epoch: int = 0,
        trained: Callable[[], int] | None = None,
    ) -> Loader:
        """Return the loader of the training split, shuffled and augmented as in this epoch, for one of ``world`` ranks.

        ``trained`` returns how many micro-batches of the epoch the weights have seen. Raises UserError where the batch
        does not divide over the ranks.
        """
        raise NotImplementedError

    def eval_loader(self, split: str, device: torch.device | str = "cpu", *, rank: int = 0, world: int = 1) -> Loader:
        """Return the loader of any split, "train" too, in its own order and not augmented; a rank gets its slice."""
        raise NotImplementedError

    def train_dataloader(self) -> Loader:
        """Return the loader of the Trainer's current epoch, or one for all epochs where it does not reload them.

        Raises UserError where the Trainer accumulates other parts of a batch than the loader yields.
        """
        trainer = self._trainer
        if self.accumulate not in (1, trainer.accumulate_grad_batches):
            raise UserError(
                f"these batches come in {self.accumulate} parts: set "
                f"Trainer(accumulate_grad_batches={self.accumulate}), or build the data without accumulate"
            )
        if trainer.reload_dataloaders_every_n_epochs != 1:  # type: ignore[attr-defined]
            return EachEpoch(lambda: self._load_current(trainer))
        return self._load_current(trainer)

    def _load_current(self, trainer: Trainer) -> Loader:
        """Return the training loader of the Trainer's current epoch."""
        progress = trainer.fit_loop.epoch_loop.batch_progress

        def count_trained() -> int:
            count: int = progress.current.processed  # type: ignore[attr-defined]
            return count

        return self._load_epoch(trainer.current_epoch, trainer.max_epochs or 1, count_trained)

    def val_dataloader(self) -> list[Loader]:
        """Return one loader for each split in ``monitored``, so none where there is no validation."""
        return [self.eval_loader(split, **self._place) for split in self.monitored]

    def test_dataloader(self) -> Loader:
        return self.eval_loader("test", **self._place)

    def _load_epoch(self, epoch: int, epochs: int, trained: Callable[[], int]) -> Loader:
        """Return the training loader of this epoch of ``epochs``, for the Trainer's device and rank."""
        return self.train_loader(**self._place, epoch=epoch, trained=trained)

    @property
    def _place(self) -> Place:
        trainer = self._trainer
        return {"device": trainer.strategy.root_device, "rank": trainer.global_rank, "world": trainer.world_size}

    @property
    def _trainer(self) -> Trainer:
        assert self.trainer is not None, "without a Trainer, call train_loader() or eval_loader()"
        return self.trainer
