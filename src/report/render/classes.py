"""Draw figures of single classes: which are confused, and how well each is recognized."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..groups import Arena, Group, describe_seeds
from ..result import Result, read_table
from ..verdict import compute_std
from .plot import GRID, INK, Figure, draw_figure, get_colour, get_marker, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLASSES = 20  # of a matrix or a list of classes


MOST_MATRICES = 6  # of an arena


Matrix = list[list[float]]


Rows = list[list[object]]


def draw_confusion(arena: Arena) -> Iterator[Figure]:
    """Draw a confusion matrix for each group, as fractions of the true class and as the mean over seeds."""
    for i, group in enumerate(arena.groups[:MOST_MATRICES]):
        found = [matrix for run in group.runs if (matrix := read_confusion_matrix(run))]
        found = [matrix for matrix in found if matrix[0] == found[0][0]]
        if not found:
            continue
        classes, size = found[0][0], range(len(found[0][0]))
        fractions = [[statistics.fmean(matrix[a][b] for _, matrix in found) for b in size] for a in size]
        rows: Rows = [
            ["true \\ predicted", *classes],
            *([name, *row] for name, row in zip(classes, fractions, strict=True)),
        ]
        caption = f"{group.label}; {arena.title}; % of the true class, mean over n = {len(found)}."
        paint, height = make_matrix_painter(classes, fractions), 1.1 + 0.27 * len(classes)
        if len(classes) > MOST_CLASSES:
            paint, height = make_pairs_painter(classes, fractions), 0.9 + 0.22 * MOST_CLASSES
            caption += f" The {MOST_CLASSES} most frequent confusions of {len(classes)} classes."
        name = f"confusion-{arena.name}-{i}"
        yield draw_figure(name, f"Confusion, {group.model}", caption, rows, paint, height=height)


def read_confusion_matrix(run: Result) -> tuple[list[str], Matrix] | None:
    """Read the names of the classes, and rows that sum to 1 (or are all 0); None where the file is missing or damaged.

    A row is a true class, a column a predicted one.
    """
    lines = read_table(run.path / "confusion_matrix.csv")
    try:
        classes, counts = lines[0][1:], [[float(count) for count in line[1:]] for line in lines[1:]]
    except (ValueError, IndexError):
        return None
    if not classes or {len(row) for row in counts} != {len(classes)} or len(counts) != len(classes):
        return None
    return classes, [[count / (sum(row) or 1) for count in row] for row in counts]


def make_matrix_painter(classes: Sequence[str], fractions: Matrix) -> Callable[["Axes"], None]:
    """Make a painter of squares, stronger for larger fractions, with right answers and mistakes in two colours."""

    def paint(axes: "Axes") -> None:
        from matplotlib.patches import Rectangle

        size = len(classes)
        for a, row in enumerate(fractions):
            for b, value in enumerate(row):
                if value < 0.0005:
                    continue
                tint, strength = get_colour(0 if a == b else 1), value if a == b else min(1.0, 4 * value) ** 0.7
                corner, alpha = (b - 0.47, a - 0.47), 0.08 + 0.62 * strength
                axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=tint, alpha=alpha, linewidth=0))
                text = f"{100 * value:.0f}" if value >= 0.1 else f"{100 * value:.1f}"
                axes.text(b, a, text, ha="center", va="center", fontsize=7 if size <= 12 else 5, color=INK)
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), xlabel="predicted", ylabel="true")
        names = [shorten(name, 14) for name in classes]
        axes.set_xticks(range(size), names, rotation=90 if max(map(len, names)) > 2 else 0)
        axes.set_yticks(range(size), names)
        axes.grid(visible=False)
        axes.tick_params(length=0)

    return paint


def make_pairs_painter(classes: Sequence[str], fractions: Matrix) -> Callable[["Axes"], None]:
    """Make a painter of the most frequent confusions as bars, for a matrix with too many cells to read."""
    size = range(len(classes))
    pairs = sorted(((fractions[a][b], a, b) for a in size for b in size if a != b), reverse=True)[:MOST_CLASSES]

    def paint(axes: "Axes") -> None:
        axes.barh(range(len(pairs)), [100 * value for value, _, _ in pairs], color=get_colour(1), height=0.65)
        names = [f"{shorten(classes[a], 16)} → {shorten(classes[b], 16)}" for _, a, b in pairs]
        axes.set_yticks(range(len(pairs)), names)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("taken for the other, % of the true class")

    return paint


def draw_per_class(arena: Arena, most: int = 8) -> Iterator[Figure]:
    """Draw the score of each class, one mark for each group; of many classes, the hardest."""
    groups = [group for group in arena.groups if any(read_class_scores(run)[1] for run in group.runs)][:most]
    if not groups:
        return
    metric = next(name for group in groups for run in group.runs if (name := read_class_scores(run)[0]))
    scores = [collect_class_scores(group, 100 if metric == "recall" else 1) for group in groups]
    names = dict.fromkeys(name for own in scores for name in own)
    means = {name: statistics.fmean(v for own in scores for v in own.get(name, [])) for name in names}
    classes = sorted(means, key=lambda name: means[name])[:MOST_CLASSES]
    rows: Rows = [["runs", "class", f"{metric} mean", "std", "n"]]
    for group, own in zip(groups, scores, strict=True):
        rows += [[group.label, name, statistics.fmean(v), compute_std(v), len(v)] for name, v in own.items()]

    def paint(axes: "Axes") -> None:
        lane = 0.7 / len(groups)
        for i, (group, own) in enumerate(zip(groups, scores, strict=True)):
            places = {name: k - 0.35 + lane * (i + 0.5) for k, name in enumerate(classes) if name in own}
            x, bars = [statistics.fmean(own[name]) for name in places], [compute_std(own[name]) or 0 for name in places]
            y, mark, tint = list(places.values()), get_marker(i), get_colour(i)
            axes.errorbar(x, y, xerr=bars, fmt=mark, color=tint, elinewidth=1, markersize=4.5, label=group.label)
        for k in range(1, len(classes), 2):
            axes.axhspan(k - 0.5, k + 0.5, color=GRID, alpha=0.35, linewidth=0)
        axes.set_yticks(range(len(classes)), [shorten(name, 18) for name in classes])
        axes.set_ylim(len(classes) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel({"recall": "found, % of the class (recall)", "ap": "average precision", "f1": "F1"}[metric])

    caption = f"{arena.title}, hardest class first; {describe_seeds(groups)}"
    caption += "; bars: ± 1 standard deviation over seeds." if any(group.n > 1 for group in groups) else "."
    caption += f" The {MOST_CLASSES} hardest of {len(means)} classes." if len(means) > MOST_CLASSES else ""
    height, name = 0.8 + max(0.27, 0.06 * len(groups)) * len(classes), f"per-class-{arena.name}"
    yield draw_figure(name, "Class by class", caption, rows, paint, height=height, labels=len(groups))


def collect_class_scores(group: Group, scale: float) -> dict[str, list[float]]:
    """Collect the scores of each class over the runs of a group."""
    found: dict[str, list[float]] = {}
    for run in group.runs:
        for name, value in read_class_scores(run)[1].items():
            found.setdefault(name, []).append(scale * value)
    return found


def read_class_scores(run: Result) -> tuple[str, dict[str, float]]:
    """Read the name of the score in per_class.csv and its value for each class; "" and {} where there is none."""
    lines = read_table(run.path / "per_class.csv")
    metric = next((name for name in ("recall", "ap", "f1") if lines and name in lines[0]), "")
    try:
        scores = {line[0]: float(line[lines[0].index(metric)]) for line in lines[1:] if metric}
    except (ValueError, IndexError):
        return "", {}
    return metric, {name: score for name, score in scores.items() if score >= 0}  # COCO marks absent classes by -1
