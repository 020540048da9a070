"""A search over settings."""

import re
from dataclasses import dataclass, field
from typing import Any

from .fields import require, setting


@dataclass
class RangeConfig:
    """The values that a search may give a setting: a number between two bounds, or one of a list."""

    low: float | None = setting(None, "the least", identity=False)
    high: float | None = setting(None, "the most", identity=False)
    log: bool = setting(False, "look at orders of magnitude", identity=False)
    choices: list[Any] = setting([], "in place of the bounds: the values", identity=False)

    def __post_init__(self) -> None:
        low, high = self.low, self.high
        bounds = low is not None and high is not None and low < high and (low > 0 or not self.log)
        require(
            (bounds and not self.choices) or (low is None and high is None and len(self.choices) > 1),
            f"hpo.space: low={low}, high={high}, log={self.log}, choices={self.choices}: "
            "low is to be below high (and above 0 where log=true), or there are two choices at least",
        )
        plain = all(value is None or isinstance(value, bool | int | float | str) for value in self.choices)
        require(plain, f"hpo.space: choices={self.choices}: each is a number, a word, true, false or null")

    def contains(self, value: object) -> bool:
        """Return whether a search could try this value."""
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high  # type: ignore[operator]


SEARCHED = (  # settings that a search may vary; the others would change what its metric means, or what a trial costs
    "optim.",
    "task.label_smoothing",
    "task.loss",
    "task.gamma_negative",
    "task.gamma_positive",
    "task.margin",
    "model.dropout",
    "model.stochastic_depth",
    "finetune.backbone_lr",
    "data.batch_size",
    "data.augment",
    "data.mixup",
    "data.cutmix",
)


@dataclass
class HpoConfig:
    """A search over settings (src/sweep/search.py)."""

    space: dict[str, RangeConfig] = field(
        default_factory=dict, metadata={"help": "what is searched, by setting", "identity": False}
    )
    trials: int = setting(20, "runs of the search, those that fail or are pruned included", identity=False)
    metric: str = setting("", "a validation metric; by default the task's headline, such as val/map", identity=False)
    prune: bool = setting(True, "end what is worse than the median of the earlier trials", identity=False)
    seed: int = setting(0, "of the choice of points; the runs have their own", identity=False)
    name: str = setting(
        "", "of the search's folder, <output_root>/hpo/<name>; by default of its content", identity=False
    )

    def __post_init__(self) -> None:
        for name in self.space:
            require(
                name.startswith(SEARCHED),
                f"hpo.space: {name} is not for a search, which may vary optim.*, {', '.join(SEARCHED[1:])}",
            )
        require(self.trials >= 1, f"hpo.trials={self.trials}: at least 1")
        require(
            not self.metric or self.metric.startswith("val/"),
            f"hpo.metric={self.metric}: a search chooses by a validation metric, such as val/accuracy; "
            "the test set never chooses, and the training set rewards what overfits",
        )
        require(
            self.metric != "val/loss" or not any(name.startswith("task.") for name in self.space),
            "hpo.metric=val/loss: losses of trials that differ in task.* do not compare; set another hpo.metric",
        )
        require(
            bool(re.fullmatch(r"(\w[\w.-]*)?", self.name)), f"hpo.name={self.name}: letters, digits, '_', '-' and '.'"
        )
        require(self.seed >= 0, f"hpo.seed={self.seed}: at least 0")
