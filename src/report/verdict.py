"""What a few seeds can say: means with intervals, and verdicts that claim no more than those allow.

A mean *matches* a published value only where its whole confidence interval lies within a margin of it (two one-sided
tests at 5 %, hence an interval of 90 %; Schuirmann 1987). Not being able to tell two values apart is no match.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

TOST_LEVEL = 0.90  # two one-sided tests at 5 % each


ORDER_LEVEL = 0.95  # of a difference, for claims and comparisons


MOST_SEEDS = 1000  # beyond it, "how many more" is no plan


ROUNDING = 1e-9  # so that 8.75 - 0.35 contains 8.40


@dataclass(frozen=True)
class Verdict:
    """A word, why, the interval behind it, and how many seeds would decide where these did not."""

    word: str
    reason: str = ""
    low: float | None = None
    high: float | None = None
    needed: int | None = None

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}" if self.reason else self.word


def quantile(level: float, freedom: float) -> float:
    """How many standard errors to each side hold `level` of Student's t with so many degrees of freedom."""
    from scipy.special import stdtrit  # scipy.stats would take a second to import

    return float(stdtrit(freedom, 0.5 + level / 2))


def spread(values: Sequence[float]) -> float | None:
    """The standard deviation over seeds (n - 1 in the denominator); one seed has none."""
    return statistics.stdev(values) if len(values) > 1 else None


def interval(values: Sequence[float], level: float) -> tuple[float, float] | None:
    """The confidence interval of the mean by Student's t, or None of one value."""
    std = spread(values)
    if std is None:
        return None
    mean, half = statistics.fmean(values), quantile(level, len(values) - 1) * std / math.sqrt(len(values))
    return mean - half, mean + half


def judge(values: Sequence[float], published: float, *, margin: float, better: str) -> Verdict:
    """Our seeds against a published value: matches, better, worse or inconclusive.

    margin: how far off still counts as the same; better: "lower" or "higher". All in the values' unit.
    """
    bounds = interval(values, TOST_LEVEL)
    if bounds is None:
        return Verdict("inconclusive", "one seed")
    low, high = bounds
    if published - margin - ROUNDING <= low and high <= published + margin + ROUNDING:
        return Verdict("matches", low=low, high=high)
    if not low <= published <= high:
        return Verdict("better" if (high < published) == (better == "lower") else "worse", low=low, high=high)
    std, distance = spread(values) or 0.0, abs(statistics.fmean(values) - published)
    needed = seeds_to_match(std, distance, margin)
    return Verdict("inconclusive", more(len(values), needed), low, high, needed)


def seeds_to_match(std: float, distance: float, margin: float) -> int | None:
    """The seeds that would decide if mean and standard deviation stayed: the interval then lies inside of the margin,
    or leaves the published value out. None where a thousand would not."""
    allowed = max(margin - distance, distance)
    within = (n for n in range(2, MOST_SEEDS + 1) if quantile(TOST_LEVEL, n - 1) * std / math.sqrt(n) <= allowed)
    return next(within, None)


def difference(a: Sequence[float], b: Sequence[float], level: float = ORDER_LEVEL) -> tuple[float, float] | None:
    """Welch's confidence interval of mean(a) - mean(b); None where one of them is a single value."""
    if min(len(a), len(b)) < 2:
        return None
    apart = statistics.fmean(a) - statistics.fmean(b)
    half = welch_half(spread(a) or 0.0, len(a), spread(b) or 0.0, len(b), level)
    return apart - half, apart + half


def welch_half(std_a: float, n_a: int, std_b: float, n_b: int, level: float) -> float:
    """Half of the width of Welch's interval, from standard deviations and numbers of values."""
    a, b = std_a**2 / n_a, std_b**2 / n_b
    if a + b == 0:
        return 0.0
    freedom = (a + b) ** 2 / (a**2 / (n_a - 1) + b**2 / (n_b - 1))
    return quantile(level, freedom) * math.sqrt(a + b)


def order(higher: Sequence[float], lower: Sequence[float]) -> Verdict:
    """The claim that `higher` has the larger mean: holds, reversed or undecided."""
    apart = statistics.fmean(higher) - statistics.fmean(lower)
    seen = "as claimed" if apart > 0 else "the other way round" if apart < 0 else "no difference"
    bounds = difference(higher, lower)
    if bounds is None:
        return Verdict("undecided", f"one seed, {seen}")
    if bounds[0] > 0:
        return Verdict("holds", low=bounds[0], high=bounds[1])
    if bounds[1] < 0:
        return Verdict("reversed", low=bounds[0], high=bounds[1])
    needed = seeds_to_order(spread(higher) or 0.0, spread(lower) or 0.0, abs(apart))
    return Verdict("undecided", f"{seen}, {more(min(len(higher), len(lower)), needed)}", *bounds, needed)


def seeds_to_order(std_a: float, std_b: float, distance: float) -> int | None:
    """The seeds on each side that would decide if means and standard deviations stayed; None where 1000 would not."""
    enough = (n for n in range(2, MOST_SEEDS + 1) if welch_half(std_a, n, std_b, n, ORDER_LEVEL) < distance)
    return next(enough, None)


def more(have: int, needed: int | None) -> str:
    """How many seeds are missing, in words."""
    return f"n = {have}, about {needed} needed" if needed else f"n = {have}, more than {MOST_SEEDS} needed"


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided p that two classifiers err equally often, from the samples that only one of them gets right.

    Of those, each is a fair coin under that hypothesis, so this is the sign test; no approximation is needed.
    """
    from scipy.special import bdtr

    tosses = only_a + only_b
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), tosses, 0.5))) if tosses else 1.0
