"""The base of the loggers: start, then rows of epochs, pictures and a summary, then finish."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lightning.pytorch.loggers import Logger
from torch import Tensor

from ...runs.results import Results


@dataclass(frozen=True)
class Identity:
    """The names, tags and facts of a run for its loggers."""

    path: Path  # of the run directory
    name: str
    group: str | None
    tags: list[str]
    run_id: str
    facts: Results = field(default_factory=dict)  # the configuration, and what is known before training


class RunLogger:
    """Receive the events of a run; only rank 0 calls it after ``start``. A subclass overrides what it needs."""

    lightning: Logger | None = None  # for the Trainer, where the logger is one of Lightning's

    def start(self, run: Identity) -> None:
        """Begin or continue the run of this identity."""

    def epoch(self, row: dict[str, float]) -> None:
        """Log an epoch's row of metrics.csv, which has the step."""

    def repeat(self, rows: Iterable[dict[str, float]]) -> None:
        """Log the rows of the epochs before a stop, where the logger has lost them."""

    def media(self, name: str, picture: Path, step: int) -> None:
        """Show a picture."""

    def summary(self, results: Results, *, confusion: Tensor | None, classes: tuple[str, ...]) -> None:
        """Log the content of results.json and, where the test has one, the confusion matrix int64 [C, C]."""

    def finish(self, *, failed: bool) -> None:
        """End the run at the logger."""
