"""The runs that a report is about: their results.json, checked, and pooled over seeds.

Runs are one group where everything that makes a result is equal but the seed (the identity settings of src.config, from
the config.yaml beside results.json). Everything that is left out is named with its reason.
"""

import csv
import glob
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from src.cli import first_line
from src.config import TrainConfig
from src.errors import UserError
from src.registry import natural, rows
from src.runs import code_hash, read_json

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
HEADLINES = {  # what a task is judged by
    "multiclass": "test/error",
    "multilabel": "test/map",
    "detection": "test/map",
    "instance_segmentation": "test/mask_map",
}


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


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed, in its order.

    `differing`: the settings that not all groups of the same model, data and task share; `telling`: as few of those as
    tell it from these.
    """

    runs: Sequence[Result]
    differing: Mapping[str, Any] = field(default_factory=dict)
    telling: Mapping[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        """What all runs share: model, data, task, protocol, epochs, n_train …"""
        if name.startswith("__"):
            raise AttributeError(name)
        return self.runs[0].content.get(name)

    @property
    def n(self) -> int:
        return len(self.runs)

    @property
    def settings(self) -> dict[str, Any]:
        return self.runs[0].settings

    def setting(self, name: str) -> Any:
        """A setting by its dotted name, also where it is at its default; ... where nobody knows."""
        implied = usual_settings(implying(self.runs[0].config, str(self.model))) if self.runs[0].config else {}
        return self.settings.get(name, implied.get(name, ...))

    @property
    def stale(self) -> int:
        """How many of the runs are of other code than today's."""
        return sum(run.stale for run in self.runs)

    @property
    def headline(self) -> str:
        """The number it is judged by; error for classes, average precision for the rest."""
        return HEADLINES.get(str(self.task), "test/error")

    @property
    def depth(self) -> float | None:
        """The number of layers: of the configuration, or of the registered row."""
        row = rows().get(str(self.model))
        depth = (self.runs[0].config.get("model") or {}).get("depth", getattr(row, "depth", None))
        return float(depth) if isinstance(depth, int | float) else None

    @property
    def label(self) -> str:
        """The model and what tells the group from its like."""
        return " ".join([str(self.model), *told(self.telling)])

    def values(self, metric: str) -> list[float]:
        """The number of each run that has it."""
        return [value for run in self.runs if (value := run.value(metric)) is not None]


@dataclass(frozen=True)
class Collected:
    """What was found: groups in their natural order, and the places that were left out, each with the reason."""

    groups: Sequence[Group]
    left_out: Sequence[tuple[Path, str]]

    @property
    def runs(self) -> list[Result]:
        return [run for group in self.groups for run in group.runs]


def collect(patterns: Iterable[str]) -> Collected:
    """All finished runs below the directories that the patterns match; UserError where there is none."""
    found, left_out = [], []
    code = code_hash()
    patterns = list(patterns)
    for path in sorted(run_directories(patterns), key=lambda p: natural(str(p))):
        try:
            found.append(read_result(path, code))
        except UserError as error:
            left_out.append((path, str(error)))
    named = ", ".join(patterns)
    if not found and left_out:
        raise UserError(
            f"runs={named}: no finished run, but {len(left_out)} other(s); {left_out[0][0]}: {left_out[0][1]}"
        )
    if not found:
        raise UserError(f"runs={named}: no runs there; python -m src.train makes one, by default below outputs/")
    groups, doubles = pool(found)
    return Collected(groups, left_out + doubles)


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


def pool(found: Iterable[Result]) -> tuple[list[Group], list[tuple[Path, str]]]:
    """The groups, and the runs that are there twice: only one run of a seed counts, that of today's code first."""
    pools: dict[str, dict[int, Result]] = {}
    doubles = []
    for run in sorted(found, key=lambda run: run.stale):
        shared = [run.content[key] for key in ("data", "model", "task", "protocol", "epochs", "n_train")]
        key = repr((shared, run.content.get("data_fingerprint"), sorted(run.settings.items())))
        first = pools.setdefault(key, {}).setdefault(run.seed, run)
        if first is not run:
            doubles.append((run.path, f"the same configuration and seed as {first.path}"))
    groups = [Group([seeds[seed] for seed in sorted(seeds)]) for seeds in pools.values()]
    return sorted(set_apart(groups), key=lambda g: natural(f"{g.data} {g.label} {g.protocol} {g.epochs}")), doubles


