"""Draw the figures of a report, by the names that conf/published gives them, for every arena with the numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, zip_longest
from pathlib import Path

from ..groups import Arena, Group, build_arenas
from ..published import Column
from .classes import draw_confusion, draw_per_class
from .curves import CurvePlot
from .plot import Figure
from .reliability import draw_reliability
from .trends import ErrorPlot, SharePlot, draw_training_time

MOST = 6  # figures of a kind that a person would look through


SMALLER = "On the front, no other network is both smaller and better."


FASTER = "On the front, nothing else is both faster and better."


SCORES = [
    Column("test/precision", "test macro precision %", scale=100),
    Column("test/recall", "test macro recall %", scale=100),
    Column("test/f1", "test macro F1 %", scale=100),
    Column("time/fit_seconds", "training hours", scale=1 / 3600),
]


KINDS: dict[str, Callable[[Arena], Iterator[Figure]]] = {
    "error_against_depth": ErrorPlot("depth", "Error against depth", "layers", "depth"),
    "curves": CurvePlot("curves", "Course of training", ("accuracy", "map", "loss")),
    "loss_curves": CurvePlot("loss-curves", "Loss in training", ("loss",)),
    "error_against_parameters": ErrorPlot(
        "parameters", "Error against parameters", "parameters [million]", "params", 1e-6, SMALLER
    ),
    "error_against_macs": ErrorPlot(
        "macs", "Error against arithmetic", "multiply-adds an image [million]", "macs", 1e-6, SMALLER
    ),
    "error_against_hours": ErrorPlot(
        "hours", "Error against training time", "hours", "time/fit_seconds", 1 / 3600, FASTER
    ),
    "training_time_bars": draw_training_time,
    "accuracy_against_share": SharePlot([Column("test/accuracy", "test accuracy %", scale=100)]),
    "scores_against_share": SharePlot(SCORES),
    "per_class": draw_per_class,
    "confusion": draw_confusion,
    "reliability": draw_reliability,
}


def draw_figures(groups: Sequence[Group], wanted: Sequence[str], published: Mapping[Path, float]) -> list[Figure]:
    """Draw the wanted kinds of figures as far as the groups have numbers for them: a few of each, of most runs.

    First comes one of each kind. `published` are headline numbers by the first run of a group, to be shown beside ours.
    """
    found: list[list[Figure]] = []
    for name in wanted:
        kind = KINDS[name]
        if isinstance(kind, ErrorPlot):
            kind = replace(kind, published=published)
        arenas = build_arenas(groups, by_size=not isinstance(kind, SharePlot))
        found.append(list(islice((figure for arena in arenas for figure in kind(arena)), MOST)))
    return [figure for nth in zip_longest(*found) for figure in nth if figure is not None]
