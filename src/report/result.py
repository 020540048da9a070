"""The runs that a report is about: their results.json, checked, with what lies beside it.

The settings that make a result are the identity settings of src.config, from the config.yaml of the run; results.json
alone will do. What is no finished run raises a sentence that says why.
"""

import csv
import glob
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ..config.run import TrainConfig
from ..errors import UserError
from ..files import read_json
from ..text import first_line
from ..zoo.registry import rows

NEEDED = {  # what every finished run's results.json holds
    "model": str,
    "data": str,
    "task": str,
    "protocol": str,
    "seed": int,
    "epochs": int,
    "n_train": int,
    "config_hash": str,
    "code_hash": str,
    "metrics": dict,
    "time": dict,
}


GIVEN_ELSEWHERE = {"seed", "protocol", "monitor_test", "task.name", "data.name", "model.name", "trainer.max_epochs"}


LIMITS = ("trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.limit_test_batches", "data.classes")


CONVERGED = 0.005  # within half a point of the final validation accuracy


@dataclass(frozen=True)
class Result:
    """A finished run: its results.json, its configuration, and what else lies beside them, read when asked for."""

    path: Path
    content: Mapping[str, Any]
    config: Mapping[str, Any]
    stale: bool

    @property
    def seed(self) -> int:
        return int(self.content["seed"])

    @property
    def commit(self) -> str:
        environment = self.content.get("environment") or {}
        short = str(environment.get("git_commit") or "")[:10]
        return f"{short} + changes" if short and environment.get("git_dirty") else short

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The identity settings that differ from those of the named model and from the neutral defaults."""
        return settings(self.config, str(self.content["model"]))

    @cached_property
    def epochs(self) -> list[dict[str, float]]:
        """metrics.csv: a row an epoch; [] where it is missing or damaged."""
        lines = read_rows(self.path / "metrics.csv")
        try:
            return [
                {key: float(value) for key, value in zip(lines[0], line, strict=True) if value} for line in lines[1:]
            ]
        except (ValueError, IndexError):
            return []

    def value(self, metric: str) -> float | None:
        """A number by its name: test/accuracy, test/error (1 - accuracy), params, time/fit_seconds,
        epochs_to_convergence; None where this run has none."""
        split, _, name = metric.rpartition("/")
        if metric == "epochs_to_convergence":
            return self._epochs_to_convergence()
        if name in ("error", "top5_error") and split:
            accuracy = self.value(f"{split}/{'accuracy' if name == 'error' else 'top5'}")
            return None if accuracy is None else 1 - accuracy
        source = self.content["time"] if split == "time" else self.content["metrics"] if split else self.content
        value = source.get(name if split == "time" else metric)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            return None
        return float(value)

    def _epochs_to_convergence(self) -> float | None:
        """The first epoch that is no more than half a point below the final validation accuracy."""
        course = [row.get("val/accuracy", math.nan) for row in self.epochs]
        reached = (epoch for epoch, value in enumerate(course, 1) if value >= course[-1] - CONVERGED)
        return next((float(epoch) for epoch in reached), None)


def run_directories(patterns: Iterable[str]) -> set[Path]:
    """The directories that hold a run, finished or not, at or below whatever the patterns match."""
    directories = set()
    for pattern in patterns:
        for match in glob.glob(os.path.expanduser(pattern), recursive=True):
            place = Path(match).parent if match.endswith(".json") else Path(match)
            for folder, _, names in os.walk(place):
                if {"results.json", "run.json"} & set(names):
                    directories.add(Path(os.path.abspath(folder)))
    return directories


def read_result(path: Path, code: str) -> Result:
    """The finished run of a directory; UserError says why it is none. `code`: the hash of the code of today."""
    try:
        content = read_json(path / "results.json")
    except UserError:
        raise UserError("results.json is damaged") from None
    if content is None:
        raise UserError("has not finished (no results.json)")
    if content.get("status") != "finished":
        reason = first_line(str(content.get("reason", "no reason given")))
        raise UserError(f"{content.get('status', 'has no status')}: {reason[:200]}")
    for key, kind in NEEDED.items():
        if not isinstance(content.get(key), kind) or isinstance(content[key], bool):
            raise UserError(f"results.json is damaged: {key} is {'wrong' if key in content else 'missing'}")
    return Result(path, legible(content), read_config(path / "config.yaml"), stale=content["code_hash"] != code)


def read_config(path: Path) -> Mapping[str, Any]:
    """config.yaml; {} where there is none, for results.json alone will do. UserError where it is damaged."""
    import yaml

    try:
        content = yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise UserError("config.yaml is damaged") from None
    if not isinstance(content, Mapping):
        raise UserError("config.yaml is damaged")
    cleaned: Mapping[str, Any] = legible(content)
    return cleaned


def read_rows(path: Path) -> list[list[str]]:
    """The lines of a CSV file; [] where it is missing or no text."""
    try:
        with path.open(newline="") as file:
            return [legible(line) for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def legible(content: Any) -> Any:
    """Text, or what holds text, with a sign in place of control characters and halves of characters, which neither
    terminals nor files nor pages take."""
    if isinstance(content, str):
        return "".join(
            sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in content
        )
    if isinstance(content, Mapping):
        return {legible(key): legible(value) for key, value in content.items()}
    return [legible(value) for value in content] if isinstance(content, list) else content


def settings(config: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The leaves of a stored configuration that make its result, as far as they differ from what the names imply."""
    usual = usual_settings(implying(config, model))
    return {
        name: value
        for name, value in flat(config)
        if name not in GIVEN_ELSEWHERE and not (name in usual and value == usual[name])
    }


def implying(config: Mapping[str, Any], model: str) -> str:
    """The registered row that says what a configuration need not: of this name, else the family's own."""
    return model if model in rows() else str((config.get("model") or {}).get("family", ""))


@lru_cache
def usual_settings(model: str) -> dict[str, Any]:
    """The value of each setting where nobody chose one; a setting that makes no result equals anything."""
    usual: dict[str, Any] = {"model.family": Anything()}

    def walk(instance: Any, prefix: str) -> None:
        for f in fields(instance):
            value = getattr(instance, f.name)
            if is_dataclass(value):
                walk(rows().get(model, value) if f.name == "model" else value, f"{prefix}{f.name}.")
            else:
                usual[prefix + f.name] = value if f.metadata["identity"] else Anything()

    walk(TrainConfig(), "")
    return usual


class Anything:
    """Equal to every value."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """The leaves of nested mappings by dotted name."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
