"""What is written beside metrics.csv."""

from dataclasses import dataclass, field

from .fields import check_choices, setting


@dataclass
class LoggerConfig:
    name: str = setting("csv", "beside metrics.csv", identity=False, choices=("csv", "tensorboard", "wandb"))
    project: str = setting("deep-residual-learning", "W&B's project", identity=False)
    entity: str | None = setting(None, "W&B's team or user", identity=False)
    group: str | None = setting(None, "W&B's group; the experiment's name by default", identity=False)
    job_type: str = setting("train", "W&B's job type", identity=False)
    tags: list[str] = field(
        default_factory=list,
        metadata={"help": "W&B's tags, beside experiment, model, data and task", "identity": False},
    )
    mode: str = setting(
        "auto", "W&B: auto is online with a key, else offline", identity=False, choices=("auto", "online", "offline")
    )

    def __post_init__(self) -> None:
        check_choices(self, "logger")
