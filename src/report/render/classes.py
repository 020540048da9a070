"""Figures of single classes: which are taken for which, and how well each is found."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..groups import Arena, Group, seeds
from ..result import Result, read_rows
from ..verdict import spread
from .plot import GRID, INK, Figure, colour, cut, draw, marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLASSES = 20  # of a matrix or a list of classes


MOST_MATRICES = 6  # of an arena


Matrix = list[list[float]]


Rows = list[list[Any]]


def confusion(arena: Arena) -> Iterator[Figure]:
    """Which classes are taken for which: shares of the true class, mean over seeds."""
    for i, group in enumerate(arena.groups[:MOST_MATRICES]):
        found = [matrix for run in group.runs if (matrix := confusion_matrix(run))]
        found = [matrix for matrix in found if matrix[0] == found[0][0]]
        if not found:
            continue
        classes, size = found[0][0], range(len(found[0][0]))
        share = [[statistics.fmean(matrix[a][b] for _, matrix in found) for b in size] for a in size]
        rows: Rows = [
            ["true \\ predicted", *classes],
            *([name, *row] for name, row in zip(classes, share, strict=True)),
        ]
        caption = f"{group.label}; {arena.title}; % of the true class, mean over n = {len(found)}."
        paint, height = matrix_painter(classes, share), 1.1 + 0.27 * len(classes)
        if len(classes) > MOST_CLASSES:
            paint, height = pairs_painter(classes, share), 0.9 + 0.22 * MOST_CLASSES
            caption += f" The {MOST_CLASSES} most frequent confusions of {len(classes)} classes."
        yield draw(f"confusion-{arena.name}-{i}", f"Confusion, {group.model}", caption, rows, paint, height=height)


def confusion_matrix(run: Result) -> tuple[list[str], Matrix] | None:
    """Class names, and rows that sum to 1 (or are all 0); None where the run has no such file or a damaged one."""
    lines = read_rows(run.path / "confusion_matrix.csv")
    try:
        classes, counts = lines[0][1:], [[float(count) for count in line[1:]] for line in lines[1:]]
    except (ValueError, IndexError):
        return None
    if not classes or {len(row) for row in counts} != {len(classes)} or len(counts) != len(classes):
        return None
    return classes, [[count / (sum(row) or 1) for count in row] for row in counts]


def matrix_painter(classes: Sequence[str], share: Matrix) -> Callable[["Axes"], None]:
    """A square a cell, the stronger the larger its share; right answers in one colour, mistakes in another."""

    def paint(axes: "Axes") -> None:
        from matplotlib.patches import Rectangle

        size = len(classes)
        for a, row in enumerate(share):
            for b, value in enumerate(row):
                if value < 0.0005:
                    continue
                strength = value if a == b else min(1.0, 4 * value) ** 0.7
                tint: dict[str, Any] = {
                    "facecolor": colour(0 if a == b else 1),
                    "alpha": 0.08 + 0.62 * strength,
                    "linewidth": 0,
                }
                axes.add_patch(Rectangle((b - 0.47, a - 0.47), 0.94, 0.94, **tint))
                text = f"{100 * value:.0f}" if value >= 0.1 else f"{100 * value:.1f}"
                axes.text(b, a, text, ha="center", va="center", fontsize=7 if size <= 12 else 5, color=INK)
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), xlabel="predicted", ylabel="true")
        names = [cut(name, 14) for name in classes]
        axes.set_xticks(range(size), names, rotation=90 if max(map(len, names)) > 2 else 0)
        axes.set_yticks(range(size), names)
        axes.grid(visible=False)
        axes.tick_params(length=0)

    return paint


def pairs_painter(classes: Sequence[str], share: Matrix) -> Callable[["Axes"], None]:
    """The most frequent confusions as bars, where a matrix would have too many cells to read."""
    size = range(len(classes))
    pairs = sorted(((share[a][b], a, b) for a in size for b in size if a != b), reverse=True)[:MOST_CLASSES]

    def paint(axes: "Axes") -> None:
        axes.barh(range(len(pairs)), [100 * value for value, _, _ in pairs], color=colour(1), height=0.65)
        names = [f"{cut(classes[a], 16)} → {cut(classes[b], 16)}" for _, a, b in pairs]
        axes.set_yticks(range(len(pairs)), names)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("taken for the other, % of the true class")

    return paint


def per_class(arena: Arena, most: int = 8) -> Iterator[Figure]:
    """How well each class is found, a mark a group; of many classes, the hardest."""
    groups = [group for group in arena.groups if any(class_scores(run)[1] for run in group.runs)][:most]
    if not groups:
        return
    metric = next(name for group in groups for run in group.runs if (name := class_scores(run)[0]))
    scores = [scores_of(group, 100 if metric == "recall" else 1) for group in groups]
    names = dict.fromkeys(name for own in scores for name in own)
    means = {name: statistics.fmean(v for own in scores for v in own.get(name, [])) for name in names}
    classes = sorted(means, key=lambda name: means[name])[:MOST_CLASSES]
    rows: Rows = [["runs", "class", f"{metric} mean", "std", "n"]]
    for group, own in zip(groups, scores, strict=True):
        rows += [[group.label, name, statistics.fmean(v), spread(v), len(v)] for name, v in own.items()]

    def paint(axes: "Axes") -> None:
        lane = 0.7 / len(groups)
        for i, (group, own) in enumerate(zip(groups, scores, strict=True)):
            places = [(k - 0.35 + lane * (i + 0.5), own[name]) for k, name in enumerate(classes) if name in own]
            x, bars = [statistics.fmean(v) for _, v in places], [spread(v) or 0 for _, v in places]
            look: dict[str, Any] = {
                "fmt": marker(i),
                "color": colour(i),
                "elinewidth": 1,
                "markersize": 4.5,
                "label": group.label,
            }
            axes.errorbar(x, [place for place, _ in places], xerr=bars, **look)
        for k in range(1, len(classes), 2):
            axes.axhspan(k - 0.5, k + 0.5, color=GRID, alpha=0.35, linewidth=0)
        axes.set_yticks(range(len(classes)), [cut(name, 18) for name in classes])
        axes.set_ylim(len(classes) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel({"recall": "found, % of the class (recall)", "ap": "average precision", "f1": "F1"}[metric])

    caption = f"{arena.title}, hardest class first; {seeds(groups)}"
    caption += "; bars: ± 1 standard deviation over seeds." if any(group.n > 1 for group in groups) else "."
    caption += f" The {MOST_CLASSES} hardest of {len(means)} classes." if len(means) > MOST_CLASSES else ""
    height = 0.8 + max(0.27, 0.06 * len(groups)) * len(classes)
    yield draw(f"per-class-{arena.name}", "Class by class", caption, rows, paint, height=height, labels=len(groups))


def scores_of(group: Group, scale: float) -> dict[str, list[float]]:
    """The score of each class in each run of a group."""
    found: dict[str, list[float]] = {}
    for run in group.runs:
        for name, value in class_scores(run)[1].items():
            found.setdefault(name, []).append(scale * value)
    return found


def class_scores(run: Result) -> tuple[str, dict[str, float]]:
    """The name of the score in per_class.csv, and its value a class; "" and {} where there is none."""
    lines = read_rows(run.path / "per_class.csv")
    metric = next((name for name in ("recall", "ap", "f1") if lines and name in lines[0]), "")
    try:
        scores = {line[0]: float(line[lines[0].index(metric)]) for line in lines[1:] if metric}
    except (ValueError, IndexError):
        return "", {}
    return metric, {name: score for name, score in scores.items() if score >= 0}  # -1: COCO's sign of an absent class
