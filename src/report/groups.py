"""Runs pooled over seeds, and groups that can be compared with one another.

Runs are one group where everything that makes a result is equal but the seed. A group is named by as few of its
settings as tell it from its like.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..runs.identity import code_hash
from ..text import natural
from ..zoo.registry import rows
from .result import Result, implying, read_result, run_directories, usual_settings

HEADLINES = {  # what a task is judged by
    "multiclass": "test/error",
    "multilabel": "test/map",
    "detection": "test/map",
    "instance_segmentation": "test/mask_map",
}


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
