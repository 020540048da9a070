"""Tables as views of the grid: a study's own, with our numbers beside the published ones, or a general one.

A published number is compared only with runs of the published protocol; what is narrower says by how much.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .groups import Group, told
from .published import Column, Conditions, Published, Row, Table, fits
from .result import LIMITS
from .verdict import Verdict, judge, spread

MARGIN = 0.35  # points: what still counts as the same number where a study's file does not say


MOST_OTHERS = 2  # groups of a row that are not comparable


NO_RUN = Verdict("no run yet")


GENERAL = (
    Column("test/error", "test error %", better="lower", scale=100),
    Column("test/map", "test mAP", digits=3),
    Column("test/mask_map", "test mask mAP", digits=3),
    Column("val/error", "val error %", better="lower", scale=100),
    Column("train/error", "train error %", better="lower", scale=100),
    Column("params", "parameters", better="none", digits=0),
    Column("macs", "M multiply-adds", better="none", scale=1e-6),
    Column("epochs_to_convergence", "epochs to convergence", better="none", digits=0),
    Column("time/epoch_seconds", "s an epoch", better="none", digits=1),
    Column("time/fit_seconds", "hours", better="none", scale=1 / 3600),
)


MINUTES = Column("time/fit_seconds", "minutes", better="none", scale=1 / 60)


@dataclass(frozen=True)
class Entry:
    """A number of ours beside the published one, in the printed unit; None where there is none."""

    column: Column
    values: Sequence[float] = ()
    published: float | None = None
    printed: str = ""
    verdict: Verdict | None = None

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        return spread(self.values)

    @property
    def ours(self) -> str:
        """Mean ± standard deviation; of one seed, or where seeds cannot differ, the number alone."""
        if self.mean is None:
            return ""
        return number(self.mean, self.column) + (f" ± {number(self.std, self.column)}" if self.std else "")

    @property
    def difference(self) -> float | None:
        """Ours less the published one; none where the two are not comparable."""
        if self.mean is None or self.published is None or (self.verdict and self.verdict.word == "not comparable"):
            return None
        return self.mean - self.published


@dataclass(frozen=True)
class Line:
    """A row of a view: its keys, the group behind it (None: no runs yet), a number a column, and what to beware of."""

    keys: Sequence[str]
    group: Group | None
    entries: Sequence[Entry]
    flags: Sequence[str] = ()
    notes: Sequence[str] = ()
    reasons: Sequence[str] = ()  # why it is not comparable


@dataclass(frozen=True)
class View:
    """A table to print; `compared`: whether published numbers stand in it."""

    name: str
    keys: Sequence[str]
    columns: Sequence[Column]
    lines: Sequence[Line]
    notes: Sequence[str] = ()
    compared: bool = False


def number(value: float, column: Column, sign: str = "") -> str:
    """A number with the column's digits; a difference takes sign="+"."""
    return f"{value:{sign},.{column.digits}f}".replace("-", "−")


def study_view(table: Table, groups: Sequence[Group]) -> View:
    """A study's table: each row once for every group of ours that it is about, comparable ones first."""
    lines, notes = [], list(table.notes)
    for row in table.rows:
        found = [(against(table.protocol, row.match, group), group) for group in groups if about(row.match, group)]
        found.sort(key=lambda pair: (bool(pair[0]), -pair[1].n))
        shown = sum(not reasons for reasons, _ in found) + MOST_OTHERS
        if len(found) > shown:
            notes.append(f"{row.label}: {len(found) - shown} more groups of runs that are not comparable")
        for reasons, group in found[:shown]:
            entries = [entry(row, column, group, reasons) for column in table.columns.values()]
            lines.append(Line(keys_of(row, group), group, entries, flags(row, group), row.notes, reasons))
        if not found:
            entries = [entry(row, column, None, []) for column in table.columns.values()]
            lines.append(Line([row.label, ""], None, entries, flags(row, None), row.notes))
    return View(table.name, ["", "runs"], list(table.columns.values()), lines, notes, compared=True)


def about(match: Conditions | None, group: Group) -> bool:
    """Whether the runs of a group meet the conditions of a row or claim."""
    return match is not None and fits(match, group.runs[0].content, group.runs[0].config)


def against(protocol: Conditions, match: Conditions | None, group: Group) -> list[str]:
    """Why runs of a group are not comparable with numbers of this protocol; [] where they are."""
    run = group.runs[0]
    asked: dict[str, Any] = {**protocol, **(match or {})}
    reasons = [mismatch(name, want, run.content, run.config) for name, want in protocol.items()]
    limited = [name for name in LIMITS if name not in asked and name in run.settings]
    return [*filter(None, reasons), *told({name: run.settings[name] for name in limited})]


def mismatch(name: str, want: Any, content: Mapping[str, Any], config: Any) -> str:
    """How a run misses a condition, in words; "" where it meets it."""
    if fits({name: want}, content, config):
        return ""
    have: Any = content if "." not in name else config
    for part in name.split("."):
        have = have.get(part) if isinstance(have, Mapping) else None
    unit = {"epochs": "epochs", "n_train": "training images"}.get(name)
    if unit and isinstance(have, int) and isinstance(want, int):
        return f"{have:,} of {want:,} {unit}" if have < want else f"{have:,} {unit}, published {want:,}"
    have = f"{have:g}" if isinstance(have, float) else have
    return f"{name}={have}" if want is None else f"{name}={have}, published {want}"


