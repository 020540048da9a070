"""Save last.ckpt at each epoch's end and every few minutes, and best.ckpt where validation improves."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ..files import write_atomic
from ..runs.directory import Run
from .finite import require_finite
from .history import History
from .stopping import Stopping, ask_any_process, may_stop


class Saving(Checkpoint):
    """Keep the checkpoints of a run directory up to date.

    ``carried`` is added to each checkpoint: config, info, normalisation, hashes. Those after the epochs ``kept`` stay.
    """

    def __init__(
        self,
        run: Run,
        *,
        minutes: float,
        carried: Mapping[str, object],
        history: History,
        stopping: Stopping,
        kept: Sequence[int] = (),
    ) -> None:
        self.run, self.carried, self.history, self.stopping = run, carried, history, stopping
        self.kept, self.seconds_between = kept, minutes * 60
        self.best = float("-inf")

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best = state_dict["best"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if not may_stop(trainer, batch_idx):
            return
        due = self.stopping.requested or time.monotonic() - self.saved > self.seconds_between
        if ask_any_process(trainer, due):
            self.save(trainer, pl_module, self.run.last)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = self.history.row.get(f"val/{pl_module.headline}", float("-inf"))
        improved, self.best = score > self.best, max(score, self.best)
        if improved:
            self._save_best(trainer, pl_module)
        else:
            self.save(trainer, pl_module, self.run.last)
        if trainer.is_global_zero and trainer.current_epoch + 1 in self.kept:
            self.run.keep_epoch(trainer.current_epoch + 1)

    def _save_best(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.save(trainer, pl_module, self.run.best)
        if trainer.is_global_zero:
            self.run.keep_previous()
            write_atomic(self.run.last, self.run.best.read_bytes())
        trainer.strategy.barrier()  # another process may read last.ckpt next

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]) -> None:
        checkpoint |= self.carried

    def save(self, trainer: Trainer, pl_module: LightningModule, path: Path) -> None:
        """Save a checkpoint; raise UserError where the weights are not finite."""
        require_finite(pl_module, trainer, self.run)
        if trainer.is_global_zero:
            self.run.require_place()
            if path == self.run.last:
                self.run.keep_previous()
        trainer.save_checkpoint(path)
        self.saved = time.monotonic()
