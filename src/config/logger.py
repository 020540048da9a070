"""The choice of loggers beside metrics.csv, as a list: ``logger=[tensorboard,wandb]``."""

from dataclasses import dataclass
from typing import ClassVar

from .choices import Choice, register_choice
from .fields import check_choices, setting


@dataclass
class LoggerConfig(Choice):
    config_group: ClassVar[str] = "logger"

    def __post_init__(self) -> None:
        check_choices(self, f"logger.{self.choice}")


@register_choice
@dataclass
class Csv(LoggerConfig):
    """Nothing but metrics.csv, which is always written."""

    choice: ClassVar[str] = "csv"


@register_choice
@dataclass
class TensorBoard(LoggerConfig):
    choice: ClassVar[str] = "tensorboard"


@register_choice
@dataclass
class Wandb(LoggerConfig):
    """Weights & Biases; its settings are also known as logger.project and so on."""

    project: str = setting("deep-residual-learning", "W&B's project", identity=False)
    entity: str | None = setting(None, "W&B's team or user", identity=False)
    group: str | None = setting(None, "W&B's group; the experiment's name by default", identity=False)
    job_type: str = setting("train", "W&B's job type", identity=False)
    tags: list[str] = setting([], "W&B's tags, beside experiment, model, data and task", identity=False)
    mode: str = setting(
        "auto",
        "W&B: auto is what WANDB_MODE says, else online with a key and offline without",
        identity=False,
        choices=("auto", "online", "offline", "disabled"),
    )

    choice: ClassVar[str] = "wandb"
