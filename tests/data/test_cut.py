"""The validation cut and the limited training set: exact, stratified, nested, fixed."""

import numpy as np
import pytest

from src.data.cut import hold_out, limit_samples
from src.errors import UserError

LABELS = np.random.RandomState(0).permutation(np.repeat(np.arange(4), [10, 50, 101, 300]))


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.2505, 0.5])
def test_the_cut_is_exact_stratified_and_a_partition(fraction: float):
    kept, off = hold_out(LABELS, fraction, seed=0)
    assert len(off) == round(fraction * len(LABELS))
    assert sorted([*kept, *off]) == list(range(len(LABELS)))
    assert np.abs(np.bincount(LABELS[off], minlength=4) - fraction * np.bincount(LABELS)).max() <= 1
    assert (np.diff(kept) > 0).all()
    assert (np.diff(off) > 0).all(), "the order of evaluation is the set's own"


def test_the_cut_is_fixed_by_its_seed():
    np.random.seed(5)
    assert hold_out(np.repeat([0, 1], 10), 0.2, seed=0)[1].tolist() == [2, 8, 13, 15]
    assert (
        hold_out(LABELS, 0.1, 0)[1].tolist()
        == hold_out(LABELS, 0.1, 0)[1].tolist()
        != hold_out(LABELS, 0.1, 1)[1].tolist()
    )


def test_limits_are_balanced_and_nested():
    small, large = limit_samples(LABELS, 20, seed=0), limit_samples(LABELS, 100, seed=0)
    assert np.bincount(LABELS[small]).tolist() == [5, 5, 5, 5]
    assert np.bincount(LABELS[large]).tolist() == [10, 30, 30, 30], "a small class gives what it has"
    assert set(small) < set(large)
    assert len(limit_samples(LABELS, 0.5, seed=0)) == round(0.5 * len(LABELS))
    assert len(limit_samples(LABELS, 1, seed=0)) == len(LABELS), "1 is the whole share, not one image"


@pytest.mark.parametrize(("limit", "words"), [(462, "462 of 461"), (10.5, "whole number"), (0.0001, "0 of 461")])
def test_an_impossible_limit_is_refused(limit: float, words: str):
    with pytest.raises(UserError, match=words):
        limit_samples(LABELS, limit, seed=0)
