"""Find the metrics that a predictor without any eye for the images scores well in, for these judge nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from .groups import Group
from .result import Result, read_csv


@dataclass(frozen=True)
class Constant:
    """A constant answer and its score, in [0, 1]; None where nobody has counted it."""

    answer: str
    score: float | None


def find_constant(group: Group, metric: str) -> Constant | None:
    """Return the best constant answer to a metric of a multi-label task; None where that is no concern or unknown.

    No label at all is right for every label that is absent, and every label at once misses none that is there.
    """
    split, _, name = metric.partition("/")
    if group.task != "multilabel" or not split:
        return None
    if name == "micro_recall":
        return Constant("every label at once", 1.0)
    if name not in ("accuracy", "recall", "recall_occurring"):
        return None
    present = count_present(group.runs)
    if name == "accuracy":
        return Constant("no label at all", None if present is None else 1 - present[0])
    return Constant("every label at once", None if present is None else present[1])  # 0 of a class that is absent


def count_present(runs: Sequence[Result]) -> tuple[float, float] | None:
    """Return which fraction of the test images' labels is present, and of the classes; None where no run says so."""
    for run in runs:
        lines, images = read_csv(run.path / "per_class.csv"), run.content.get("n_test")
        try:
            place = lines[0].index("positives")
            positives = [float(line[place]) for line in lines[1:]]
        except (ValueError, IndexError):
            continue
        if positives and isinstance(images, int) and images > 0:
            return sum(positives) / (images * len(positives)), sum(map(bool, positives)) / len(positives)
    return None
