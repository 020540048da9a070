"""Figures of one number against another: courses of training, error against size and time, accuracy against data."""

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..groups import Arena, Group, seeds
from ..result import Result
from ..verdict import spread
from .plot import INK, PAPER, SOFT, Figure, colour, cut, draw, marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOGETHER = 8  # lines of a picture: as many as there are colours


MOST_BARS = 24


MOST_NAMES = 12  # that find room beside their points


LOOKS = {"val": ("solid", "-", "validation"), "train": ("dashed", "--", "training"), "test": ("dotted", ":", "test")}


Rows = list[list[Any]]


def curves(arena: Arena) -> Iterator[Figure]:
    """Error (or average precision, or loss) against epochs: mean over seeds with a band of a standard deviation."""
    groups = [group for group in arena.groups if any(len(run.epochs) > 1 for run in group.runs)]
    for part, start in enumerate(range(0, len(groups), TOGETHER)):
        yield curves_of(arena, groups[start : start + TOGETHER], part)


def curves_of(arena: Arena, groups: Sequence[Group], part: int) -> Figure:
    """The courses of a few groups; what validation shows is solid, or training where there is none."""
    keys = {key for group in groups for run in group.runs for row in run.epochs[:1] for key in row}
    metric = next((m for m in ("accuracy", "map") if f"val/{m}" in keys or f"train/{m}" in keys), "loss")
    title = {"accuracy": "error %", "map": "mAP", "loss": "loss"}[metric]
    splits = [split for split in LOOKS if f"{split}/{metric}" in keys]
    lines = {(i, s): course(g.runs, f"{s}/{metric}") for i, g in enumerate(groups) for s in splits}
    lines = {key: points for key, points in lines.items() if points}
    top = min(100, max(4, *(3 * points[-1][1] for points in lines.values())))  # or the end would be one flat line
    rows: Rows = [["runs", "split", "epoch", f"{title} mean", "std", "n"]]
    rows += [[groups[i].label, split, *point] for (i, split), points in lines.items() for point in points]

    def paint(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        for (i, split), points in lines.items():
            main = split == splits[0]
            epoch, mean = [point[0] for point in points], [point[1] for point in points]
            label = groups[i].label if main else None
            axes.plot(epoch, mean, LOOKS[split][1], color=colour(i), label=label, linewidth=1.6 if main else 1.0)
            if main:
                low, high = ([p[1] + sign * (p[2] or 0) for p in points] for sign in (-1, 1))
                axes.fill_between(epoch, low, high, color=colour(i), alpha=0.2, linewidth=0)
        axes.set(xlabel="epoch", ylabel=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(*((0, top) if metric == "accuracy" else (None, None)))
        axes.margins(x=0.01)

    told = ", ".join(f"{LOOKS[split][0]}: {LOOKS[split][2]}" for split in splits)
    told += " (watched, never used to choose)" if "test" in splits else ""
    told += "; band: ± 1 standard deviation over seeds" if any(group.n > 1 for group in groups) else ""
    higher = metric == "accuracy" and any(point[1] > top for points in lines.values() for point in points)
    above = " The start of training lies above the picture." if higher else ""
    caption = f"{arena.title}; {told}; {seeds(groups)}.{above}"
    return draw(f"curves-{arena.name}-{part}", "Course of training", caption, rows, paint, labels=len(groups))


def course(runs: Sequence[Result], key: str) -> Rows:
    """epoch, mean, standard deviation and number of runs, for each epoch; an accuracy becomes an error in percent."""
    at: dict[int, list[float]] = {}
    for run in runs:
        for i, row in enumerate(run.epochs, 1):
            value = 100 * (1 - row.get(key, math.nan)) if key.endswith("accuracy") else row.get(key, math.nan)
            if math.isfinite(value):
                at.setdefault(int(row.get("epoch", i)), []).append(value)
    return [[epoch, statistics.fmean(values), spread(values), len(values)] for epoch, values in sorted(at.items())]


@dataclass(frozen=True)
class Point:
    """A group in a picture: where it stands, its headline number a seed, and what was published for it."""

    group: Group
    x: float
    values: Sequence[float]
    published: float | None

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def family(self) -> str:
        """What a network is called without its size: plain, resnet, preact_resnet …"""
        return re.split(r"\d", str(self.group.model), maxsplit=1)[0].rstrip("_") or str(self.group.model)


@dataclass(frozen=True)
class Against:
    """A figure of test error (or average precision) against a number of the network or its training."""

    what: str
    title: str
    axis: str
    metric: str
    scale: float = 1.0
    front: str = ""  # what its Pareto front means; "" for a picture without one
    published: Mapping[tuple[str, str], float] = field(default_factory=dict)  # errors in % by data and model

    def __call__(self, arena: Arena) -> Iterator[Figure]:
        points = [point for group in arena.groups if (point := self.point(group))]
        if len({point.x for point in points}) < 2:
            return
        axis = self.axis
        if axis == "hours" and max(point.x for point in points) < 1:
            axis, points = "minutes", [replace(point, x=60 * point.x) for point in points]
        lower = points[0].group.headline == "test/error"
        score = "test error %" if lower else "test mAP"
        front = pareto([(point.x, point.mean) for point in points], lower) if self.front else []
        rows: Rows = [["runs", axis, f"{score} mean", "std", "n", "published", "on the Pareto front"]]
        for p in sorted(points, key=lambda p: p.x):
            on_it = (p.x, p.mean) in front if self.front else ""
            rows.append([p.group.label, p.x, p.mean, spread(p.values), len(p.values), p.published, on_it])
        families = list(dict.fromkeys(point.family for point in points))

        def paint(axes: "Axes") -> None:
            if len(front) > 1:
                look: dict[str, Any] = {
                    "color": SOFT,
                    "linewidth": 6,
                    "alpha": 0.25,
                    "solid_capstyle": "round",
                    "zorder": 1,
                }
                axes.plot(*zip(*front, strict=True), label="Pareto front", **look)
            for i, name in enumerate(families):
                paint_family(axes, i, name, [p for p in points if p.family == name], joined=not self.front)
            if len(points) <= MOST_NAMES:
                write_names(axes, points)
            axes.set(xlabel=axis, ylabel=score)
            if self.front:
                plain_log(axes, [point.x for point in points])
            axes.margins(0.1)

        told = "bars: ± 1 standard deviation over seeds; " if any(len(p.values) > 1 for p in points) else ""
        caption = f"{arena.title}; {told}{seeds([p.group for p in points])}. {self.front}".strip()
        labels = len(families) + (len(front) > 1) + len({p.family for p in points if p.published is not None})
        title = self.title if lower else self.title.replace("Error", "Average precision")
        yield draw(f"error-against-{self.what}-{arena.name}", title, caption, rows, paint, labels=labels)

    def point(self, group: Group) -> Point | None:
        """Where a group stands; None where it has not both numbers."""
        values = [value * (100 if group.headline == "test/error" else 1) for value in group.values(group.headline)]
        found = [group.depth] if self.metric == "depth" else group.values(self.metric)
        x = [self.scale * value for value in found if value]
        theirs = self.published.get((str(group.data), str(group.model)))
        return Point(group, statistics.fmean(x), values, theirs) if x and values else None


def paint_family(axes: "Axes", i: int, name: str, points: Sequence[Point], *, joined: bool) -> None:
    """One family's points with their bars, and hollow ones for what was published."""
    own = sorted(points, key=lambda point: point.x)
    x, y = [p.x for p in own], [p.mean for p in own]
    bars = [spread(p.values) or 0 for p in own]
    axes.errorbar(x, y, bars, fmt=marker(i), color=colour(i), capsize=2, elinewidth=1, label=name, zorder=3)
    if joined and len(set(x)) == len(x):
        axes.plot(x, y, color=colour(i), linewidth=0.9, zorder=2)
    printed = [(p.x, p.published) for p in own if p.published is not None]
    if printed:
        look: dict[str, Any] = {
            "markerfacecolor": PAPER,
            "markeredgecolor": colour(i),
            "linestyle": "none",
            "markersize": 8,
        }
        axes.plot(*zip(*printed, strict=True), marker(i), label=f"{name}, published", zorder=2.5, **look)


def write_names(axes: "Axes", points: Sequence[Point]) -> None:
    """The networks' names beside their points; to the left where the picture ends."""
    right = max(point.x for point in points)
    for point in points:
        end = point.x == right
        place: dict[str, Any] = {
            "xytext": (-6 if end else 6, 5),
            "textcoords": "offset points",
            "ha": "right" if end else "left",
        }
        axes.annotate(cut(str(point.group.model), 18), (point.x, point.mean), color=SOFT, fontsize=7, **place)


def plain_log(axes: "Axes", values: Sequence[float]) -> None:
    """A logarithmic axis whose ticks are read as numbers, not as powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    wide = max(values) / min(values) > 30
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def pareto(points: Sequence[tuple[float, float]], lower: bool) -> list[tuple[float, float]]:
    """The points that none beats in both: less of x, and a better y."""
    best: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], point[1] if lower else -point[1])):
        if not best or (y < best[-1][1] if lower else y > best[-1][1]):
            best.append((x, y))
    return best


def training_time(arena: Arena) -> Iterator[Figure]:
    """How long training took, a bar a group."""
    timed = [
        (group, hours) for group in arena.groups if (hours := [s / 3600 for s in group.values("time/fit_seconds")])
    ]
    timed = timed[:MOST_BARS]
    if len(timed) < 2:
        return
    longest = max(statistics.fmean(hours) for _, hours in timed)
    unit, scale = ("hours", 1) if longest >= 1 else ("minutes", 60) if longest >= 1 / 60 else ("seconds", 3600)
    rows: Rows = [["runs", "hours mean", "std", "n"]]
    rows += [[group.label, statistics.fmean(hours), spread(hours), len(hours)] for group, hours in timed]

    def paint(axes: "Axes") -> None:
        means = [statistics.fmean(hours) * scale for _, hours in timed]
        bars = [(spread(hours) or 0) * scale for _, hours in timed]
        places = range(len(timed))
        axes.barh(places, means, xerr=bars, color=colour(0), height=0.65, error_kw={"ecolor": INK, "capsize": 2})
        for place, mean, bar in zip(places, means, bars, strict=True):
            axes.annotate(f"{mean:.3g}", (mean + bar, place), xytext=(4, 0), textcoords="offset points", va="center")
        axes.set_yticks(places, [cut(group.label, 30) for group, _ in timed])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"training time [{unit}]")
        axes.margins(x=0.15)

    devices = sorted({str((run.content.get("environment") or {}).get("device")) for g, _ in timed for run in g.runs})
    caption = f"{arena.title}; on {', '.join(devices)}; {seeds([group for group, _ in timed])}."
    height = 0.9 + 0.26 * len(timed)
    yield draw(f"training-time-{arena.name}", "Training time", caption, rows, paint, height=height)


def accuracy_against_share(arena: Arena) -> Iterator[Figure]:
    """Test accuracy against the number of training images, a line a network."""
    lines: dict[str, list[tuple[int, list[float], Group]]] = {}
    for group in sorted(arena.groups, key=lambda group: int(group.n_train)):
        if values := [100 * value for value in group.values("test/accuracy")]:
            lines.setdefault(str(group.model), []).append((int(group.n_train), values, group))
    several = [(name, points) for name, points in lines.items() if len({n for n, _, _ in points}) > 1][:TOGETHER]
    if not several:
        return
    sizes = [n for _, points in several for n, _, _ in points]
    rows: Rows = [["runs", "training images", "share of the largest", "test accuracy % mean", "std", "n"]]
    for _, points in several:
        rows += [[g.label, n, n / max(sizes), statistics.fmean(y), spread(y), len(y)] for n, y, g in points]

    def paint(axes: "Axes") -> None:
        for i, (name, points) in enumerate(several):
            n, y = [p[0] for p in points], [statistics.fmean(p[1]) for p in points]
            bars = [spread(p[1]) or 0 for p in points]
            look = f"{marker(i)}-" if len(set(n)) == len(n) else marker(i)
            axes.errorbar(n, y, bars, fmt=look, color=colour(i), capsize=2, elinewidth=1, label=name)
        axes.set(xlabel="training images", ylabel="test accuracy %")
        plain_log(axes, sizes)

    used = [group for _, points in several for _, _, group in points]
    told = "bars: ± 1 standard deviation over seeds; " if any(group.n > 1 for group in used) else ""
    caption = f"{arena.title}; {told}{seeds(used)}."
    title = "Accuracy against the amount of data"
    yield draw(f"accuracy-against-share-{arena.name}", title, caption, rows, paint, labels=len(several))
