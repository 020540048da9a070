"""Build the tables of a study, with our numbers beside the published ones; and what every table is made of.

A published number is compared only with runs of the published protocol; other runs say in what they differ from it.
"""

import statistics
from collections.abc import Sequence
from dataclasses import replace

from .constant import find_constant
from .entries import PUBLISHED, Entry, Line, View, format_number
from .families import judge_entry, judge_lines
from .groups import Group
from .lost import LostRun
from .protocol import Conditions, Difference, Setting, list_differences, list_protocol
from .published import Column, Published, Row, Table, fits
from .statistics import compute_quantile
from .verdict import Verdict

MOST_OTHERS = 2  # groups that are not comparable, for each row


SIZES = ("params", "macs", "depth")  # metrics that no training changes


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


def build_study_view(table: Table, groups: Sequence[Group], lost: Sequence[LostRun] = ()) -> View:
    """Build a study's table: each row once for every group of ours that it is about, comparable groups first.

    `lost` are the runs that failed and of whose recipe no run has finished.
    """
    lines, notes = [], [*([f"margin: {table.margin_why}"] if table.margin_why else []), *table.notes]
    for row in table.rows:
        found = [(compare_with_row(table, row, group), group) for group in select_groups(row.match, groups)]
        found.sort(key=lambda pair: (any(each.decisive for each in pair[0]), len(pair[0]), -pair[1].n))
        shown = sum(not any(each.decisive for each in differences) for differences, _ in found) + MOST_OTHERS
        if len(found) > shown:
            notes.append(f"{row.label}: {len(found) - shown} more groups of runs that are not comparable")
        of_row = [make_line(table, row, group, differences) for differences, group in found[:shown]]
        own = [run for run in lost if row.match is not None and fits(row.match, run.content, run.config)]
        of_row = of_row or [make_line(table, row, None, [], own)]
        said = [f"The source contradicts itself: {row.contradictory}"] if row.contradictory else []
        lines += [replace(of_row[0], flags=[*said, *of_row[0].flags]), *of_row[1:]]
    lines, spreads = judge_lines(lines)
    notes += [*spreads, *describe_power(lines)]
    columns, source = list(table.columns.values()), table.source or PUBLISHED
    return View(table.name, ["", "runs"], columns, lines, notes, True, list_shown_protocol(table), source)


def compare_with_row(table: Table, row: Row, group: Group) -> list[Difference]:
    """List the settings in which a group's runs differ from the protocol of a row."""
    return list_differences(table.protocol.add(row.settings), row.match or {}, group.runs[0])


def make_line(
    table: Table, row: Row, group: Group | None, differences: Sequence[Difference], lost: Sequence[LostRun] = ()
) -> Line:
    """Make the line of a row for a group of ours, which differs from the protocol in these settings."""
    reasons = [str(each) for each in differences if each.decisive]
    entries = [make_entry(row, column, group, reasons, lost, table.source) for column in table.columns.values()]
    runs = group.label if group else ""
    flags = [*(flag_runs(group) if group else []), *describe_own_differences(differences)]
    return Line([row.label, runs], group, entries, flags, row.notes, reasons)


def describe_own_differences(differences: Sequence[Difference]) -> list[str]:
    """Say in what comparable runs differ from our protocol where no source states one; [] for nothing."""
    own = [str(each) for each in differences if not each.decisive]
    return [f"differs in what no source states: {', '.join(own)}"] if own else []


def describe_power(lines: Sequence[Line]) -> list[str]:
    """Say what the seeds of a table can and cannot show, by the spread of its judged numbers; [] without any spread."""
    best = {line.keys[0]: line for line in reversed(lines) if line.group and not line.reasons}
    judged = [entry for line in best.values() for entry in line.entries if entry.verdict and entry.std]
    if not judged:
        return []
    entries = [entry for entry in judged if entry.column == judged[0].column]
    column, n = entries[0].column, min(len(entry.values) for entry in entries)
    std = statistics.fmean((entry.std or 0) ** 2 for entry in entries) ** 0.5
    half = compute_quantile(0.9, n - 1) * std / n**0.5
    return [
        f"What n = {n} can show: at the spread seen here, ± {format_number(std, column)} in {column.title}, the 90 % "
        f"interval of a mean reaches {format_number(half, column)} to each side. Smaller differences stay open; "
        f"n = {4 * n} would at least halve that."
    ]


def list_shown_protocol(table: Table) -> list[Setting]:
    """List how the runs of a table are trained, by its first row of no settings of its own; [] for a table of sizes."""
    row = min((row for row in table.rows if row.match is not None), key=lambda row: len(row.settings), default=None)
    if all(metric in SIZES or not column.has_counterpart for metric, column in table.columns.items()):
        return []
    return list_protocol(table.protocol.add(row.settings), row.match or {}) if row else []


def select_groups(match: Conditions | None, groups: Sequence[Group]) -> list[Group]:
    """Select the groups that a row or a claim with these conditions is about, each with those of its runs that fit.

    The seed is one of the conditions that runs of the same group may meet or not.
    """
    if match is None:
        return []
    fitting = [(group, [run for run in group.runs if fits(match, run.content, run.config)]) for group in groups]
    return [
        replace(group, runs=runs, lost=[run for run in group.lost if fits(match, run.content, run.config)])
        for group, runs in fitting
        if runs
    ]


def flag_runs(group: Group) -> list[str]:
    """Say how many runs of a group are stale, and how many lack their configuration; [] for none."""
    without = sum(not run.config for run in group.runs)
    missing = f"settings not compared, config.yaml is missing: {without} of {group.n}"
    return [*flag_stale(group), *flag_lost(group), *([missing] if without else [])]


def flag_stale(group: Group) -> list[str]:
    """Say how many runs of a group were made by other code than today's; [] for none."""
    return [f"stale: {group.stale} of {group.n}"] if group.stale else []


def flag_lost(group: Group) -> list[str]:
    """Say how many runs of a group failed, and why the first did; [] where all have finished."""
    return [f"{len(group.lost)} of {group.started} runs failed: {group.lost[0].reason}"] if group.lost else []


def make_entry(
    row: Row,
    column: Column,
    group: Group | None,
    reasons: Sequence[str],
    lost: Sequence[LostRun] = (),
    source: str = "",
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
    if judged and group and published is not None:
        judged = judge_by_constant(column, group, published) or judged
    verdict, case = (judged, None) if isinstance(judged, Verdict) else (None, judged)
    return Entry(column, values, published, printed, verdict, case, not row.contradictory, source or PUBLISHED)


def judge_by_constant(column: Column, group: Group, published: float) -> Verdict | None:
    """Judge nothing where a constant answer reaches the published number; None where none does."""
    constant = find_constant(group, column.metric)
    if constant is None:
        return None
    if constant.score is None:
        return Verdict("not judged", f"{constant.answer} may score as much; per_class.csv is missing")
    score = constant.score * column.scale
    reached = score >= published if column.better == "higher" else score <= published
    return Verdict("not judged", f"{constant.answer} scores {format_number(score, column)}") if reached else None


def select_comparable(published: Published, groups: Sequence[Group]) -> list[Group]:
    """Select the groups for a study's figures: those that follow the protocol of some cell, or all where none does."""
    found = [
        group
        for group in groups
        if any(
            not any(each.decisive for each in list_differences(protocol, match, fitting.runs[0]))
            for match, protocol in published.cells
            for fitting in select_groups(match, [group])
        )
    ]
    return found or list(groups)
