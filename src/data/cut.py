"""Choose samples class by class from a seed: the held-out validation split and the limited training set.

Both are prefixes of one order of the samples, so sizes are exact and a smaller choice is part of a larger one.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..config.data import DataConfig
from ..errors import UserError
from .raw import Raw, Split

Index = NDArray[np.int64]


def interleave_classes(labels: Index, seed: int, *, proportional: bool) -> Index:
    """Return an order [N] of the samples in which each prefix holds the classes evenly.

    With ``proportional`` a prefix keeps the class fractions (it is stratified); otherwise each class gives equally many
    samples for as long as it has some (it is balanced).
    """
    rng = np.random.RandomState(seed)  # its numbers are frozen across NumPy's versions, unlike default_rng's
    key = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place = np.arange(len(members)) + 0.5
        key[rng.permutation(members)] = place / len(members) if proportional else place
    return np.argsort(key, kind="stable")


def hold_out(labels: Index, fraction: float, seed: int) -> tuple[Index, Index]:
    """Split the samples into sorted indices (kept, held out), stratified by class; round(fraction * N) are held out."""
    count = round(fraction * len(labels))
    order = interleave_classes(labels, seed, proportional=True)
    return np.sort(order[count:]), np.sort(order[:count])


def hold_out_groups(labels: Index, groups: Sequence[str], fraction: float, seed: int) -> tuple[Index, Index]:
    """Split the samples as ``hold_out`` does, but by whole groups, stratified by each group's most frequent class.

    As many groups are held out as come closest to ``fraction``; the last group that a class has is kept. Raises
    UserError where that leaves nothing to hold out.
    """
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.zeros((len(names), int(labels.max(initial=0)) + 1), dtype=np.int64)
    np.add.at(counts, (group, labels), 1)
    target, left, taken = round(fraction * len(labels)), counts.sum(axis=0), 0
    chosen = np.zeros(len(names), dtype=bool)
    for k in interleave_classes(counts.argmax(axis=1), seed, proportional=True).tolist():
        size = int(counts[k].sum())
        empties = ((left - counts[k] == 0) & (counts[k] > 0)).any()
        if not empties and abs(taken + size - target) < abs(taken - target):
            chosen[k], taken, left = True, taken + size, left - counts[k]
    if not chosen.any() and target:
        raise UserError(
            f"data.group: {len(names)} groups are too few, or too large, to hold out {fraction:.0%} of the pictures as "
            "whole groups; lower data.test_fraction or data.val_fraction, or give the splits yourself"
        )
    held = chosen[group]
    return np.flatnonzero(~held), np.flatnonzero(held)


def limit_samples(labels: Index, limit: float, seed: int, *, proportional: bool = False) -> Index:
    """Return the sorted indices of a class-balanced subset: a fraction of the samples (limit <= 1) or a number of them.

    ``proportional`` keeps the class fractions instead.
    Raises UserError where the limit asks for no image, is above 1 but not whole, or asks for more than there are.
    """
    count = round(limit * len(labels)) if limit <= 1 else int(limit)
    if limit > 1 and count != limit:
        raise UserError(f"data.limit_train={limit}: above 1 it is a number of images, so a whole number")
    if not 1 <= count <= len(labels):
        raise UserError(f"data.limit_train={limit:g} asks for {count} of {len(labels)} training images")
    return np.sort(interleave_classes(labels, seed, proportional=proportional)[:count])


def make_splits(raw: Raw, config: DataConfig) -> dict[str, Split]:
    """Return the splits train, test and, unless val_fraction is 0, val: the set's own, or held out from train."""
    splits = {"train": raw.train, "test": raw.test}
    if config.val_fraction > 0:
        if raw.val is not None:
            splits["val"] = raw.val
        else:
            labels, groups = raw.train.labels, raw.train.groups
            if groups is None:
                kept, held_out = hold_out(labels, config.val_fraction, config.split_seed)
            else:
                kept, held_out = hold_out_groups(labels, groups.tolist(), config.val_fraction, config.split_seed)
            splits["train"], splits["val"] = raw.train.take(kept), raw.train.take(held_out)
    if config.limit_train is not None:
        chosen = limit_samples(splits["train"].labels, config.limit_train, config.split_seed)
        splits["train"] = splits["train"].take(chosen)
    for name, split in splits.items():
        if not len(split):
            raise UserError(
                f"data={config.name}: no {name} images are left; look at data.val_fraction and data.classes"
            )
    return splits
