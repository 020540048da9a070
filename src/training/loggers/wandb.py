"""Weights & Biases: online where there is a key, else offline below the run directory."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from ...machine.wandb import has_wandb_key
from ...runs.results import Results
from ...tasks.table import find_task_row
from .base import Identity, RunLogger


class WandbRun(RunLogger):
    lightning: WandbLogger

    def __init__(
        self, *, project: str, entity: str | None, group: str | None, job_type: str, tags: Sequence[str], mode: str
    ) -> None:
        self.project, self.entity, self.group, self.job_type = project, entity, group, job_type
        self.tags, self.mode = tags, mode

    def start(self, run: Identity) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        self.lightning = WandbLogger(
            name=run.name,
            save_dir=run.path,
            id=run.run_id,
            resume="allow",
            project=self.project,
            entity=self.entity,
            group=self.group or run.group,
            tags=list(dict.fromkeys((*self.tags, *run.tags))),
            job_type=self.job_type,
            config=run.facts,
            offline=self.mode == "offline" or (self.mode == "auto" and not has_wandb_key()),
        )

    def epoch(self, row: dict[str, float]) -> None:
        self.lightning.log_metrics({k: v for k, v in row.items() if k != "step"}, step=int(row["step"]))

    def repeat(self, rows: Iterable[dict[str, float]]) -> None:
        """Log the earlier epochs again when offline, so that the newest folder holds the whole run.

        Offline, each start has a folder of its own, and what is synced later must not depend on how W&B joins them.
        """
        if self.lightning.experiment.offline:
            for row in rows:
                self.epoch(row)

    def media(self, name: str, picture: Path, step: int) -> None:
        self.lightning.log_image(name, [str(picture)], step=step)

    def summary(self, results: Results, *, confusion: Tensor | None, classes: tuple[str, ...]) -> None:
        run = self.lightning.experiment
        run.summary.update(
            results["metrics"]
            | (compute_error_rates(results) if find_task_row(results["task"]).single else {})
            | {name: results[name] for name in ("params", "macs")}
            | {f"time/{name}": value for name, value in results["time"].items()}
        )
        if confusion is not None:
            run.log({"test/confusion_matrix": build_confusion_table(confusion, classes)})

    def finish(self, *, failed: bool) -> None:
        """End the run, so that the next job of a sweep begins one of its own."""
        import wandb

        if failed:
            wandb.finish(exit_code=1)
        else:
            self.lightning.experiment.finish()


def compute_error_rates(results: Results) -> dict[str, float]:
    """Return 1 - accuracy, which the literature prints, where an image has one class."""
    names = {"accuracy": "error", "top5": "top5_error"}
    parted = [(*key.rpartition("/"), value) for key, value in results["metrics"].items()]
    return {f"{split}/{names[name]}": 1 - value for split, _, name, value in parted if name in names}


def build_confusion_table(confusion: Tensor, classes: Sequence[str]) -> object:
    """Return the confusion matrix [C, C] as a W&B table with a row for each pair of classes."""
    import wandb

    rows = [
        [true, predicted, int(count)]
        for true, counts in zip(classes, confusion.tolist(), strict=True)
        for predicted, count in zip(classes, counts, strict=True)
    ]
    return wandb.Table(columns=["true", "predicted", "count"], data=rows)
