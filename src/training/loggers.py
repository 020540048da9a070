"""TensorBoard and W&B: what they are told at the start, after each epoch, and at the end."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from torch import Tensor

from ..config.logger import LoggerConfig
from ..config.run import TrainConfig
from ..data.info import DatasetInfo
from ..machine.wandb import has_wandb_key
from ..tasks.base import Task

if TYPE_CHECKING:
    pass


def tell(loggers: Iterable[Logger], row: dict[str, float]) -> None:
    """Give loggers the row of an epoch."""
    for logger in loggers:
        logger.log_metrics({k: v for k, v in row.items() if k != "step"}, step=int(row["step"]))


def retell(trainer: Trainer, rows: Iterable[dict[str, float]]) -> None:
    """Repeat the epochs before a stop where W&B is offline: each start has a folder of its own there, and what is sent
    later shall not depend on how W&B joins them. The newest folder holds the whole run."""
    offline = [x for x in trainer.loggers if isinstance(x, WandbLogger) and x.experiment.offline]
    for row in rows:
        tell(offline, row)


def readable_name(config: TrainConfig, *, seed: bool = True) -> str:
    """What a run is called among its like: network, data set, the part of it where that is limited, seed."""
    limit = config.data.limit_train
    part = [f"train{limit:g}"] if limit is not None else []
    return "-".join([config.model.name, config.data.name, *part, *([f"seed{config.seed}"] if seed else [])])


def tags(config: TrainConfig) -> list[str]:
    """By what runs are found again: what the user says, then experiment, network, data set and task."""
    named = (config.experiment_name, config.model.name, config.data.name, config.task.name)
    return list(dict.fromkeys(filter(None, (*config.logger.tags, *named))))


def close_wandb() -> None:
    """End a run at W&B that failed, so that the next job of a sweep begins one of its own."""
    import wandb

    wandb.finish(exit_code=1)


def tell_loggers(trainer: Trainer, results: dict[str, Any], task: Task, info: DatasetInfo) -> None:
    """Give each logger the summary: the final metrics and, to W&B, what else the task shows."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update(
                results["metrics"]
                | errors(results)
                | {name: results[name] for name in ("params", "macs")}
                | {f"time/{name}": value for name, value in results["time"].items()}
            )
            if results["status"] == "finished" and (confusion := task.confusion()) is not None:
                logger.experiment.log({"test/confusion_matrix": wandb_confusion(confusion, info.classes)})
            logger.experiment.finish()
        elif isinstance(logger, TensorBoardLogger):
            test = {key: value for key, value in results["metrics"].items() if key.startswith("test/")}
            logger.log_metrics(test, step=results["steps"])
            logger.finalize("success")


def errors(results: dict[str, Any]) -> dict[str, float]:
    """1 - accuracy, which the literature prints; only where an image has one class."""
    if results["task"] != "multiclass":
        return {}
    names = {"accuracy": "error", "top5": "top5_error"}
    parted = [(*key.rpartition("/"), value) for key, value in results["metrics"].items()]
    return {f"{split}/{names[name]}": 1 - value for split, _, name, value in parted if name in names}


def build_loggers(
    config: LoggerConfig,
    *,
    path: Path,
    name: str,
    group: str | None,
    tags: list[str],
    run_id: str,
    facts: dict[str, Any],
) -> list[Logger]:
    """What is written beside metrics.csv; W&B goes offline where it finds no key."""
    if config.name == "tensorboard":
        return [TensorBoardLogger(save_dir=path, name="", version="tensorboard")]
    if config.name == "wandb":
        os.environ.setdefault("WANDB_SILENT", "true")
        logger = WandbLogger(
            name=name,
            save_dir=path,
            id=run_id,
            resume="allow",
            project=config.project,
            entity=config.entity,
            group=group,
            tags=tags,
            job_type=config.job_type,
            config=facts,
            offline=config.mode == "offline" or (config.mode == "auto" and not has_wandb_key()),
        )
        return [logger]
    return []


def wandb_confusion(confusion: Tensor, classes: Sequence[str]) -> Any:
    """The confusion matrix [C, C] as a W&B table with a row a pair of classes."""
    import wandb

    rows = [
        [true, predicted, int(count)]
        for true, counts in zip(classes, confusion.tolist(), strict=True)
        for predicted, count in zip(classes, counts, strict=True)
    ]
    return wandb.Table(columns=["true", "predicted", "count"], data=rows)
