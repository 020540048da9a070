"""A progress bar over training, validation and test on a terminal, and a line for each epoch everywhere."""

import sys
import time
from dataclasses import dataclass
from typing import NoReturn

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor
from tqdm import tqdm

from .history import History

TRAINED = 3  # times the work of an image that only goes forward, for a backward pass is about two of them
SHORT = {"accuracy": "acc", "map": "mAP", "mask_map": "mask mAP"}  # on the bar


class Snapshot:
    """Copy figures from the device to the host without waiting for them."""

    def __init__(self, figures: dict[str, Tensor]) -> None:
        self.names = list(figures)
        values = torch.stack([figure.double() for figure in figures.values()])
        self.values = values.to("cpu", non_blocking=True)
        self.event = torch.cuda.Event() if values.is_cuda else None
        if self.event is not None:
            self.event.record()

    def read(self) -> dict[str, float] | None:
        """Return the figures, or None while they have not arrived."""
        if self.event is not None and not self.event.query():
            return None
        return dict(zip(self.names, self.values.tolist(), strict=True))


class Snapshots(Checkpoint):
    """Take a snapshot of the running figures once a second; ``arrived`` are the last ones, after one batch only."""

    def __init__(self) -> None:
        self.taken_at = 0.0
        self.arrived: dict[str, float] | None = None
        self.under_way: Snapshot | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.under_way = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self.arrived = None
        now = time.monotonic()
        if now - self.taken_at >= 1.0:
            self.taken_at = now
            self.arrived = self.under_way.read() if self.under_way is not None else None
            self.under_way = Snapshot(pl_module.read_running_figures())  # type: ignore[operator]


@dataclass(frozen=True)
class Work:
    """The work of a training, in images that go forward through the network; a trained one also goes back.

    `train` and `val` are the images of an epoch, `test` those of the final test.
    """

    train: int
    val: int
    test: int

    def total(self, epochs: int) -> float:
        return epochs * self.epoch + self.test

    @property
    def epoch(self) -> float:
        return TRAINED * self.train + self.val


class Progress(Checkpoint):
    """Draw the bar and print a line for each epoch. A Checkpoint, so that it follows ``History``.

    The bar is over training, validation and the final test, each by its work, so that the time left is that of all.
    """

    def __init__(self, *, snapshots: Snapshots, history: History, work: Work, draw: bool) -> None:
        self.snapshots, self.history, self.work, self.draw = snapshots, history, work, draw
        self.bar: tqdm[NoReturn] | None = None
        self.epochs = 1
        self.evaluating = 0.0  # seconds so far

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs = trainer.max_epochs or 1
        self.begun = time.monotonic()
        drawn = self.draw and trainer.is_global_zero and sys.stderr.isatty()
        self.bar = tqdm(
            total=self.work.total(self.epochs),
            initial=self.locate(trainer, trainer.fit_loop.epoch_loop.batch_progress.current.completed),
            disable=not drawn,
            dynamic_ncols=True,
            mininterval=0.5,
            miniters=0,  # the parts of the work differ in size, so that only the time tells when to draw
            bar_format="{percentage:3.0f}%|{bar}| {desc}  {elapsed} < {remaining}",
        )

    def locate(self, trainer: Trainer, batches: int, validated: float = 0.0) -> float:
        """Return the work that is done after these batches of the epoch, and this fraction of its validation."""
        trained = TRAINED * self.work.train * batches / max(1, int(trainer.num_training_batches))
        return trainer.current_epoch * self.work.epoch + trained + self.work.val * validated

    def move(self, done: float, text: str, *, at_once: bool = False) -> None:
        """Move the bar to this work; `text` stands in it, `at_once` or with its next drawing."""
        if self.bar is not None and not self.bar.disable:
            if text:
                self.bar.set_description_str(text, refresh=False)
            self.bar.update(max(0.0, done - self.bar.n))
            if at_once:
                self.bar.refresh()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.move(0, self.name_epoch(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        shown, text = self.snapshots.arrived, ""
        if shown is not None:
            figures = [f"{SHORT.get(name, name)} {value:.3f}" for name, value in shown.items()]
            text = f"{self.name_epoch(trainer)} {' '.join(figures)} {format_throughput(self.history.throughput)}"
        self.move(self.locate(trainer, batch_idx + 1), text)

    def name_epoch(self, trainer: Trainer) -> str:
        return f"epoch {trainer.current_epoch + 1}/{self.epochs}"

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validation_began = time.monotonic()
        share = self.evaluating / max(self.validation_began - self.begun, 1e-9)
        told = f" ({share:.0%} of the time)" if self.evaluating else ""
        self.move(0, f"{self.name_epoch(trainer)} validating{told}", at_once=True)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        batches = trainer.num_val_batches
        done = sum(batches[:dataloader_idx]) + batch_idx + 1
        self.move(self.locate(trainer, int(trainer.num_training_batches), done / sum(batches)), "")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.evaluating += time.monotonic() - self.validation_began

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.move(0, "testing", at_once=True)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        done = (batch_idx + 1) / max(1, sum(trainer.num_test_batches))
        self.move(self.epochs * self.work.epoch + self.work.test * done, "")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            line = format_epoch(self.history.row, epochs=self.epochs, headline=str(pl_module.headline))
            tqdm.write(line, file=sys.stderr)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "test" or not self.work.test:
            self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def format_epoch(row: dict[str, float], *, epochs: int, headline: str) -> str:
    """Format an epoch's figures as a line, which stays above the bar."""
    parts = [f"epoch {row['epoch']:>3}/{epochs}", f"lr {row['lr']:.2g}"]
    for split in ("train", "val", "test"):
        names = dict.fromkeys(("loss", "accuracy", "map", headline))
        shown = {name: row[f"{split}/{name}"] for name in names if f"{split}/{name}" in row}
        if shown:
            parts.append(f"{split} " + " ".join(f"{SHORT.get(name, name)} {v:.4f}" for name, v in shown.items()))
    return "  ".join([*parts, format_throughput(row["images_per_second"]), f"{row['seconds']:.1f} s"])


def format_throughput(images: float) -> str:
    """Format a throughput such as "967 img/s", or "0.42 img/s" of a detector on a CPU."""
    return f"{images:,.0f} img/s" if images >= 10 else f"{images:.2g} img/s"
