"""Judge what a few seeds can show: confidence intervals, and verdicts that claim no more than those allow.

A mean *matches* a published value only where its whole confidence interval lies within a margin of it (two one-sided
tests at 5 %, hence an interval of 90 %; Schuirmann 1987). Failing to distinguish two values is no match.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

TOST_LEVEL = 0.90  # two one-sided tests at 5 % each


ORDER_LEVEL = 0.95  # of a difference, for claims and comparisons


MOST_SEEDS = 1000  # nobody plans to train more


ROUNDING = 1e-9  # so that 8.75 - 0.35 contains 8.40


@dataclass(frozen=True)
class Verdict:
    """A verdict's word, its reason, its interval, and how many seeds would decide an open one."""

    word: str
    reason: str = ""
    low: float | None = None
    high: float | None = None
    needed: int | None = None

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}" if self.reason else self.word


def compute_quantile(level: float, freedom: float) -> float:
    """Return how many standard errors to each side contain `level` of Student's t with these degrees of freedom."""
    from scipy.special import stdtrit  # scipy.stats would take a second to import

    return float(stdtrit(freedom, 0.5 + level / 2))


def compute_std(values: Sequence[float]) -> float | None:
    """Return the standard deviation over seeds (n - 1 in the denominator); None for one seed."""
    return statistics.stdev(values) if len(values) > 1 else None


def compute_interval(values: Sequence[float], level: float) -> tuple[float, float] | None:
    """Return the confidence interval of the mean by Student's t; None for one value."""
    std = compute_std(values)
    if std is None:
        return None
    mean, half = statistics.fmean(values), compute_quantile(level, len(values) - 1) * std / math.sqrt(len(values))
    return mean - half, mean + half


def judge_match(values: Sequence[float], published: float, *, margin: float, better: str) -> Verdict:
    """Judge our seeds against a published value: matches, better, worse or inconclusive.

    `margin` is the distance that still counts as the same, in the values' unit; `better` is "lower" or "higher".
    """
    bounds = compute_interval(values, TOST_LEVEL)
    if bounds is None:
        return Verdict("inconclusive", "one seed")
    low, high = bounds
    if published - margin - ROUNDING <= low and high <= published + margin + ROUNDING:
        return Verdict("matches", low=low, high=high)
    if not low <= published <= high:
        return Verdict("better" if (high < published) == (better == "lower") else "worse", low=low, high=high)
    std, distance = compute_std(values) or 0.0, abs(statistics.fmean(values) - published)
    needed = count_seeds_to_match(std, distance, margin)
    return Verdict("inconclusive", describe_need(len(values), needed), low, high, needed)


def count_seeds_to_match(std: float, distance: float, margin: float) -> int | None:
    """Return how many seeds would decide a match if mean and standard deviation stayed the same.

    The interval is then narrow enough to lie within the margin, or to exclude the published value. None where even
    `MOST_SEEDS` would not be enough.
    """
    allowed = max(margin - distance, distance)
    enough = (
        n for n in range(2, MOST_SEEDS + 1) if compute_quantile(TOST_LEVEL, n - 1) * std / math.sqrt(n) <= allowed
    )
    return next(enough, None)


def compute_welch_interval(
    a: Sequence[float], b: Sequence[float], level: float = ORDER_LEVEL
) -> tuple[float, float] | None:
    """Return Welch's confidence interval of mean(a) - mean(b); None where one of them is a single value."""
    if min(len(a), len(b)) < 2:
        return None
    distance = statistics.fmean(a) - statistics.fmean(b)
    half = compute_welch_half_width(compute_std(a) or 0.0, len(a), compute_std(b) or 0.0, len(b), level)
    return distance - half, distance + half


def compute_welch_half_width(std_a: float, n_a: int, std_b: float, n_b: int, level: float) -> float:
    """Return half the width of Welch's interval, from standard deviations and numbers of values."""
    a, b = std_a**2 / n_a, std_b**2 / n_b
    if a + b == 0:
        return 0.0
    freedom = (a + b) ** 2 / (a**2 / (n_a - 1) + b**2 / (n_b - 1))
    return compute_quantile(level, freedom) * math.sqrt(a + b)


def judge_order(higher: Sequence[float], lower: Sequence[float]) -> Verdict:
    """Judge the claim that `higher` has the larger mean: holds, reversed or undecided."""
    distance = statistics.fmean(higher) - statistics.fmean(lower)
    seen = "as claimed" if distance > 0 else "the other way round" if distance < 0 else "no difference"
    bounds = compute_welch_interval(higher, lower)
    if bounds is None:
        return Verdict("undecided", f"one seed, {seen}")
    if bounds[0] > 0:
        return Verdict("holds", low=bounds[0], high=bounds[1])
    if bounds[1] < 0:
        return Verdict("reversed", low=bounds[0], high=bounds[1])
    needed = count_seeds_to_order(compute_std(higher) or 0.0, compute_std(lower) or 0.0, abs(distance))
    return Verdict("undecided", f"{seen}, {describe_need(min(len(higher), len(lower)), needed)}", *bounds, needed)


def count_seeds_to_order(std_a: float, std_b: float, distance: float) -> int | None:
    """Return how many seeds on each side would decide an order if means and standard deviations stayed the same.

    None where even `MOST_SEEDS` would not be enough.
    """
    enough = (
        n for n in range(2, MOST_SEEDS + 1) if compute_welch_half_width(std_a, n, std_b, n, ORDER_LEVEL) < distance
    )
    return next(enough, None)


def describe_need(have: int, needed: int | None) -> str:
    """Return in words how many seeds there are and how many would decide."""
    return f"n = {have}, about {needed} needed" if needed else f"n = {have}, more than {MOST_SEEDS} needed"


def compute_mcnemar_p(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p of McNemar's test that two classifiers err equally often.

    `only_a` and `only_b` count the samples that only one of them gets right. Under that hypothesis each of these is a
    fair coin, so this is the sign test and needs no approximation.
    """
    from scipy.special import bdtr

    tosses = only_a + only_b
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), tosses, 0.5))) if tosses else 1.0
