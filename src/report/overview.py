"""Build the tables of runs without a study: all groups, and networks across data sets."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..tasks.table import has_single_class
from .defaults import format_settings, shorten_names
from .entries import Entry, Line, View
from .groups import Group
from .published import Column
from .result import LIMITS
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
        data = group.title if has_single_class(group.task) else f"{group.title}, {group.task}"
        settings = {key: value for key, value in group.label_settings.items() if key not in SHOWN}
        counts = [f"{group.epochs:,}", f"{group.n_train:,}"]
        keys = [group.model, data, " ".join(format_settings(shorten_names(settings))), *counts, group.protocol]
        lines.append(Line(keys, group, entries, flag_stale(group) + flag_lost(group)))
    heads = ["model", "data", "settings", "epochs", "training images", "protocol"]
    return View(name, heads, columns, lines)


def build_across_view(groups: Sequence[Group], published: Mapping[Path, float] | None = None) -> View | None:
    """Build a table of each network's test error on every data set and their mean; None where there is one data set.

    The best mean comes first; beside it stands on how many sets the network is the best. All numbers of a column are of
    one protocol, length and training set, those of most of the groups on its data set; a network that lacks a data set,
    or has it only otherwise, has no mean. `published` are errors, as shares of 1, by the first run of the group that
    they are about.
    """
    found: dict[str, dict[str, Group]] = {}
    judged = [group for group in groups if has_single_class(group.task) and group.values("test/error")]
    alike = select_alike(judged)
    for group in sorted(alike, key=lambda group: -group.n):
        found.setdefault(group.model, {}).setdefault(group.title, group)
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
    notes = ["n counts a network's runs on all data sets; each data set counts once in the mean"]
    if len(alike) < len(judged):
        kinds = {group.title: f"{group.title}: {describe_training(group)}" for group in alike}
        notes.append(
            f"{len(judged) - len(alike)} of {len(judged)} configurations are left out, which were trained or chosen "
            f"otherwise than most ({'; '.join(kinds[data] for data in sets)})"
        )
    shown = [mean, wins, *([printed] if any(theirs.values()) else []), *columns]
    return View("Across data sets", ["model"], shown, lines, notes)


def find_published_mean(
    by_data: Mapping[str, Group], sets: Sequence[str], published: Mapping[Path, float]
) -> list[float]:
    """Return the mean of the published errors in percent; [] where one of the sets has none."""
    errors = [published.get(by_data[data].runs[0].path) if data in by_data else None for data in sets]
    known = [100 * error for error in errors if error is not None]
    return [statistics.fmean(known)] if len(known) == len(sets) else []


def select_alike(groups: Sequence[Group]) -> list[Group]:
    """Select the groups of the most usual protocol and, on each data set, of the most usual length and images."""
    protocols = Counter(group.protocol for group in groups)
    chosen = [group for group in groups if group.protocol == max(protocols, key=lambda name: protocols[name])]
    kinds: dict[str, Counter[tuple[object, ...]]] = {}
    for group in chosen:
        kinds.setdefault(group.title, Counter())[identify_training(group)] += 1
    usual = {data: max(counts, key=lambda kind: counts[kind]) for data, counts in kinds.items()}
    return [group for group in chosen if identify_training(group) == usual[group.title]]


def identify_training(group: Group) -> tuple[object, ...]:
    """Return what makes the numbers of two networks on a data set comparable."""
    limits = [(name, str(group.settings.get(name))) for name in LIMITS]
    return (group.epochs, group.n_train, group.data_fingerprint, *limits)


def describe_training(group: Group) -> str:
    """Describe how the groups of a column were trained."""
    chosen = "best validation epoch" if group.protocol == "best_val" else "last epoch"
    return f"{group.epochs:,} epochs on {group.n_train:,} images, {chosen}"


def list_values(group: Group, column: Column) -> list[float]:
    """Return a group's numbers for a column; only a multi-class task has an error."""
    if column.metric.endswith("/error") and not has_single_class(group.task):
        return []
    return group.values(column.metric)
