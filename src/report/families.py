"""Judge the numbers of a table together, as one family of tests."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from .entries import Entry, Line, View
from .groups import Group
from .lost import LostRun
from .published import Column, Row
from .result import Result
from .statistics import Sample
from .verdict import Case, Verdict, judge_family

MARGIN = 0.35  # points that a match may be off where a study's file sets no margin


NO_RUN = Verdict("no run yet")


BALANCED = ("cifar10", "cifar100", "fashion_mnist", "imagenet")  # their test sets have equally many images of a class


JORDAN = 0.153  # points: the spread over seeds on CIFAR-10 at 94 % (Jordan 2024; ± 0.003)


def judge_entry(
    column: Column, row: Row, group: Group | None, reasons: Sequence[str], lost: Sequence[LostRun] = ()
) -> Verdict | Case | None:
    """Judge our runs against a row's published number, or make the case that is judged with the others of the table.

    None for a column without a margin or a better side. `reasons` say why the group is not comparable; `lost` are the
    failed runs of the row where it has no group.
    """
    margin = column.margin if column.margin is not None else MARGIN if column.scale == 100 else None
    published = row.values.get(column.metric)
    if published is None or column.better == "none" or margin is None or not column.has_counterpart:
        return None
    if group is None:
        return judge_losses(column.metric, (), lost) if lost else NO_RUN
    values = collect_values(column, group)
    if not values and not any(is_broken(run, column.metric) for run in group.runs):
        return Verdict("not measured")
    if reasons:
        return Verdict("not comparable", ", ".join(reasons))
    if failed := judge_losses(column.metric, group.runs, group.lost):
        return failed
    n = row.n or 1  # a number without a word on its runs is taken as one run's
    std = row.std.get(column.metric) if n > 1 else None
    sample = Sample(published, n, std or None, n - 1)
    number = (group.runs[0].path, find_number(column.metric, group.data))
    alone = bool(row.contradictory)
    return Case(values, sample, column.better, margin, column.metric, number, alone, group.looks, group.least_gain)


def collect_values(column: Column, group: Group) -> dict[int, float]:
    """Collect a group's numbers for a column by seed, in the printed unit."""
    found = {run.seed: run.value(column.metric) for run in group.runs}
    return {seed: value * column.scale for seed, value in found.items() if value is not None}


def judge_losses(metric: str, runs: Sequence[Result], lost: Sequence[LostRun]) -> Verdict | None:
    """Judge a row by the runs that it has lost: None where those that are left stand for its recipe."""
    broken = sum(run.diverged for run in lost) + sum(is_broken(run, metric) for run in runs)
    started = len(runs) + len(lost)
    if broken:
        return Verdict("failed", f"{broken} of {started} runs diverged")
    return None if runs else Verdict("failed", f"{started} of {started} runs failed")


def is_broken(run: Result, metric: str) -> bool:
    """Tell whether a finished run has measured something that is no finite number: null in results.json."""
    split, _, name = metric.rpartition("/")
    source = run.content["metrics"]
    measured = f"{split}/accuracy" if name == "error" else metric
    return isinstance(source, Mapping) and measured in source and source[measured] is None


def find_number(metric: str, data: str) -> str:
    """Return the metric that says the same: on a balanced test set, accuracy = macro recall = 1 - error."""
    split, _, name = metric.rpartition("/")
    if name == "top5_error":
        return f"{split}/top5"
    return f"{split}/accuracy" if name == "error" or (name == "recall" and data in BALANCED) else metric


def judge_lines(lines: Sequence[Line]) -> tuple[list[Line], list[str]]:
    """Judge the open cases of a table; return its lines with all verdicts, and notes on the spread."""
    open_entries = [entry for line in lines for entry in line.entries if entry.case]
    cases = [entry.case for entry in open_entries if entry.case]
    verdicts, spreads = judge_family(cases)
    titles = {entry.column.metric: entry.column.title for entry in open_entries}
    notes = [f"{titles[str(column)]}: {text}" for column, text in spreads.items() if text]
    left = iter(verdicts)
    judged = [replace(line, entries=list(_fill(line.entries, left))) for line in lines]
    return judged, notes + list(_try_other_spread(judged, verdicts))


def _fill(entries: Sequence[Entry], left: Iterator[Verdict]) -> Iterator[Entry]:
    for entry in entries:
        yield replace(entry, verdict=next(left)) if entry.case else entry


def _try_other_spread(lines: Sequence[Line], verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Say which verdicts on CIFAR-10 would be others if the spread were the one that Jordan measured there."""
    places = [(line, entry) for line in lines for entry in line.entries if entry.case]
    chosen = [
        (line.keys[0], entry, before)
        for (line, entry), before in zip(places, verdicts, strict=True)
        if line.group and line.group.data == "cifar10" and entry.column.scale == 100
    ]
    after, _ = judge_family([entry.case for _, entry, _ in chosen if entry.case], spread=(JORDAN, math.inf))
    changed = [
        f"{label}, {entry.column.title}: {now.word}"
        for (label, entry, before), now in zip(chosen, after, strict=True)
        if now.word != before.word
    ]
    if chosen:
        known = f"Were the spread {JORDAN} points (Jordan 2024, CIFAR-10 at 94 %)"
        yield f"{known}, " + ("the verdicts would be " + "; ".join(changed) if changed else "no verdict would change")


def collect_verdicts(view: View) -> list[Verdict]:
    """Collect one verdict for each judged number of a study's table that its source does not contradict.

    It is the first, of the best comparable group. Accuracy and 1 - error of one row are one number.
    """
    first: dict[tuple[str, str], Verdict] = {}
    for line in view.lines:
        for entry in line.entries:
            if entry.verdict and entry.counted:
                data = line.group.data if line.group else ""
                first.setdefault((line.keys[0], find_number(entry.column.metric, data)), entry.verdict)
    return list(first.values())


def count_contradicted(view: View) -> int:
    """Count the judged numbers that stay out of the headline because their source contradicts them."""
    out = [(line.keys[0], entry) for line in view.lines for entry in line.entries if not entry.counted]
    judged = [(label, entry) for label, entry in out if entry.verdict and entry.verdict.word != "not judged"]
    return len({(label, entry.column.metric) for label, entry in judged})
