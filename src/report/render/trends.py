"""Draw figures of one number against another: error against size and time, scores against the amount of data."""

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..groups import Arena, Group, describe_seeds, make_slug
from ..published import Column
from ..verdict import compute_std
from .curves import TOGETHER, Rows
from .plot import INK, PAPER, SOFT, Figure, draw_figure, get_colour, get_marker, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 24


MOST_NAMES = 12  # that find room beside their points


BARS = "bars: ± 1 standard deviation over seeds; "


@dataclass(frozen=True)
class Point:
    """A group in a picture: where it stands, its headline number for each seed, and the published one."""

    group: Group
    x: float
    values: Sequence[float]
    published: float | None

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def family(self) -> str:
        """The name of a network without its size: plain, resnet, preact_resnet …"""
        return re.split(r"\d", self.group.model, maxsplit=1)[0].rstrip("_") or self.group.model


@dataclass(frozen=True)
class ErrorPlot:
    """A figure of test error (or average precision) against a number of the network or its training."""

    what: str
    title: str
    axis: str
    metric: str
    scale: float = 1.0
    front: str = ""  # what its Pareto front means; "" for a picture without one
    published: Mapping[Path, float] = field(default_factory=dict)  # scores by the first run of a group

    def __call__(self, arena: Arena) -> Iterator[Figure]:
        """Draw the figure for an arena whose groups differ in the number."""
        points = [point for group in arena.groups if (point := self.locate(group))]
        if len({point.x for point in points}) < 2:
            return
        axis = self.axis
        if axis == "hours" and max(point.x for point in points) < 1:
            axis, points = "minutes", [replace(point, x=60 * point.x) for point in points]
        lower = points[0].group.headline == "test/error"
        score = "test error %" if lower else "test mAP"
        front = find_pareto_front([(point.x, point.mean) for point in points], lower) if self.front else []
        rows: Rows = [["runs", axis, f"{score} mean", "std", "n", "published", "on the Pareto front"]]
        for p in sorted(points, key=lambda p: p.x):
            on_front = (p.x, p.mean) in front if self.front else ""
            rows.append([p.group.label, p.x, p.mean, compute_std(p.values), len(p.values), p.published, on_front])
        families = list(dict.fromkeys(point.family for point in points))

        def paint(axes: "Axes") -> None:
            paint_front(axes, front)
            for i, name in enumerate(families):
                paint_family(axes, i, name, [p for p in points if p.family == name], joined=not self.front)
            if len(points) <= MOST_NAMES:
                write_names(axes, points)
            axes.set(xlabel=axis, ylabel=score)
            if self.front:
                set_log_axis(axes, [point.x for point in points])
            axes.margins(0.1)

        bars = BARS if any(len(p.values) > 1 for p in points) else ""
        caption = f"{arena.title}; {bars}{describe_seeds([p.group for p in points])}. {self.front}".strip()
        labels = len(families) + (len(front) > 1) + len({p.family for p in points if p.published is not None})
        title = self.title if lower else self.title.replace("Error", "Average precision")
        name = f"error-against-{self.what}-{arena.name}"
        yield draw_figure(name, title, caption, rows, paint, labels=labels)

    def locate(self, group: Group) -> Point | None:
        """Return the place of a group in the picture; None where one of its two numbers is missing."""
        scale = 100 if group.headline == "test/error" else 1
        values = [scale * value for value in group.values(group.headline)]
        found = [group.depth] if self.metric == "depth" else group.values(self.metric)
        x = [self.scale * value for value in found if value]
        published = self.published.get(group.runs[0].path)
        published = None if published is None else scale * published
        return Point(group, statistics.fmean(x), values, published) if x and values else None


def paint_front(axes: "Axes", front: Sequence[tuple[float, float]]) -> None:
    """Paint the Pareto front as a broad line behind the points."""
    if len(front) > 1:
        x, y = zip(*front, strict=True)
        axes.plot(x, y, color=SOFT, linewidth=6, alpha=0.25, solid_capstyle="round", zorder=1, label="Pareto front")


def paint_family(axes: "Axes", i: int, name: str, points: Sequence[Point], *, joined: bool) -> None:
    """Paint one family's points with their bars, and hollow ones for published numbers."""
    own, tint, mark = sorted(points, key=lambda point: point.x), get_colour(i), get_marker(i)
    x, y = [p.x for p in own], [p.mean for p in own]
    bars = [compute_std(p.values) or 0 for p in own]
    axes.errorbar(x, y, bars, fmt=mark, color=tint, capsize=2, elinewidth=1, label=name, zorder=3)
    if joined and len(set(x)) == len(x):
        axes.plot(x, y, color=tint, linewidth=0.9, zorder=2)
    published = [(p.x, p.published) for p in own if p.published is not None]
    if published:
        x, y = [px for px, _ in published], [py for _, py in published]
        (line,) = axes.plot(x, y, mark, markersize=8, linestyle="none", label=f"{name}, published", zorder=2.5)
        line.set(markerfacecolor=PAPER, markeredgecolor=tint)


