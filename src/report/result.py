"""Read the runs that a report is about: their results.json, checked, and the files beside it.

The settings that make a result are the identity settings of src.config, from the config.yaml of the run; results.json
alone will do. A directory without a finished run raises a UserError that says why.
"""

import glob
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import UserError
from ..files import read_csv, read_json, read_yaml_text
from ..runs.results import LARGEST, find_damage, is_number
from ..text import take_first_line
from ..zoo.registry import rows
from .defaults import find_nested, find_row_name, flatten, list_default_settings, select_settings
from .derived import count_epochs_to_convergence, count_epochs_to_level, read_level

LIMITS = ("trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.limit_test_batches", "data.classes")


SECTIONS = ("model", "data", "task", "optim", "trainer")  # of config.yaml


@dataclass(frozen=True)
class Result:
    """A finished run: its results.json and its configuration; the files beside them are read on first use."""

    path: Path
    content: Mapping[str, object]
    config: Mapping[str, object]
    stale: bool

    @property
    def model(self) -> str:
        return str(self.content["model"])

    @property
    def seed(self) -> int:
        return self._read_integer("seed")

    @property
    def epochs(self) -> int:
        return self._read_integer("epochs")

    @property
    def n_train(self) -> int:
        return self._read_integer("n_train")

    @property
    def device(self) -> str:
        return str(find_nested(self.content, "environment.device"))

    @property
    def commit(self) -> str:
        """The git commit, shortened, and whether files had been changed since; "" where it is unknown."""
        short = str(find_nested(self.content, "environment.git_commit") or "")[:10]
        return f"{short} + changes" if short and find_nested(self.content, "environment.git_dirty") else short

    @property
    def depth(self) -> float | None:
        """The number of layers by the configuration, or else by the registered row."""
        depth = find_nested(self.config, "model.depth")
        depth = getattr(rows().get(self.model), "depth", None) if depth is None else depth
        return float(depth) if isinstance(depth, int | float) else None

    @cached_property
    def settings(self) -> dict[str, object]:
        """The identity settings that differ from those of the named model and from the neutral defaults."""
        return select_settings(self.config, self.model)

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, one for each epoch; [] where the file is missing."""
        names, *lines = read_table(self.path / "metrics.csv") or [[]]
        return [{key: float(value) for key, value in zip(names, line, strict=True) if value} for line in lines]

    def value(self, metric: str) -> float | None:
        """Return a number by its name; None where this run has none.

        The name is one of results.json (test/accuracy, params, time/fit_seconds), <split>/error or <split>/top5_error
        (1 - accuracy), gap/error (validation less training), depth, epochs_to_convergence, or
        epochs_to/<split>/<accuracy in percent>.
        """
        split, _, name = metric.rpartition("/")
        if metric == "epochs_to_convergence":
            return count_epochs_to_convergence(self.history)
        if level := read_level(metric):
            return count_epochs_to_level(self.history, *level)
        if metric == "gap/error":
            held_out, seen = self.value("val/error"), self.value("train/error")
            return None if held_out is None or seen is None else held_out - seen
        if metric == "depth":
            return self.depth
        if name in ("error", "top5_error") and split:
            accuracy = self.value(f"{split}/{'accuracy' if name == 'error' else 'top5'}")
            return None if accuracy is None else 1 - accuracy
        if split == "time" and not self.epochs:  # measured, not trained
            return None
        source = self.content["time"] if split == "time" else self.content["metrics"] if split else self.content
        value = source.get(name if split == "time" else metric) if isinstance(source, Mapping) else None
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            return None
        return float(value)

    def _read_integer(self, key: str) -> int:
        """Return an integer of results.json, whose type read_result has checked."""
        value = self.content[key]
        assert isinstance(value, int)
        return value


def find_run_directories(patterns: Iterable[str]) -> set[Path]:
    """Return the directories that hold a run, finished or not, at or below whatever the patterns match."""
    directories: set[Path] = set()  # with those that cannot be read, of which the reader then says so
    for pattern in patterns:
        for match in glob.glob(os.path.expanduser(pattern), recursive=True):
            place = Path(match).parent if match.endswith(".json") else Path(match)
            for folder, _, names in os.walk(place, onerror=lambda error: directories.add(Path(error.filename))):
                if {"results.json", "run.json"} & set(names):
                    directories.add(Path(os.path.abspath(folder)))
    return directories


def read_result(path: Path, code: str) -> Result:
    """Read the finished run of a directory; UserError says why there is none. `code` is the hash of today's code."""
    content = read_json(path / "results.json")
    if content is None:
        raise UserError("has not finished (no results.json)")
    if content.get("status") != "finished":
        reason = take_first_line(str(content.get("reason", "no reason given")))
        raise UserError(f"{content.get('status', 'has no status')}: {reason[:200]}")
    if damage := find_damage(content):
        raise UserError(f"results.json is damaged: {damage}")
    check_tables(path, content["epochs"])
    return Result(
        path,
        make_keys_legible(content),
        read_config(path / "config.yaml", content["model"]),
        content["code_hash"] != code,
    )