def keys_of(row: Row, group: Group) -> list[str]:
    """The row's label, and which of our groups this is."""
    return [row.label, " ".join([str(group.model), *told(group.telling)])]


def flags(row: Row, group: Group | None) -> list[str]:
    """What a reader must know before believing a row."""
    found = [f"The source contradicts itself: {row.contradictory}"] if row.contradictory else []
    return found + (stale(group) if group else [])


def stale(group: Group) -> list[str]:
    """How many runs of a group are of other code than today's."""
    return [f"stale: {group.stale} of {group.n}"] if group.stale else []


def entry(row: Row, column: Column, group: Group | None, reasons: Sequence[str]) -> Entry:
    """One number of a row, with its verdict where it has a margin and a better side."""
    published, printed = row.values.get(column.metric), row.printed.get(column.metric, "")
    if published is not None:
        text = number(published, column)
        std = row.std.get(column.metric)
        printed = printed or (f"{text} ± {number(std, column)}" if std is not None else text)
        printed += f" (n = {row.n})" if row.n and std is not None else ""
    values = [value * column.scale for value in group.values(column.metric)] if group else []
    verdict = verdict_of(column, values, published, reasons) if row.match else None
    verdict = NO_RUN if verdict and group is None else verdict
    return Entry(column, values, published, printed, verdict)


def verdict_of(
    column: Column, values: Sequence[float], published: float | None, reasons: Sequence[str]
) -> Verdict | None:
    """The verdict on a number; None for a column that is not judged."""
    margin = column.margin if column.margin is not None else MARGIN if column.scale == 100 else None
    if published is None or column.better == "none" or margin is None or not column.has_counterpart:
        return None
    if not values:
        return Verdict("not measured")
    if reasons:
        return Verdict("not comparable", ", ".join(reasons))
    return judge(values, published, margin=margin, better=column.better)


def general_view(groups: Sequence[Group], name: str = "All runs") -> View:
    """A row for every group, and the columns that any of them has a number for."""
    longest = max((seconds for group in groups for seconds in group.values("time/fit_seconds")), default=0)
    known = (*GENERAL[:-1], GENERAL[-1] if longest >= 3600 else MINUTES)
    columns = [column for column in known if any(measured(group, column) for group in groups)]
    lines = []
    for group in groups:
        row = [Entry(column, [column.scale * value for value in measured(group, column)]) for column in columns]
        data = str(group.data) if group.task == "multiclass" else f"{group.data}, {group.task}"
        settings = {key: value for key, value in group.differing.items() if key != "data.limit_train"}
        counts = [f"{group.epochs:,}", f"{group.n_train:,}"]
        keys = [str(group.model), data, " ".join(told(settings)), *counts, str(group.protocol)]
        lines.append(Line(keys, group, row, stale(group)))
    heads = ["model", "data", "settings", "epochs", "training images", "protocol"]
    return View(name, heads, columns, lines)


def across_view(groups: Sequence[Group]) -> View | None:
    """Each network's test error on every data set, and the mean of them, best first; None where there is one set.

    Of several groups of a network on a set, that with most runs counts; a network that lacks a set has no mean.
    """
    found: dict[str, dict[str, Group]] = {}
    for group in sorted(groups, key=lambda group: -group.n):
        if group.task == "multiclass" and group.values("test/error"):
            found.setdefault(str(group.model), {}).setdefault(str(group.data), group)
    sets = sorted({data for by_data in found.values() for data in by_data})
    if len(sets) < 2:
        return None
    mean = Column("mean", "mean error %", better="lower")
    columns = [Column(data, f"{data} error %", better="lower") for data in sets]
    lines = []
    for model, by_data in found.items():
        errors = {data: [100 * error for error in group.values("test/error")] for data, group in by_data.items()}
        means = [statistics.fmean(map(statistics.fmean, errors.values()))] if len(errors) == len(sets) else []
        entries = [Entry(column, errors.get(column.metric, ())) for column in columns]
        pooled = Group([run for group in by_data.values() for run in group.runs])
        lines.append(Line([model], pooled, [Entry(mean, means), *entries]))
    lines.sort(key=lambda line: line.entries[0].mean or float("inf"))
    note = "n counts a network's runs on all data sets; each data set counts once in the mean"
    return View("Across data sets", ["model"], [mean, *columns], lines, [note])


def measured(group: Group, column: Column) -> list[float]:
    """A group's numbers for a column; an error is one only where an image has one class."""
    if column.metric.endswith("/error") and group.task != "multiclass":
        return []
    return group.values(column.metric)


def comparable(published: Published, groups: Sequence[Group]) -> list[Group]:
    """The groups that meet the protocol of a table with a row about them, for the figures; all where none does."""
    found = [
        group
        for group in groups
        if any(
            about(row.match, group) and not against(table.protocol, row.match, group)
            for table in published.tables
            for row in table.rows
        )
        or not against(published.protocol, None, group)
    ]
    return found or list(groups)


def settled(view: View) -> list[Verdict]:
    """One verdict for each judged number of a study's table: that of the comparable group with the most seeds."""
    first: dict[tuple[str, str], Verdict] = {}
    for line in view.lines:
        for each in line.entries:
            if each.verdict:
                first.setdefault((line.keys[0], each.column.metric), each.verdict)
    return list(first.values())
