"""Build a run's loggers, and name the run for them."""

from collections.abc import Iterable

from ...config.choices import find_builder
from ...config.logger import Csv, LoggerConfig, TensorBoard, Wandb
from ...config.run import TrainConfig
from ...machine.wandb import choose_wandb_mode
from .base import RunLogger


def build_loggers(choices: Iterable[LoggerConfig]) -> list[RunLogger]:
    """Return the adapters of the chosen loggers, not yet started."""
    return [build_logger(choice) for choice in choices if not isinstance(choice, Csv)]


def build_logger(choice: LoggerConfig) -> RunLogger:
    """Return the adapter of a logger; raise UserError where nothing builds it, or it has no way to work."""
    match choice:
        case TensorBoard():
            from .tensorboard import TensorBoardRun

            return TensorBoardRun()
        case Wandb():
            mode = choose_wandb_mode(choice.mode)
            if mode == "disabled":
                return RunLogger()
            from .wandb import WandbRun

            return WandbRun(
                project=choice.project,
                entity=choice.entity,
                group=choice.group,
                job_type=choice.job_type,
                tags=choice.tags,
                mode=mode,
            )
    built: RunLogger = find_builder(choice)(choice)
    return built


def make_readable_name(config: TrainConfig, *, seed: bool = True) -> str:
    """Return a readable name of a run: network, data set, the part of it where that is limited, and seed."""
    limit = config.data.limit_train
    part = [f"train{limit:g}"] if limit is not None else []
    return "-".join([config.model.name, config.data.label, *part, *([f"seed{config.seed}"] if seed else [])])


def list_tags(config: TrainConfig) -> list[str]:
    """Return the tags of a run: experiment, network, data set and task."""
    named = (config.experiment_name, config.model.name, config.data.label, config.task.name)
    return list(dict.fromkeys(filter(None, named)))
