"""Draw how right the networks are where they say how sure they are."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..groups import Arena, describe_seeds
from ..health import BINS, bin_confidences, collect_tested, compute_ece
from .plot import SOFT, Figure, draw_figure, get_colour, get_marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOGETHER = 5  # groups in a picture


FEWEST = 10  # images of a bin that is drawn


def draw_reliability(arena: Arena) -> Iterator[Figure]:
    """Draw accuracy against confidence for the groups of an arena that have predictions, pooled over seeds."""
    import numpy as np

    tested = collect_tested(arena.groups)[0][:TOGETHER]
    curves = []
    for each in tested:
        confidence = np.concatenate([found.confidence for found in each.predictions]).astype(np.float64)
        right = np.concatenate([found.prediction == found.label for found in each.predictions])
        curves.append(bin_confidences(confidence, right))
    if max(map(len, curves), default=0) < 2:  # a network that is always as sure makes no curve
        return
    labels = [
        f"{each.group.label}, ECE {100 * compute_ece(bins):.2f} %" for each, bins in zip(tested, curves, strict=True)
    ]
    rows: list[list[object]] = [["runs", "mean confidence", "accuracy", "images"]]
    rows += [
        [each.group.label, b.confidence, b.accuracy, b.n]
        for each, bins in zip(tested, curves, strict=True)
        for b in bins
    ]

    def paint(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.9, linestyle="--")
        for i, bins in enumerate(curves):
            many = [b for b in bins if b.n >= FEWEST]
            x, y = [b.confidence for b in many], [b.accuracy for b in many]
            axes.plot(x, y, f"{get_marker(i)}-", color=get_colour(i), label=labels[i])
        axes.set(xlabel="mean confidence", ylabel="fraction right", xlim=(0, 1.02), ylim=(0, 1.02))

    caption = (
        f"{arena.title}; the test images in {BINS} equal bins of confidence, those with {FEWEST} images or more, "
        f"pooled over seeds; {describe_seeds([each.group for each in tested])}. Below the dashed line a network is "
        "surer than it is right."
    )
    yield draw_figure(f"reliability-{arena.name}", "Reliability", caption, rows, paint, labels=len(curves))
