"""Seeded, class-wise choices of samples: the validation cut and the limited training set.

Both are prefixes of an order of the samples: sizes are exact, and a smaller choice is part of a larger one.
"""

import numpy as np
from numpy.typing import NDArray

from src.errors import UserError

Index = NDArray[np.int64]


def interleaved(labels: Index, seed: int, *, proportional: bool) -> Index:
    """An order [N] of the samples in which each prefix holds the classes evenly.

    ``proportional`` keeps the classes' shares (a stratified prefix); otherwise each class gives equally many
    samples for as long as it has some (a balanced prefix).
    """
    rng = np.random.RandomState(seed)  # its stream is frozen across NumPy's versions, unlike default_rng's
    key = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place = np.arange(len(members)) + 0.5
        key[rng.permutation(members)] = place / len(members) if proportional else place
    return np.argsort(key, kind="stable")


def cut(labels: Index, fraction: float, seed: int) -> tuple[Index, Index]:
    """Sorted indices (kept, cut off) with exactly round(fraction * N) cut off, stratified by class."""
    count = round(fraction * len(labels))
    order = interleaved(labels, seed, proportional=True)
    return np.sort(order[count:]), np.sort(order[:count])


def limited(labels: Index, limit: float, seed: int, *, proportional: bool = False) -> Index:
    """Sorted indices of a class-balanced part: a share of the samples (limit <= 1) or a number of them.

    ``proportional`` keeps the classes' shares instead.
    Raises UserError where the limit asks for no image, for a broken number, or for more than there are.
    """
    count = round(limit * len(labels)) if limit <= 1 else int(limit)
    if limit > 1 and count != limit:
        raise UserError(f"data.limit_train={limit}: above 1 it is a number of images, so a whole number")
    if not 1 <= count <= len(labels):
        raise UserError(f"data.limit_train={limit:g} asks for {count} of {len(labels)} training images")
    return np.sort(interleaved(labels, seed, proportional=proportional)[:count])