def read_config(path: Path, model: str = "") -> Mapping[str, object]:
    """Read config.yaml; {} where there is none, for results.json alone will do. UserError where it is damaged."""
    import yaml

    if not path.exists():
        return {}
    try:
        content = yaml.load(read_yaml_text(path), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, TypeError):  # such as a date of month 13, or a list as a key
        raise UserError("config.yaml is damaged") from None
    if not isinstance(content, Mapping):
        raise UserError("config.yaml is damaged")
    config = make_keys_legible(content)
    if odd := next((name for name in SECTIONS if not isinstance(config.get(name, {}), Mapping)), None):
        raise UserError(f"config.yaml is damaged: {odd} has no settings")
    defaults = list_default_settings(find_row_name(config, model))
    if odd := next((name for name, value in flatten(config) if not is_alike(value, defaults.get(name))), None):
        raise UserError(f"config.yaml is damaged: {odd} has no possible value")
    return config


def is_alike(value: object, default: object) -> bool:
    """Return whether a stored value can be one of a setting with this default."""
    if isinstance(value, float | int) and not isinstance(value, bool) and not is_number(value):
        return False
    for kind in (bool, int | float, str):
        if isinstance(default, kind):
            return value is None or isinstance(value, kind)
    return True


def read_table(path: Path) -> list[list[str]]:
    """Read a CSV file that a run has written, each cell legible; [] where it is missing."""
    return [[make_legible(cell) for cell in line] for line in read_csv(path)]


def check_tables(path: Path, epochs: int) -> None:
    """Raise UserError where a CSV file of a run is damaged: no text, not rectangular, no numbers, or cut."""
    rows = {name: check_table(path / name) for name in ("metrics.csv", "confusion_matrix.csv", "per_class.csv")}
    matrix = read_csv(path / "confusion_matrix.csv")
    curves = read_csv(path / "metrics.csv")
    if curves and (rows["metrics.csv"] > epochs or find_last_epoch(curves) != epochs):  # rows between may be unknown
        raise UserError(f"metrics.csv is damaged: it has {rows['metrics.csv']} of {epochs} epochs")
    if matrix and len(matrix) != len(matrix[0]):
        raise UserError("confusion_matrix.csv is damaged: it is not square")
    if matrix and (path / "per_class.csv").exists() and rows["per_class.csv"] != len(matrix) - 1:
        raise UserError("per_class.csv is damaged: it has other classes than confusion_matrix.csv")


def find_last_epoch(curves: Sequence[Sequence[str]]) -> float | None:
    """Return the epoch of the last row of a metrics.csv; None where it has no such column, or no row."""
    if len(curves) < 2 or "epoch" not in curves[0]:
        return None
    return float(curves[-1][curves[0].index("epoch")])


def check_table(path: Path) -> int:
    """Return the number of rows below the head; raise UserError where there is another row than of numbers."""
    lines = read_csv(path)
    labels = 0 if path.name == "metrics.csv" else 1  # the columns of names
    for number, line in enumerate(lines[1:], 2):
        try:
            fine = len(line) == len(lines[0]) and all(not abs(float(cell)) >= LARGEST for cell in line[labels:] if cell)
        except ValueError:
            fine = False
        if not fine:
            raise UserError(f"{path.name} is damaged: line {number} is no row of numbers")
    return max(0, len(lines) - 1)


def make_legible(text: str) -> str:
    """Replace control characters and halves of characters, which neither terminals nor files nor pages take."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def make_keys_legible(content: Mapping[str, object]) -> dict[str, object]:
    """Make every text in nested mappings and lists legible."""
    return {str(make_tree_legible(key)): make_tree_legible(value) for key, value in content.items()}


def make_tree_legible(content: object) -> object:
    """Make a text legible, or every text in what a JSON or YAML file holds."""
    if isinstance(content, str):
        return make_legible(content)
    if isinstance(content, Mapping):
        return make_keys_legible(content)
    return [make_tree_legible(value) for value in content] if isinstance(content, list) else content
