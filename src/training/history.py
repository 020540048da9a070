"""Write a row of metrics.csv after each epoch, with its time, and pass the row on to the loggers."""

import time
from collections.abc import Sequence

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ..runs.directory import Run
from ..runs.results import append_metrics, cut_metrics, read_metrics
from .loggers.base import RunLogger


class History(Checkpoint):
    """Record the epochs of a run; ``row`` is the last one.

    A Checkpoint, because Lightning calls those after the task has collected its metrics.
    """

    def __init__(self, run: Run, *, batch_size: int, loggers: Sequence[RunLogger]) -> None:
        self.path = run.path / "metrics.csv"
        self.batch_size, self.loggers = batch_size, loggers
        self.row: dict[str, float] = {}
        self.fit_seconds = 0.0
        self.before: tuple[float, float] = (0.0, 0)  # seconds and batches of the running epoch before a stop inside it
        self.began: float | None = None

    def state_dict(self) -> dict[str, float]:
        now = time.monotonic()
        return {
            "fit_seconds": self.fit_seconds + now - (now if self.began is None else self.began),
            "epoch_seconds": now - self.epoch_began if self.epoch_batches else 0.0,
            "epoch_batches": self.epoch_batches,
        }

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.fit_seconds = state_dict["fit_seconds"]
        self.before = (state_dict["epoch_seconds"], state_dict["epoch_batches"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = time.monotonic()
        self.on_train_epoch_start(trainer, pl_module)  # Lightning skips it when it resumes inside an epoch
        if trainer.is_global_zero:
            cut_metrics(self.path, trainer.current_epoch)
            self.repeat()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds, self.epoch_batches = self.before
        self.epoch_began = time.monotonic() - seconds
        self.before = (0.0, 0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self.epoch_batches += 1

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()  # the last steps may still run, and their time counts as training
        self.trained = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        end = self.trained if trainer.val_dataloaders else time.monotonic()
        seconds = end - self.epoch_began
        images = self.epoch_batches * self.batch_size / trainer.accumulate_grad_batches
        metrics: dict[str, float] = pl_module.epoch_metrics  # type: ignore[assignment]
        self.row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **metrics}
        self.row |= {"seconds": seconds, "images_per_second": images / seconds}
        self.epoch_batches = 0  # a checkpoint saved from here on lies between two epochs
        if trainer.is_global_zero:
            append_metrics(self.path, self.row)
            for logger in self.loggers:
                logger.epoch(self.row)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and self.began is None:  # resumed after the last epoch: nothing was trained
            self.repeat()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and self.began is not None:
            self.fit_seconds += time.monotonic() - self.began

    def repeat(self) -> None:
        """Pass the epochs from before a stop on to the loggers."""
        for logger in self.loggers:
            logger.repeat(read_metrics(self.path))
