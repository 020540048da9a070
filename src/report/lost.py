"""Read the runs that were started and failed: they are part of the row that they were meant for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..files import read_csv, read_json
from ..runs.results import DIVERGED
from ..text import take_first_line
from .defaults import find_nested, select_settings
from .result import Result, make_keys_legible, read_config

FACTS = {"model": str, "data": str, "task": str, "seed": int}  # that a failed run has recorded


@dataclass(frozen=True)
class LostRun:
    """A run that failed: what it has recorded, and its configuration."""

    path: Path
    content: Mapping[str, object]
    config: Mapping[str, object]

    @property
    def seed(self) -> int:
        return int(str(self.content["seed"]))

    @property
    def reason(self) -> str:
        return take_first_line(str(self.content.get("reason", "no reason given")))[:200]

    @property
    def diverged(self) -> bool:
        """Tell whether the recipe has failed, not the machine."""
        return self.reason.startswith(DIVERGED)

    def was_meant_for(self, run: Result) -> bool:
        """Tell whether a finished run has the same configuration but for the seed. Epochs are the planned ones."""
        names = ("data", "model", "task", "protocol", "n_train", "data_fingerprint")
        if any(self.content.get(name) != run.content.get(name) for name in names):
            return False
        planned = find_nested(self.config, "trainer.max_epochs")
        settings = select_settings(self.config, str(self.content["model"]))
        return planned in (None, run.epochs) and settings == run.settings


def read_lost(path: Path) -> LostRun | None:
    """Read the failed run of a directory; None where there is none that says what it was."""
    try:
        content, config = read_json(path / "results.json"), read_config(path / "config.yaml")
    except UserError:
        return None
    if not content or content.get("status") != "failed":
        return None
    known = all(isinstance(content.get(key), kind) for key, kind in FACTS.items())
    return LostRun(path, make_keys_legible(content), config) if known else None


def describe_left_out(path: Path, error: UserError) -> str:
    """Say why a run is left out, and which of its files cannot be read, so that it is no failed or early one either."""
    reasons = [str(error)]
    for read in (lambda: read_config(path / "config.yaml"), lambda: read_csv(path / "metrics.csv", cut=True)):
        try:
            read()
        except UserError as other:
            reasons += [str(other)] if str(other) not in reasons else []
    return "; ".join(reasons)
