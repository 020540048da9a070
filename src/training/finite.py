"""End a training whose loss or weights are no longer finite, before a good checkpoint is overwritten."""

import math
import sys
from typing import cast

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ..errors import UserError
from ..runs.directory import Run
from ..runs.results import DIVERGED
from ..tasks.base import Task
from .progress import Snapshots


class Finite(Checkpoint):
    """Check each epoch's loss and, where that costs nothing, the one on the progress bar."""

    def __init__(self, run: Run, snapshots: Snapshots) -> None:
        self.run, self.snapshots = run, snapshots

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        # several processes may only fail together, at a save; a single one may look at the bar's loss for free
        shown = self.snapshots.arrived
        if shown is not None and trainer.world_size == 1 and not math.isfinite(shown["loss"]):
            require_finite(pl_module, trainer, self.run, shown["loss"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics: dict[str, float] = pl_module.epoch_metrics  # type: ignore[assignment]
        require_finite(pl_module, trainer, self.run, metrics["train/loss"])


def require_finite(module: LightningModule, trainer: Trainer, run: Run, loss: float | None = None) -> None:
    """Raise UserError where the loss or a weight is no longer finite; the last good checkpoint stays."""
    task = cast(Task, module)
    figure = float(task.read_running_figures()["loss"]) if loss is None else loss
    weights = torch.stack(torch._foreach_norm([p.detach() for p in task.model.parameters()])).sum()
    if math.isfinite(figure) and torch.isfinite(weights):
        return
    if not trainer.is_global_zero and not torch.isfinite(weights):
        sys.exit(1)  # all processes have the same weights, so rank 0 says it
    kept = f" The last good checkpoint is {run.last}." if run.last.exists() else ""
    raise UserError(
        f"{DIVERGED} (epoch {trainer.current_epoch + 1}, step {trainer.global_step}).{kept} "
        "Lower optim.lr, warm up (optim.warmup=0.05) or clip (optim.clip_norm=1)."
    )
