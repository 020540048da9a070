"""Draw the course of training: error, average precision or loss against epochs."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..groups import Arena, Group, describe_seeds
from ..result import Result
from ..verdict import compute_std
from .plot import Figure, draw_figure, get_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOGETHER = 8  # lines in one picture, as many as there are colours


LOOKS = {"val": ("solid", "-", "validation"), "train": ("dashed", "--", "training"), "test": ("dotted", ":", "test")}


Rows = list[list[object]]


class EpochMean(NamedTuple):
    """A metric after an epoch, over the runs of a group."""

    epoch: int
    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class CurvePlot:
    """A figure of one of these metrics against epochs, the first that runs have: the mean over seeds, in a band."""

    name: str
    title: str
    metrics: tuple[str, ...]

    def __call__(self, arena: Arena) -> Iterator[Figure]:
        """Draw the curves of an arena, a few groups in a picture."""
        groups = [group for group in arena.groups if any(len(run.history) > 1 for run in group.runs)]
        for part, start in enumerate(range(0, len(groups), TOGETHER)):
            some = groups[start : start + TOGETHER]
            keys = {key for group in some for run in group.runs for row in run.history[:1] for key in row}
            known = (m for m in self.metrics if any(f"{split}/{m}" in keys for split in LOOKS))
            if metric := next(known, None):
                yield draw_curves_of(arena, some, f"{self.name}-{arena.name}-{part}", self.title, metric)


def draw_curves_of(arena: Arena, groups: Sequence[Group], name: str, heading: str, metric: str) -> Figure:
    """Draw the training curves of a few groups; validation is solid, or training where there is no validation."""
    keys = {key for group in groups for run in group.runs for row in run.history[:1] for key in row}
    title = {"accuracy": "error %", "map": "mAP", "loss": "loss"}[metric]
    splits = [split for split in LOOKS if f"{split}/{metric}" in keys]
    lines = {(i, s): average_history(g.runs, f"{s}/{metric}") for i, g in enumerate(groups) for s in splits}
    lines = {key: points for key, points in lines.items() if points}
    ends = [3 * points[-1].mean for points in lines.values()]
    top = max(4.0, *ends) if metric == "accuracy" else max([1e-3, *ends])  # or the end would be one flat line
    top = min(top, 100.0 if metric == "accuracy" else math.inf)
    rows: Rows = [["runs", "split", "epoch", f"{title} mean", "std", "n"]]
    rows += [[groups[i].label, split, *point] for (i, split), points in lines.items() for point in points]

    def paint(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        for (i, split), points in lines.items():
            main, tint = split == splits[0], get_colour(i)
            epochs, means = [point.epoch for point in points], [point.mean for point in points]
            label = groups[i].label if main else None
            axes.plot(epochs, means, LOOKS[split][1], color=tint, label=label, linewidth=1.6 if main else 1.0)
            if main:
                low, high = ([p.mean + sign * (p.std or 0) for p in points] for sign in (-1, 1))
                axes.fill_between(epochs, low, high, color=tint, alpha=0.2, linewidth=0)
        axes.set(xlabel="epoch", ylabel=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(*((None, None) if metric == "map" else (0, top if higher or metric == "accuracy" else None)))
        axes.margins(x=0.01)

    legend = ", ".join(f"{LOOKS[split][0]}: {LOOKS[split][2]}" for split in splits)
    legend += " (watched, never used to choose)" if "test" in splits else ""
    legend += "; band: ± 1 standard deviation over seeds" if any(group.n > 1 for group in groups) else ""
    higher = metric != "map" and any(point.mean > top for points in lines.values() for point in points)
    above = " The start of training lies above the picture." if higher else ""
    caption = f"{arena.title}; {legend}; {describe_seeds(groups)}.{above}"
    return draw_figure(name, heading, caption, rows, paint, labels=len(groups))


def average_history(runs: Sequence[Result], key: str) -> list[EpochMean]:
    """Average a column of metrics.csv over runs, for each epoch; an accuracy becomes an error in percent."""
    found: dict[int, list[float]] = {}
    for run in runs:
        for i, row in enumerate(run.history, 1):
            value = 100 * (1 - row.get(key, math.nan)) if key.endswith("accuracy") else row.get(key, math.nan)
            if math.isfinite(value):
                found.setdefault(int(row.get("epoch", i)), []).append(value)
    return [EpochMean(epoch, statistics.fmean(v), compute_std(v), len(v)) for epoch, v in sorted(found.items())]
