"""Numbers of a run that results.json does not hold: gaps, depths, and how soon a run got where it was going."""

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
    known = list_points(history, f"{split}/accuracy")
    reached = (epoch for epoch, value in known if value >= accuracy)
    return next(reached, known[-1][0] + 1) if known else None


def count_epochs_to_convergence(history: History) -> float | None:
    """Return the first epoch no more than half a point below the final validation accuracy."""
    known = list_points(history, "val/accuracy")
    return next((epoch for epoch, value in known if value >= known[-1][1] - CONVERGED), None)


def list_points(history: History, name: str) -> list[tuple[float, float]]:
    """List the epochs that have a number, each with it; rows of a resumed run may be unknown."""
    return [(row.get("epoch", float(i)), row[name]) for i, row in enumerate(history, 1) if name in row]
