"""What every logger does: begin, take an epoch's row, show media, take the summary, end."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from torch import Tensor


@dataclass(frozen=True)
class Identity:
    """What a run is called at its loggers."""

    path: Path  # of the run directory
    name: str
    group: str | None
    tags: list[str]
    run_id: str
    facts: dict[str, Any] = field(default_factory=dict)  # the configuration, and what is known before training


class RunLogger:
    """Receives what happens to a run; only rank 0 calls it after ``start``. Every method may be left as it is."""

    lightning: Logger | None = None  # for the Trainer, where the logger is one of Lightning's

    def start(self, run: Identity) -> None:
        """Begin, or go on with, the run of this identity."""

    def epoch(self, row: dict[str, float]) -> None:
        """Take an epoch's row of metrics.csv, and its step."""

    def repeat(self, rows: Iterable[dict[str, float]]) -> None:
        """Take the rows of the epochs before a stop, where the logger does not remember them."""

    def media(self, name: str, picture: Path, step: int) -> None:
        """Show a picture."""

    def summary(self, results: dict[str, Any], *, confusion: Tensor | None, classes: tuple[str, ...]) -> None:
        """Take the content of results.json and, after a test that has one, the confusion matrix int64 [C, C]."""

    def finish(self, *, failed: bool) -> None:
        """End."""
