"""Write a row of metrics.csv after each epoch, with its time, and pass the row on to the loggers."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ..cli.console import say
from ..errors import UserError
from ..runs.directory import Run
from ..runs.results import read_metrics, write_metrics
from .loggers.base import RunLogger


class History(Checkpoint):
    """Record the epochs of a run in ``rows``, which each checkpoint carries; metrics.csv is written from them.

    A Checkpoint, because Lightning calls those after the task has collected its metrics.
    """

    def __init__(self, run: Run, *, batch_size: int, loggers: Sequence[RunLogger]) -> None:
        self.run, self.path = run, run.path / "metrics.csv"
        self.batch_size, self.loggers = batch_size, loggers
        self.rows: list[dict[str, float]] = []
        self.restored: list[dict[str, float]] | None = []  # None of a checkpoint of version 0.1 or 0.2, without rows
        self.fit_seconds = 0.0
        self.before: tuple[float, float] = (0.0, 0)  # seconds and batches of the running epoch before a stop inside it
        self.began: float | None = None

    @property
    def row(self) -> dict[str, float]:
        return self.rows[-1]

    @property
    def throughput(self) -> float:
        """The images that the running epoch has trained on, a second."""
        seconds = time.monotonic() - self.epoch_began
        return self.epoch_batches * self.part / seconds if seconds > 0 else 0.0

    def state_dict(self) -> dict[str, object]:
        now = time.monotonic()
        return {
            "fit_seconds": self.fit_seconds + now - (now if self.began is None else self.began),
            "epoch_seconds": now - self.epoch_began if self.epoch_batches else 0.0,
            "epoch_batches": self.epoch_batches,
            "rows": self.rows,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.fit_seconds = state_dict["fit_seconds"]
        self.before = (state_dict["epoch_seconds"], state_dict["epoch_batches"])
        self.restored = state_dict.get("rows")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = time.monotonic()
        self.part = self.batch_size / trainer.accumulate_grad_batches
        self.on_train_epoch_start(trainer, pl_module)  # Lightning skips it when it resumes inside an epoch
        self.restore_rows(trainer)

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
        images = self.epoch_batches * self.part
        metrics: dict[str, float] = pl_module.epoch_metrics  # type: ignore[assignment]
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        row |= {name: float(value) for name, value in metrics.items()}
        self.rows.append(row | {"seconds": seconds, "images_per_second": images / seconds})
        self.epoch_batches = 0  # a checkpoint saved from here on lies between two epochs
        if trainer.is_global_zero:
            self.run.require_place()
            write_metrics(self.path, self.rows)  # all of them: the file may have been deleted meanwhile
            for logger in self.loggers:
                logger.epoch(self.row)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.began is None:  # resumed after the last epoch: nothing was trained
            self.restore_rows(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and self.began is not None:
            self.fit_seconds += time.monotonic() - self.began

    def restore_rows(self, trainer: Trainer) -> None:
        """Take the epochs from before a stop from the checkpoint, write metrics.csv, and pass them on to the loggers.

        A checkpoint of an earlier version has none: its rows are those of the file, and what is missing there is said.
        """
        done = trainer.current_epoch
        rows = read_metrics(self.path) if self.restored is None else self.restored
        self.rows = [row for row in rows if row.get("epoch", 0) <= done]
        if not trainer.is_global_zero:
            return
        if missing := done - len(self.rows):
            say(f"{self.path}: lacks {missing} of the {done} epochs before this start; they stay unknown.")
        write_metrics(self.path, self.rows)
        for logger in self.loggers:
            logger.repeat(self.rows)

    def require_last_row(self, epochs: int) -> None:
        """Raise UserError where the last epoch's numbers are unknown, so that no results can be written."""
        if not self.rows or self.rows[-1].get("epoch") != epochs:
            raise UserError(
                f"{self.path}: has no row of epoch {epochs}, the last one, and the checkpoint of an earlier version "
                "does not hold it; train anew with fresh=true, or on with resume=… and more epochs"
            )
