"""What the tests of one case have found, and what more seeds would find."""

import math
from bisect import bisect_left
from dataclasses import dataclass, replace

from .statistics import Difference, Sample, compute_difference

SIGNIFICANT = 0.05  # of each family of tests


MOST_SEEDS = 1000  # nobody plans to train more


@dataclass(frozen=True)
class Evidence:
    """What the tests of a case found: two samples, their difference, and p values that allow for all looks so far."""

    ours: Sample
    theirs: Sample
    difference: Difference | None
    share: float = 1.0  # of the 5 % that the last look may spend
    p: float | None = None
    match_p: float | None = None
    gain: float = 1.0  # the fraction by which a further seed would narrow the interval
    ended: bool = False  # for the gain is too small

    @property
    def single(self) -> bool:
        """Tell whether one side is a single run."""
        return min(self.ours.n, self.theirs.n) == 1


def measure_width(difference: Difference | None) -> float:
    """Return the width of the 95 % interval; infinite where there is none."""
    low, high = (0.0, math.inf) if difference is None else difference.compute_interval(1 - SIGNIFICANT)
    return high - low


def extend(found: Evidence, n: int, *, grows: bool) -> Difference:
    """Return the difference that `n` seeds would find if means and spreads stayed as they are.

    The other side `grows` with ours where it is runs of ours, too.
    """

    def add(sample: Sample) -> Sample:
        more = max(n, sample.n)
        return replace(sample, n=more, freedom=sample.freedom * (more - 1) / max(1, sample.n - 1))

    difference = compute_difference(add(found.ours), add(found.theirs) if grows else found.theirs)
    assert difference is not None
    return difference


def count_seeds(found: Evidence, margin: float | None, tests: int, *, grows: bool) -> int | None:
    """Return how many seeds would decide if means and spreads stayed as they are, among so many tests.

    None where even `MOST_SEEDS` would not be enough, as where the published spread alone is too wide.
    """

    def decides(n: int) -> bool:
        difference = extend(found, n, grows=grows)
        match_p = 1.0 if margin is None else difference.compute_equivalence_p(margin)
        return tests * min(difference.p, match_p) <= SIGNIFICANT

    possible = range(found.ours.n + 1, MOST_SEEDS + 1)
    place = bisect_left(possible, True, key=decides)
    return possible[place] if place < len(possible) else None


def compute_gain(found: Evidence, *, grows: bool) -> float:
    """Return the fraction by which a further seed would narrow the 95 % interval; 1 where there is one run."""
    if found.difference is None or found.ours.n < 2:
        return 1.0
    return 1 - measure_width(extend(found, found.ours.n + 1, grows=grows)) / measure_width(found.difference)


def describe_need(have: int, needed: int | None) -> str:
    """Return in words how many seeds there are and how many would decide."""
    return f"n = {have}, about {needed} needed" if needed else f"n = {have}, more than {MOST_SEEDS} needed"
