"""Stop on a signal: after the step that is running, once all is saved, or at once when Ctrl-C is pressed again."""

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from tqdm import tqdm

# Ctrl-C; a system's request to end; and SLURM's warnings before a time limit or a preemption
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
Handler = Callable[[int, FrameType | None], object] | int | None  # as signal.signal returns it
AGREE_EVERY = 50  # steps after which several processes agree whether to save or stop


class Interrupted(BaseException):
    """Raised by a signal once the state is saved. No Exception, because it must end a sweep, not only its job."""


class InterruptedAtOnce(Interrupted):
    """Raised by the second Ctrl-C; nothing was saved after the first."""


def may_stop(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether the training may be saved or stopped after this batch.

    It may not at the epoch's end, which saves anyway, between accumulated parts, which have no state to save, nor in
    the steps in which several processes do not agree.
    """
    done = batch_idx + 1
    if done >= trainer.num_training_batches or done % trainer.accumulate_grad_batches:
        return False
    return trainer.world_size == 1 or done % AGREE_EVERY == 0


def ask_any_process(trainer: Trainer, wish: bool) -> bool:
    """Return whether any of the processes that train together has this wish."""
    return trainer.strategy.reduce_boolean_decision(wish, all=False) if trainer.world_size > 1 else wish


class Stopping(Checkpoint):
    """Turn signals into an ``Interrupted``, raised after ``Saving`` has saved. A Checkpoint, so that it comes last."""

    def __init__(self) -> None:
        self.requested = False
        self.rank = ""  # in words, where there are several
        self.handlers: dict[int, Handler] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rank = f"Rank {trainer.global_rank} was told to stop. " if trainer.world_size > 1 else ""
        if threading.current_thread() is threading.main_thread():
            self.handlers = {number: signal.signal(number, self.request) for number in STOPS}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if may_stop(trainer, batch_idx) and ask_any_process(trainer, self.requested):
            raise Interrupted

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        stopping = ask_any_process(trainer, self.requested)
        if stopping and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            raise Interrupted

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the earlier signal handlers, before Lightning restores those that it replaced."""
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)

    def request(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: stop after this step, or at once after a second Ctrl-C."""
        if self.requested:
            if number == signal.SIGINT:  # a user who repeats it means now; a system only repeats itself
                raise InterruptedAtOnce
            return
        self.requested = True
        tqdm.write(f"{self.rank}Stopping after this step, and saving (once more: stop at once) …", file=sys.stderr)
