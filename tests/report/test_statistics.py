"""Check every formula against statsmodels or scipy, and what they leave out against values computed by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from src.report.statistics import (
    Sample,
    adjust_holm,
    compute_bartlett_p,
    compute_difference,
    compute_interval,
    compute_mcnemar_p,
    compute_paired_difference,
    compute_std,
    compute_trend_p,
    pool_spread,
    summarize_values,
    weigh_looks,
)

A, B = [8.6, 8.9, 8.75, 8.8, 8.7], [9.3, 9.0, 9.6]


def test_differences_equal_those_of_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.weightstats import CompareMeans, ttost_ind

    found = compute_difference(summarize_values(A), summarize_values(B))
    theirs = CompareMeans.from_data(A, B)
    assert found is not None
    assert found.p == pytest.approx(theirs.ttest_ind(usevar="unequal")[1])
    assert found.compute_interval(0.95) == pytest.approx(theirs.tconfint_diff(0.05, usevar="unequal"))
    tost = ttost_ind(np.array(A), np.array(B), -1.0, 1.0, usevar="unequal")[0]
    assert found.compute_equivalence_p(1.0) == pytest.approx(tost)
    ps = [0.011, 0.8, 0.02, 0.0004, 0.02, 0.3]
    assert adjust_holm(ps) == pytest.approx(list(multipletests(ps, method="holm")[1]))
    assert adjust_holm([0.02, None, 0.04]) == [0.04, None, 0.04] and adjust_holm([]) == []
    # accuracy and 1 - error: one number, by the larger p
    assert adjust_holm([0.01, 0.02, 0.03], ["a", "a", "b"]) == pytest.approx([0.04, 0.04, 0.04])


def test_paired_pooled_and_spread_equal_those_of_scipy() -> None:
    pairs = compute_paired_difference(A[:3], B)
    assert pairs is not None and pairs.p == pytest.approx(stats.ttest_rel(A[:3], B).pvalue)
    samples = [summarize_values(values) for values in (A, B, [1.0, 4.0, 2.0], [3.0])]
    assert compute_bartlett_p(samples) == pytest.approx(stats.bartlett(A, B, [1.0, 4.0, 2.0]).pvalue)
    std, freedom = pool_spread(samples[:2])
    assert freedom == 6 and std == pytest.approx(math.sqrt((4 * stats.tvar(A) + 2 * stats.tvar(B)) / 6))
    # one run against five: Student's t with the spread of the five
    found = compute_difference(Sample(9.5, 1), summarize_values(A))
    assert found is not None and found.p == pytest.approx(stats.ttest_ind([9.5], A).pvalue)
    half = stats.t.ppf(0.975, 4) * stats.tstd(A) * math.sqrt(1 + 1 / 5)  # the prediction interval of a further run
    assert found.compute_interval(0.95) == pytest.approx((0.75 - half, 0.75 + half))
    known = compute_difference(Sample(1.0, 4, 0.2, math.inf), Sample(0.0, 1))
    assert known is not None and known.p == pytest.approx(2 * stats.norm.sf(1 / (0.2 * math.sqrt(1.25))))


def test_no_spread_is_no_certainty() -> None:
    assert compute_std([0.1] * 3) == 0 and compute_std([8.75]) is None and compute_interval([8.75], 0.90) is None
    assert compute_interval([1.0, 2.0, 3.0], 0.90) == pytest.approx((2 - 2.920 / 3**0.5, 2 + 2.920 / 3**0.5), abs=1e-3)
    assert summarize_values([0.1 + 0.2, 0.3]).std is None
    assert compute_difference(summarize_values([8.7, 8.7]), Sample(8.7, 1)) is None
    assert compute_paired_difference([1.0, 2.0], [0.0, 1.0]) is None and compute_bartlett_p([Sample(1, 1)] * 3) is None


def test_the_trend_test_counts_rising_pairs() -> None:
    # three groups of one run: 1 of 6 orders rises as much, 1 falls as much
    assert compute_trend_p([[1.0], [2.0], [3.0]]) == pytest.approx(2 / 6)
    # two groups are the exact test of Mann and Whitney
    a, b = [1.0, 2.5, 3.0, 7.0], [4.0, 5.0, 6.0, 8.0, 9.0]
    exact = stats.mannwhitneyu(a, b, method="exact").pvalue
    assert compute_trend_p([a, b]) == pytest.approx(exact)
    assert compute_trend_p([a, b]) == pytest.approx(compute_trend_p([b, a]))
    # of three groups of two, 90 arrangements: one rises in all 12 pairs, one falls
    assert compute_trend_p([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]) == pytest.approx(2 / 90)
    many = compute_trend_p([[i + j / 10 for j in range(4)] for i in range(4)])  # drawn, for there are 63 million
    assert many == pytest.approx(1 / 10_001)


def test_looks_share_the_five_percent() -> None:
    assert weigh_looks([3, 5, 7]) == pytest.approx([9 / 49, 16 / 49, 24 / 49]) and weigh_looks([]) == []
    assert sum(weigh_looks([2, 4, 9, 30])) == pytest.approx(1)


def test_mcnemar_is_the_sign_test_of_the_discordant() -> None:
    assert compute_mcnemar_p(0, 0) == 1 and compute_mcnemar_p(3, 3) == 1
    assert compute_mcnemar_p(0, 5) == compute_mcnemar_p(5, 0) == pytest.approx(2 / 2**5)
    assert compute_mcnemar_p(1, 9) == pytest.approx(stats.binomtest(1, 10).pvalue)
    assert compute_mcnemar_p(400, 500) == pytest.approx(stats.binomtest(400, 900).pvalue)
