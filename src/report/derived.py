"""Numbers of a run that results.json does not hold: gaps, depths, and how soon a run got where it was going."""

import math
import re
from collections.abc import Mapping, Sequence

CONVERGED = 0.005  # within half a point of the final validation accuracy


LEVEL = re.compile(r"epochs_to/(train|val)/(\d+(?:\.\d+)?)")


History = Sequence[Mapping[str, float]]


def read_level(metric: str) -> tuple[str, float] | None:
    """Return the split and the accuracy of epochs_to/<split>/<percent>; None for another metric."""
    found = LEVEL.fullmatch(metric)
    return (found[1], float(found[2]) / 100) if found else None


def count_epochs_to_level(history: History, split: str, accuracy: float) -> float | None:
    """Return the first epoch of at least this accuracy; one more than all epochs where none has it.

    So a run that never gets there is behind every run that does, by less than it truly is. None without accuracies.
    """
    known = [row[f"{split}/accuracy"] for row in history if f"{split}/accuracy" in row]
    if not known:
        return None
    reached = (epoch for epoch, value in enumerate(known, 1) if value >= accuracy)
    return float(next(reached, len(known) + 1))


def count_epochs_to_convergence(history: History) -> float | None:
    """Return the first epoch no more than half a point below the final validation accuracy."""
    accuracies = [row.get("val/accuracy", math.nan) for row in history]
    reached = (epoch for epoch, value in enumerate(accuracies, 1) if value >= accuracies[-1] - CONVERGED)
    return next((float(epoch) for epoch in reached), None)
