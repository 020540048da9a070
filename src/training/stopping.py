"""Stop on a signal: after the step that is running, once all is saved, or at once when Ctrl-C is pressed again."""

import signal
import sys
import threading
from types import FrameType
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from tqdm import tqdm

# Ctrl-C; the end that a system asks for; and SLURM's warnings of the end of the time or of being preempted
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
AGREE_EVERY = 50  # steps between the moments at which processes agree to save or stop


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM, after the state was saved. No Exception: it must end a sweep, not only its job."""


class InterruptedAtOnce(Interrupted):
    """Ctrl-C for the second time: nothing was saved after the first."""


def may_stop(trainer: Trainer, batch_idx: int) -> bool:
    """Say whether the training may be saved or stopped after this batch.

    The epoch's end saves anyway, between accumulated parts there is no state to save, and several processes agree only
    now and then.
    """
    done = batch_idx + 1
    if done >= trainer.num_training_batches or done % trainer.accumulate_grad_batches:
        return False
    return trainer.world_size == 1 or done % AGREE_EVERY == 0


def ask_any_process(trainer: Trainer, wish: bool) -> bool:
    """Return whether any of the processes that train together wishes this."""
    return trainer.strategy.reduce_boolean_decision(wish, all=False) if trainer.world_size > 1 else wish


class Stopping(Checkpoint):
    """Turns signals into an ``Interrupted``, raised after ``Saving`` has saved. A Checkpoint, so that it comes last."""

    def __init__(self) -> None:
        self.requested = False
        self.handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            self.handlers = {number: signal.signal(number, self.request) for number in STOPS}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if may_stop(trainer, batch_idx) and ask_any_process(trainer, self.requested):
            raise Interrupted

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        stopping = ask_any_process(trainer, self.requested)
        if stopping and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            raise Interrupted

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back, before Lightning does so with its own."""
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)

    def request(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.requested:
            if number == signal.SIGINT:  # the second time the user means now; a system only repeats itself
                raise InterruptedAtOnce
            return
        self.requested = True
        tqdm.write("Stopping after this step, and saving (once more: stop at once) …", file=sys.stderr)
