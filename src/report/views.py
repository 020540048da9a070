"""Build the tables of a report: a study's own, with our numbers beside the published ones, and general ones.

A published number is compared only with runs of the published protocol; other runs say in what they differ from it.
"""

import statistics
from collections.abc import Mapping, Sequence

from ..tasks.table import has_single_class
from .entries import Entry, Line, View, format_number
from .families import judge_entry, judge_lines
from .groups import Group, format_settings
from .lost import LostRun
from .published import Column, Conditions, Published, Row, Table, fits
from .result import LIMITS, find_nested
from .schema import Value
from .verdict import Verdict

MOST_OTHERS = 2  # groups that are not comparable, for each row


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


def build_study_view(table: Table, groups: Sequence[Group], lost: Sequence[LostRun] = ()) -> View:
    """Build a study's table: each row once for every group of ours that it is about, comparable groups first.

    `lost` are the runs that failed and of whose recipe no run has finished.
    """
    lines, notes = [], list(table.notes)
    for row in table.rows:
        found = [
            (list_mismatches(table.protocol, row.match, group), group) for group in groups if concerns(row.match, group)
        ]
        found.sort(key=lambda pair: (bool(pair[0]), -pair[1].n))
        shown = sum(not reasons for reasons, _ in found) + MOST_OTHERS
        if len(found) > shown:
            notes.append(f"{row.label}: {len(found) - shown} more groups of runs that are not comparable")
        for reasons, group in found[:shown]:
            entries = [make_entry(row, column, group, reasons) for column in table.columns.values()]
            keys = [row.label, " ".join([group.model, *format_settings(group.label_settings)])]
            lines.append(Line(keys, group, entries, list_flags(row, group), row.notes, reasons))
        if not found:
            own = [run for run in lost if row.match is not None and fits(row.match, run.content, run.config)]
            entries = [make_entry(row, column, None, [], own) for column in table.columns.values()]
            lines.append(Line([row.label, ""], None, entries, list_flags(row, None), row.notes))
    lines, spreads = judge_lines(lines)
    return View(table.name, ["", "runs"], list(table.columns.values()), lines, notes + spreads, compared=True)


def concerns(match: Conditions | None, group: Group) -> bool:
    """Tell whether a row or claim with these conditions is about the runs of a group."""
    return match is not None and fits(match, group.runs[0].content, group.runs[0].config)


def list_mismatches(protocol: Conditions, match: Conditions | None, group: Group) -> list[str]:
    """Say in what the runs of a group differ from the protocol of published numbers; [] where they are comparable."""
    run = group.runs[0]
    reasons = [describe_mismatch(name, want, run.content, run.config) for name, want in protocol.items()]
    named = protocol.keys() | (match or {}).keys()
    limits = {name: run.settings[name] for name in LIMITS if name not in named and name in run.settings}
    return [*filter(None, reasons), *format_settings(limits)]


def describe_mismatch(name: str, want: Value, content: Mapping[str, object], config: Mapping[str, object]) -> str:
    """Say how a run misses a condition; "" where it meets it."""
    if fits({name: want}, content, config):
        return ""
    have = find_nested(config if "." in name else content, name)
    unit = {"epochs": "epochs", "n_train": "training images"}.get(name)
    if unit and isinstance(have, int) and isinstance(want, int):
        return f"{have:,} of {want:,} {unit}" if have < want else f"{have:,} {unit}, published {want:,}"
    have = f"{have:g}" if isinstance(have, float) else have
    return f"{name}={have}" if want is None else f"{name}={have}, published {want}"


def list_flags(row: Row, group: Group | None) -> list[str]:
    """List what a reader must know before believing a row."""
    found = [f"The source contradicts itself: {row.contradictory}"] if row.contradictory else []
    return found + (flag_stale(group) + flag_lost(group) if group else [])


def flag_stale(group: Group) -> list[str]:
    """Say how many runs of a group were made by other code than today's; [] for none."""
    return [f"stale: {group.stale} of {group.n}"] if group.stale else []


def flag_lost(group: Group) -> list[str]:
    """Say how many runs of a group failed, and why the first did; [] where all have finished."""
    return [f"{len(group.lost)} of {group.started} runs failed: {group.lost[0].reason}"] if group.lost else []


def make_entry(
    row: Row, column: Column, group: Group | None, reasons: Sequence[str], lost: Sequence[LostRun] = ()
) -> Entry:
    """Make the entry of a row for a column; `reasons` say why the group is not comparable."""
    published, printed = row.values.get(column.metric), row.printed.get(column.metric, "")
    if published is not None:
        text = format_number(published, column)
        std = row.std.get(column.metric)
        printed = printed or (f"{text} ± {format_number(std, column)}" if std is not None else text)
        printed += f" (n = {row.n})" if row.n and std is not None else ""
    values = [value * column.scale for value in group.values(column.metric)] if group else []
    judged = judge_entry(column, row, group, reasons, lost) if row.match else None
    verdict, case = (judged, None) if isinstance(judged, Verdict) else (None, judged)
    return Entry(column, values, published, printed, verdict, case, counted=not row.contradictory)


def build_general_view(groups: Sequence[Group], name: str = "All runs") -> View:
    """Build a table with a row for every group, and the columns that any group has a number for."""
    longest = max((seconds for group in groups for seconds in group.values("time/fit_seconds")), default=0)
    known = (*GENERAL[:-1], GENERAL[-1] if longest >= 3600 else MINUTES)
    columns = [column for column in known if any(list_values(group, column) for group in groups)]
    lines = []
    for group in groups:
        entries = [Entry(column, [column.scale * value for value in list_values(group, column)]) for column in columns]
        data = group.data if has_single_class(group.task) else f"{group.data}, {group.task}"
        settings = {key: value for key, value in group.differing_settings.items() if key != "data.limit_train"}
        counts = [f"{group.epochs:,}", f"{group.n_train:,}"]
        keys = [group.model, data, " ".join(format_settings(settings)), *counts, group.protocol]
        lines.append(Line(keys, group, entries, flag_stale(group) + flag_lost(group)))
    heads = ["model", "data", "settings", "epochs", "training images", "protocol"]
    return View(name, heads, columns, lines)


def build_across_view(groups: Sequence[Group]) -> View | None:
    """Build a table of each network's test error on every data set and their mean; None where there is one data set.

    The best mean comes first. Where a network has several groups on a data set, the one with most runs counts; a
    network that lacks a data set has no mean.
    """
    found: dict[str, dict[str, Group]] = {}
    for group in sorted(groups, key=lambda group: -group.n):
        if has_single_class(group.task) and group.values("test/error"):
            found.setdefault(group.model, {}).setdefault(group.data, group)
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


def list_values(group: Group, column: Column) -> list[float]:
    """Return a group's numbers for a column; only a multi-class task has an error."""
    if column.metric.endswith("/error") and not has_single_class(group.task):
        return []
    return group.values(column.metric)


def select_comparable(published: Published, groups: Sequence[Group]) -> list[Group]:
    """Select the groups for a study's figures: those that follow its protocol, or all where none does.

    A group follows it by meeting the protocol of the study, or that of a table with a row about the group.
    """
    found = [
        group
        for group in groups
        if any(
            concerns(row.match, group) and not list_mismatches(table.protocol, row.match, group)
            for table in published.tables
            for row in table.rows
        )
        or not list_mismatches(published.protocol, None, group)
    ]
    return found or list(groups)
