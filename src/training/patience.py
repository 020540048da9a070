"""Stop a training whose validation no longer improves (trainer.patience)."""

from collections.abc import Mapping, Sequence

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ..cli.console import say
from .history import History


def count_stale_epochs(rows: Sequence[Mapping[str, float]], metric: str) -> int:
    """Return how many epochs have passed since the best value of a metric; the first of equal ones counts."""
    values = [row.get(metric, float("-inf")) for row in rows]
    return len(values) - 1 - values.index(max(values)) if values else 0


class Patience(Checkpoint):
    """End the training after so many epochs without a better headline; a Checkpoint, so that it comes after History.

    It has no state of its own: the epochs are counted from the history, which a resumed run brings along.
    """

    def __init__(self, history: History, epochs: int) -> None:
        self.history, self.epochs = history, epochs

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_where_stale(trainer, pl_module)  # a run that was killed after its last epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_where_stale(trainer, pl_module)

    def _stop_where_stale(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metric = f"val/{pl_module.headline}"
        stale = count_stale_epochs(self.history.rows, metric)
        if stale < self.epochs or trainer.should_stop:
            return
        trainer.should_stop = True
        if trainer.is_global_zero:
            best = len(self.history.rows) - stale
            say(
                f"Stopping early: {metric} was best in epoch {best}, {stale} epochs ago "
                f"(trainer.patience={self.epochs})."
            )