def set_apart(groups: Iterable[Group]) -> Iterator[Group]:
    """Each group with what sets it apart from the others of the same model, data and task."""
    alike: dict[Any, list[Group]] = {}
    for group in groups:
        alike.setdefault((group.data, group.model, group.task), []).append(group)
    for like in alike.values():
        names = dict.fromkeys(name for group in like for name in group.settings)
        known = [{name: getattr(group, name) for name in ("epochs", "n_train", "protocol")} for group in like]
        own = [
            {name: value for name in names if (value := group.setting(name)) is not ...}
            | {"data.content": str(group.data_fingerprint)[-10:]}
            for group in like
        ]
        facts = [first | second for first, second in zip(known, own, strict=True)]
        columns = {
            name: [told_value(each.get(name, ...)) for each in facts]
            for name in dict.fromkeys(n for f in facts for n in f)
        }
        columns = {name: values for name, values in columns.items() if len(set(values)) > 1}
        enough = telling(columns, len(like))
        for group, settings, every in zip(like, own, facts, strict=True):
            differing = {name: settings[name] for name in columns if name in settings}
            yield Group(group.runs, differing, {name: every[name] for name in columns if name in enough & every.keys()})


def telling(columns: Mapping[str, Sequence[str]], rows: int) -> set[str]:
    """Few columns that make every row another one; chosen greedily by how many rows they tell apart."""
    chosen: set[str] = set()
    known = [""] * rows
    while len(set(known)) < rows:
        best = max(columns, key=lambda name: len(set(zip(known, columns[name], strict=True))), default=None)
        if best is None or best in chosen:
            break
        chosen.add(best)
        known = [f"{before} {value}" for before, value in zip(known, columns[best], strict=True)]
    return chosen


@dataclass(frozen=True)
class Arena:
    """Groups that were trained on as much of the same data and tested on the same: what can be compared."""

    name: str
    title: str
    groups: Sequence[Group]


def seeds(groups: Sequence[Group]) -> str:
    """How many seeds are behind each group, in words."""
    counts = sorted({group.n for group in groups})
    return f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"


def arenas(groups: Iterable[Group], *, by_size: bool = True) -> list[Arena]:
    """Groups by what they were trained and tested on, those with most runs first, and told apart within each.

    `by_size` keeps training sets of unequal sizes apart.
    """
    found: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        size = f"{int(group.n_train):,} training images" if by_size else ""
        content = group.data_fingerprint if by_size else ""  # a limit on the training set may be part of it
        classes = str(group.settings.get("data.classes", ""))
        key = (group.data, content, group.task, size, group.protocol, classes)
        found.setdefault(tuple(map(str, key)), []).append(group)
    named: list[Arena] = []
    for (data, _, task, size, protocol, classes), members in found.items():
        parts = [data, task if task != "multiclass" else "", size]
        parts += [f"{classes.count(',') + 1} classes" if classes else ""]
        parts += ["best validation epoch" if protocol == "best_val" else ""]
        named.append(Arena(f"{slug(data)}-{len(named)}", " · ".join(filter(None, parts)), list(set_apart(members))))
    return sorted(named, key=lambda arena: -sum(group.n for group in arena.groups))


def slug(text: str) -> str:
    """Text as a part of a file's name."""
    return "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in text.lower())[:60].strip("-")


def told(chosen: Mapping[str, Any]) -> list[str]:
    """Settings as they are typed, long ones cut."""
    texts = {name: told_value(value) for name, value in chosen.items()}
    return [f"{name}={text if len(text) <= 24 else text[:10] + '…' + text[-6:]}" for name, text in texts.items()]


def told_value(value: Any) -> str:
    """A setting's value as it is typed."""
    if isinstance(value, list):
        return "[" + ",".join(map(told_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value) or "none"
