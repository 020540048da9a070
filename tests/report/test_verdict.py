"""Check the statistics against values computed by hand.

They are from tables of Student's t (0.95: 6.314, 2.920, 2.132 for 1, 2, 4 degrees of freedom; 0.975: 12.706, 4.303,
2.776) and of the binomial distribution.
"""

import math

import pytest

from src.report.verdict import (
    compute_interval,
    compute_mcnemar_p,
    compute_std,
    compute_welch_interval,
    count_seeds_to_match,
    judge_match,
    judge_order,
)


def test_one_seed_has_no_spread_and_decides_nothing() -> None:
    assert compute_std([8.75]) is None and compute_interval([8.75], 0.90) is None
    found = judge_match([8.75], 8.75, margin=0.35, better="lower")
    assert (found.word, found.reason, found.needed) == ("inconclusive", "one seed", None)
    assert judge_order([9.0], [8.0, 8.1]).word == "undecided"
    assert "one seed, as claimed" in str(judge_order([9.0], [8.0]))


def test_the_interval_of_two_three_and_five_seeds() -> None:
    # std of (0, 2) is sqrt 2, its error 1; of (1, 2, 3) 1 and 1/sqrt 3; of (1 ... 5) sqrt 2.5 and sqrt 0.5
    for values, half in (([0.0, 2.0], 6.314), ([1.0, 2.0, 3.0], 2.920 / 3**0.5), ([1.0, 2.0, 3.0, 4.0, 5.0], 1.5075)):
        mean = sum(values) / len(values)
        assert compute_interval(values, 0.90) == pytest.approx((mean - half, mean + half), abs=2e-3)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([8.75, 8.75, 8.75], "matches"),  # equal, without any spread
        ([8.70, 8.80, 8.75], "matches"),  # half width 2.920 * 0.05 / 1.732 = 0.084
        ([8.90, 9.00, 8.95], "matches"),  # 8.866 ... 9.034: not 8.75, yet within 0.35 of it
        ([9.20, 9.30, 9.25], "worse"),  # 9.166 ... 9.334 leaves 8.75 out and the margin
        ([8.20, 8.30, 8.25], "better"),
        ([8.35, 8.45, 8.40], "better"),  # 8.316 ... 8.484: half outside of the margin
        ([8.25, 9.25, 8.75], "inconclusive"),  # noisy: ± 0.84
        ([8.60, 8.90], "inconclusive"),  # two seeds: 6.314 * 0.15 = 0.947
        ([8.74, 8.76], "matches"),  # two seeds that agree: 0.063
        ([8.75, 8.65, 8.85, 8.70, 8.80], "matches"),  # 2.132 * 0.0791 / 2.236 = 0.075
        ([9.35, 8.15, 8.75, 8.45, 9.05], "inconclusive"),  # 2.132 * 0.474 / 2.236 = 0.452
    ],
)
def test_the_verdict_on_seeds(values: list[float], word: str) -> None:
    assert judge_match(values, 8.75, margin=0.35, better="lower").word == word
    opposite = {"better": "worse", "worse": "better"}.get(word, word)
    assert judge_match(values, 8.75, margin=0.35, better="higher").word == opposite


def test_a_wide_interval_around_the_published_value_is_no_match() -> None:
    """Indistinguishable is not equal: here the mean is exactly the published value, and yet nothing is decided."""
    found = judge_match([7.75, 9.75], 8.75, margin=0.35, better="lower")
    assert found.word == "inconclusive" and found.low == pytest.approx(8.75 - 6.314, abs=1e-3)
    # std 1.414: t * 1.414 / sqrt(n) <= 0.35 first where n = 46 (t of 45 is 1.6794: 0.3502) or 47 (1.6787: 0.3463)
    assert found.needed == 47


def test_the_seeds_needed_are_the_first_that_suffice() -> None:
    # distance 0.15, so 0.20 of the margin is left: std 0.2 needs t / sqrt n <= 1: n = 5 gives 0.953, n = 4 1.177
    assert count_seeds_to_match(0.2, 0.15, 0.35) == 5
    assert (
        count_seeds_to_match(0.2, 0.35, 0.35) == 3
    )  # at the margin itself, "worse" is what can be shown: 2.920 / 1.732 * 0.2
    assert count_seeds_to_match(100.0, 0.1, 0.35) is None
    values = [8.60, 9.00, 8.85]
    needed = judge_match(values, 8.75, margin=0.35, better="lower").needed
    assert needed is not None and needed > len(values)


def test_welch_on_unequal_spreads() -> None:
    # std 1 and 2 of three each: error sqrt(5/3) = 1.291, freedom (5/3)^2 / ((1/9 + 16/9) / 2) = 2.941, t about 3.215
    found = compute_welch_interval([9.0, 10.0, 11.0], [3.0, 5.0, 7.0])
    assert found is not None
    assert sum(found) / 2 == pytest.approx(5)
    assert (found[1] - found[0]) / 2 == pytest.approx(1.291 * 3.215, abs=0.02)
    # equal spreads are the t-test of four degrees of freedom: 2.776 * sqrt(2/3)
    assert compute_welch_interval([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == pytest.approx((-2.2666, 2.2666), abs=1e-3)


def test_the_order_of_a_claim() -> None:
    plain, residual = [13.0, 13.2, 13.1], [7.0, 7.1, 6.9]
    assert judge_order(plain, residual).word == "holds"
    assert judge_order(residual, plain).word == "reversed"
    near = judge_order([7.0, 7.4, 7.2], [7.0, 7.1, 6.9])
    assert near.word == "undecided" and near.needed is not None and near.needed > 3
    assert near.low is not None and near.high is not None and near.low < 0 < near.high
    assert judge_order([7.0, 7.1], [7.0, 7.1]).needed is None  # no number of seeds shows a difference that is none
    assert judge_order([2.0, 2.0], [1.0, 1.0]).word == "holds"


def test_mcnemar_is_the_sign_test_of_the_discordant() -> None:
    assert compute_mcnemar_p(0, 0) == 1 and compute_mcnemar_p(3, 3) == 1
    assert compute_mcnemar_p(0, 5) == compute_mcnemar_p(5, 0) == pytest.approx(2 / 2**5)
    assert compute_mcnemar_p(1, 9) == pytest.approx(2 * (1 + 10) / 2**10)
    assert compute_mcnemar_p(2, 4) == pytest.approx(2 * (1 + 6 + 15) / 2**6)
    many = compute_mcnemar_p(400, 500)  # (|400 - 500| - 1)^2 / 900 = 10.89: p 0.00097 by the approximation
    assert math.isclose(many, 0.00097, abs_tol=5e-5)
