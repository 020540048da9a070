"""Build the tables of runs without a study: all groups, and networks across data sets."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..tasks.table import has_single_class
from .entries import Entry, Line, View
from .groups import Group, format_settings, shorten_names
from .published import Column
from .views import GENERAL, flag_lost, flag_stale

SHOWN = ("epochs", "n_train", "protocol", "data.limit_train")  # in columns of their own
MINUTES = Column("time/fit_seconds", "minutes", better="none", scale=1 / 60)


def build_general_view(groups: Sequence[Group], name: str = "All runs") -> View:
    """Build a table with a row for every group, and the columns that any group has a number for."""
    longest = max((seconds for group in groups for seconds in group.values("time/fit_seconds")), default=0)
    known = (*GENERAL[:-1], GENERAL[-1] if longest >= 3600 else MINUTES)
    columns = [column for column in known if any(list_values(group, column) for group in groups)]
    lines = []
    for group in groups:
        entries = [Entry(column, [column.scale * value for value in list_values(group, column)]) for column in columns]
        data = group.data if has_single_class(group.task) else f"{group.data}, {group.task}"
        settings = {key: value for key, value in group.label_settings.items() if key not in SHOWN}
        counts = [f"{group.epochs:,}", f"{group.n_train:,}"]
        keys = [group.model, data, " ".join(format_settings(shorten_names(settings))), *counts, group.protocol]
        lines.append(Line(keys, group, entries, flag_stale(group) + flag_lost(group)))
    heads = ["model", "data", "settings", "epochs", "training images", "protocol"]
    return View(name, heads, columns, lines)


def build_across_view(groups: Sequence[Group], published: Mapping[Path, float] | None = None) -> View | None:
    """Build a table of each network's test error on every data set and their mean; None where there is one data set.

    The best mean comes first; beside it stands on how many sets the network is the best. Where a network has several
    groups on a data set, the one with most runs counts; a network that lacks a data set has no mean. `published` are
    errors, as shares of 1, by the first run of the group that they are about.
    """
    found: dict[str, dict[str, Group]] = {}
    for group in sorted(groups, key=lambda group: -group.n):
        if has_single_class(group.task) and group.values("test/error"):
            found.setdefault(group.model, {}).setdefault(group.data, group)
    sets = sorted({data for by_data in found.values() for data in by_data})
    if len(sets) < 2:
        return None
    mean = Column("mean", "mean error %", better="lower")
    wins = Column("best_on", "best on sets", better="none", digits=0)
    printed = Column("published_mean", "published mean error %", better="lower")
    columns = [Column(data, f"{data} error %", better="lower") for data in sets]
    best = {
        data: min(statistics.fmean(g[data].values("test/error")) for g in found.values() if data in g) for data in sets
    }
    theirs = {model: find_published_mean(by_data, sets, published or {}) for model, by_data in found.items()}
    lines = []
    for model, by_data in found.items():
        errors = {data: [100 * error for error in group.values("test/error")] for data, group in by_data.items()}
        means = [statistics.fmean(map(statistics.fmean, errors.values()))] if len(errors) == len(sets) else []
        won = sum(statistics.fmean(group.values("test/error")) <= best[data] for data, group in by_data.items())
        entries = [Entry(column, errors.get(column.metric, ())) for column in columns]
        if any(theirs.values()):
            entries.insert(0, Entry(printed, theirs[model]))
        pooled = Group([run for group in by_data.values() for run in group.runs])
        lines.append(Line([model], pooled, [Entry(mean, means), Entry(wins, [won]), *entries]))
    lines.sort(key=lambda line: line.entries[0].mean or float("inf"))
    note = "n counts a network's runs on all data sets; each data set counts once in the mean"
    shown = [mean, wins, *([printed] if any(theirs.values()) else []), *columns]
    return View("Across data sets", ["model"], shown, lines, [note])


def find_published_mean(
    by_data: Mapping[str, Group], sets: Sequence[str], published: Mapping[Path, float]
) -> list[float]:
    """Return the mean of the published errors in percent; [] where one of the sets has none."""
    errors = [published.get(by_data[data].runs[0].path) if data in by_data else None for data in sets]
    known = [100 * error for error in errors if error is not None]
    return [statistics.fmean(known)] if len(known) == len(sets) else []


def list_values(group: Group, column: Column) -> list[float]:
    """Return a group's numbers for a column; only a multi-class task has an error."""
    if column.metric.endswith("/error") and not has_single_class(group.task):
        return []
    return group.values(column.metric)
