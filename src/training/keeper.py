"""Keeps a run directory up to date while training, and stops without losing anything."""

import math
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from tqdm import tqdm

from ..errors import UserError
from ..files import write_atomic
from ..runs.directory import Run
from ..runs.results import append_metrics, cut_metrics, read_metrics
from .loggers import retell, tell
from .progress import Glance, Progress

# Ctrl-C; the end that a system asks for; and SLURM's warnings of the end of the time or of being preempted
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


DDP_CHECK_EVERY = 50  # steps between the moments at which processes agree to save or stop


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM, after the state was saved. No Exception: it must end a sweep, not only its job."""


class InterruptedAtOnce(Interrupted):
    """Ctrl-C for the second time: nothing was saved after the first."""


class RunKeeper(Checkpoint):
    """Keeps a run directory up to date: last.ckpt, best.ckpt and metrics.csv; saves and stops cleanly when told to."""

    def __init__(self, *, run: Run, minutes: float, batch_size: int, draw: bool, carried: dict[str, Any]) -> None:
        self.run = run
        self.seconds_between_saves = minutes * 60
        self.batch_size = batch_size
        self.draw = draw
        self.carried = carried  # what each checkpoint says of itself: config, info, normalisation, hashes
        self.best = float("-inf")
        self.fit_seconds = 0.0
        self.before = (0.0, 0)  # seconds and batches of an epoch that were trained before a stop inside it
        self.stopping: int | None = None
        self.handlers: dict[int, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        now = time.monotonic()
        return {
            "best": self.best,
            "fit_seconds": self.fit_seconds + now - self.started,
            "epoch_seconds": now - self.epoch_started if self.epoch_batches else 0.0,
            "epoch_batches": self.epoch_batches,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.fit_seconds = state_dict["best"], state_dict["fit_seconds"]
        self.before = (state_dict.get("epoch_seconds", 0.0), state_dict.get("epoch_batches", 0))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = self.saved = time.monotonic()
        self.on_train_epoch_start(trainer, pl_module)  # Lightning leaves it out where it resumes inside an epoch
        if threading.current_thread() is threading.main_thread():
            self.handlers = {number: signal.signal(number, self._stop) for number in STOPS}
        if trainer.is_global_zero:
            cut_metrics(self.run.path / "metrics.csv", trainer.current_epoch)
            retell(trainer, read_metrics(self.run.path / "metrics.csv"))
        self.progress = Progress(
            epochs=trainer.max_epochs or 1,
            batches=int(trainer.num_training_batches),
            batch_size=self.batch_size // trainer.accumulate_grad_batches,
            done=trainer.fit_loop.epoch_loop.batch_progress.total.completed,
            draw=self.draw and trainer.is_global_zero,
        )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds, self.epoch_batches = self.before
        self.epoch_started = time.monotonic() - seconds
        self.before = (0.0, 0)
        self.glance: Glance | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        shown = None
        if self.progress.due():
            shown = self.glance.read() if self.glance is not None else None
            self.glance = Glance(pl_module.running())  # type: ignore[operator]
            # several processes come together at the saves alone; in a single one a look at the bar's loss is free
            if shown is not None and trainer.world_size == 1 and not math.isfinite(shown["loss"]):
                require_finite(pl_module, trainer, self.run, shown["loss"])
        self.progress.advance(trainer.current_epoch, shown)
        self.epoch_batches += 1
        last = batch_idx + 1 >= trainer.num_training_batches
        if last or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # the epoch's end saves anyway; between accumulated parts there is no state to save
        stopping = self.stopping is not None
        due = stopping or time.monotonic() - self.saved > self.seconds_between_saves
        if trainer.world_size > 1:
            if (batch_idx + 1) % DDP_CHECK_EVERY:
                return
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
            stopping = trainer.strategy.reduce_boolean_decision(stopping, all=False)
        if due:
            self._save(trainer, pl_module, self.run.last)
        if stopping:
            raise Interrupted

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()  # the last steps may be under way; their time is the training's
        self.trained = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Runs after the task has collected the epoch's metrics, as a Checkpoint does."""
        end = self.trained if trainer.val_dataloaders else time.monotonic()
        seconds = end - self.epoch_started
        images = self.epoch_batches * self.batch_size / trainer.accumulate_grad_batches
        metrics: dict[str, float] = pl_module.epoch_metrics  # type: ignore[assignment]
        row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **metrics}
        row |= {"seconds": seconds, "images_per_second": images / seconds}
        self.epoch_batches = 0  # what is saved now stands between two epochs
        require_finite(pl_module, trainer, self.run, row["train/loss"])
        score = row.get(f"val/{pl_module.headline}", float("-inf"))
        improved, self.best = score > self.best, max(score, self.best)
        if trainer.is_global_zero:
            append_metrics(self.run.path / "metrics.csv", row)
            tell(trainer.loggers, row)
            self.progress.line(row)
        if improved:
            self._save(trainer, pl_module, self.run.best)
            if trainer.is_global_zero:
                write_atomic(self.run.last, self.run.best.read_bytes())
            trainer.strategy.barrier()  # another process may read it next
        else:
            self._save(trainer, pl_module, self.run.last)
        stopping = self.stopping is not None
        if trainer.world_size > 1:
            stopping = trainer.strategy.reduce_boolean_decision(stopping, all=False)
        if stopping and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            raise Interrupted

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not hasattr(self, "progress"):  # stopped in the final test: nothing to train
            retell(trainer, read_metrics(self.run.path / "metrics.csv"))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint |= self.carried

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back, before Lightning does so with its own."""
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and hasattr(self, "progress"):
            self.progress.close()
            self.fit_seconds += time.monotonic() - self.started

    def _save(self, trainer: Trainer, pl_module: LightningModule, path: Path) -> None:
        require_finite(pl_module, trainer, self.run)
        trainer.save_checkpoint(path)
        self.saved = time.monotonic()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopping is not None:
            if number == signal.SIGINT:  # the second time the user means now; a system only repeats itself
                raise InterruptedAtOnce
            return
        self.stopping = number
        tqdm.write("Stopping after this step, and saving (once more: stop at once) …", file=sys.stderr)


def require_finite(task: Any, trainer: Trainer, run: Run, loss: float | None = None) -> None:
    """Raise UserError where the loss or a weight is no longer a number; what was saved before stays."""
    figure = float(task.running()["loss"]) if loss is None else loss
    weights = torch.stack(torch._foreach_norm([p.detach() for p in task.model.parameters()])).sum()
    if math.isfinite(figure) and torch.isfinite(weights):
        return
    kept = f" The last good checkpoint is {run.last}." if run.last.exists() else ""
    raise UserError(
        f"The loss is no longer a finite number (epoch {trainer.current_epoch + 1}, step {trainer.global_step}).{kept} "
        "Lower optim.lr, warm up (optim.warmup=0.05) or clip (optim.clip_norm=1)."
    )