def write_names(axes: "Axes", points: Sequence[Point]) -> None:
    """Write the networks' names beside their points, to the left of the last one."""
    right = max(point.x for point in points)
    models = [point.group.model for point in points]
    for point in points:
        alone = models.count(point.group.model) == 1
        offset, side = ((-6, 5), "right") if point.x == right else ((6, 5), "left")
        text, place = shorten(point.group.model if alone else point.group.label, 24), (point.x, point.mean)
        axes.annotate(text, place, offset, textcoords="offset points", ha=side, color=SOFT, fontsize=7)


def set_log_axis(axes: "Axes", values: Sequence[float]) -> None:
    """Make the x axis logarithmic, with ticks written as numbers instead of powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    wide = max(values) / min(values) > 30
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def find_pareto_front(points: Sequence[tuple[float, float]], lower: bool) -> list[tuple[float, float]]:
    """Return the points that no other beats in both: a smaller x and a better y (a lower one, if `lower`)."""
    best: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], point[1] if lower else -point[1])):
        if not best or (y < best[-1][1] if lower else y > best[-1][1]):
            best.append((x, y))
    return best


def draw_training_time(arena: Arena) -> Iterator[Figure]:
    """Draw how long training took, one bar for each group."""
    timed = [
        (group, hours) for group in arena.groups if (hours := [s / 3600 for s in group.values("time/fit_seconds")])
    ]
    timed = timed[:MOST_BARS]
    if len(timed) < 2:
        return
    longest = max(statistics.fmean(hours) for _, hours in timed)
    unit, scale = ("hours", 1) if longest >= 1 else ("minutes", 60) if longest >= 1 / 60 else ("seconds", 3600)
    rows: Rows = [["runs", "hours mean", "std", "n"]]
    rows += [[group.label, statistics.fmean(hours), compute_std(hours), len(hours)] for group, hours in timed]

    def paint(axes: "Axes") -> None:
        means = [statistics.fmean(hours) * scale for _, hours in timed]
        bars = [(compute_std(hours) or 0) * scale for _, hours in timed]
        places = range(len(timed))
        axes.barh(places, means, xerr=bars, color=get_colour(0), height=0.65, error_kw={"ecolor": INK, "capsize": 2})
        for place, mean, bar in zip(places, means, bars, strict=True):
            axes.annotate(f"{mean:.3g}", (mean + bar, place), xytext=(4, 0), textcoords="offset points", va="center")
        axes.set_yticks(places, [shorten(group.label, 30) for group, _ in timed])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"training time [{unit}]")
        axes.margins(x=0.15)

    devices = sorted({run.device for group, _ in timed for run in group.runs})
    caption = f"{arena.title}; on {', '.join(devices)}; {describe_seeds([group for group, _ in timed])}."
    height, name = 0.9 + 0.26 * len(timed), f"training-time-{arena.name}"
    yield draw_figure(name, "Training time", caption, rows, paint, height=height)


@dataclass(frozen=True)
class SharePlot:
    """Figures of some numbers against the number of training images, one line for each network."""

    columns: Sequence[Column]  # a figure each

    def __call__(self, arena: Arena) -> Iterator[Figure]:
        """Draw each number that networks trained on several amounts of data have."""
        for column in self.columns:
            lines: dict[str, list[tuple[int, list[float], Group]]] = {}
            for group in sorted((each for each in arena.groups if each.n_train), key=lambda group: group.n_train):
                if values := [column.scale * value for value in group.values(column.metric)]:
                    lines.setdefault(group.model, []).append((group.n_train, values, group))
            several = [(name, points) for name, points in lines.items() if len({n for n, _, _ in points}) > 1]
            if several:
                yield self.draw(arena, column, several[:TOGETHER])

    def draw(
        self, arena: Arena, column: Column, several: Sequence[tuple[str, list[tuple[int, list[float], Group]]]]
    ) -> Figure:
        """Draw one number of these networks."""
        sizes = [n for _, points in several for n, _, _ in points]
        rows: Rows = [["runs", "training images", "share of the largest", f"{column.title} mean", "std", "n"]]
        for _, points in several:
            rows += [[g.label, n, n / max(sizes), statistics.fmean(y), compute_std(y), len(y)] for n, y, g in points]

        def paint(axes: "Axes") -> None:
            for i, (name, points) in enumerate(several):
                n, means = [p[0] for p in points], [statistics.fmean(p[1]) for p in points]
                bars = [compute_std(p[1]) or 0 for p in points]
                look = f"{get_marker(i)}-" if len(set(n)) == len(n) else get_marker(i)
                axes.errorbar(n, means, bars, fmt=look, color=get_colour(i), capsize=2, elinewidth=1, label=name)
            axes.set(xlabel="training images", ylabel=column.title)
            set_log_axis(axes, sizes)

        used = [group for _, points in several for _, _, group in points]
        bars = BARS if any(group.n > 1 for group in used) else ""
        caption = f"{arena.title}; {bars}{describe_seeds(used)}."
        what = column.title.removeprefix("test ").removesuffix(" %")
        title = f"{what[0].upper()}{what[1:]} against the amount of data"
        name = f"{make_slug(what)}-against-share-{arena.name}"
        return draw_figure(name, title, caption, rows, paint, labels=len(several))
