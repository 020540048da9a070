"""Every formula that a verdict rests on; docs/verdicts.md explains them, tests hold them against statsmodels.

Runs that differ in their seed alone are taken as independent draws from a normal distribution.
"""

import math
import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache

SPENDING = 2.0  # the looks up to n of N seeds may spend (n / N)^2 of the 5 %


EARLY = 0.9  # of what is left of it, a look may spend that at which a plan ends early; 1 would call 5.3 % of tables


ARRANGEMENTS = 10_000  # a permutation test looks at all of them up to here, and else at as many drawn ones


@dataclass(frozen=True)
class Sample:
    """The mean of `n` runs and their standard deviation, which was estimated with `freedom` degrees of freedom.

    `std` is None where the runs show no spread: for one run, or where all gave the same number.
    """

    mean: float
    n: int
    std: float | None = None
    freedom: float = 0.0


@dataclass(frozen=True)
class Difference:
    """A difference of two means, its standard error, and the degrees of freedom of that."""

    value: float
    error: float
    freedom: float

    @property
    def p(self) -> float:
        """The two-sided p of the hypothesis that there is no difference (Welch's t-test)."""
        return 2 * compute_tail(abs(self.value) / self.error, self.freedom)

    def compute_equivalence_p(self, margin: float) -> float:
        """Return the p of the hypothesis that the difference is as large as `margin`: two one-sided t-tests."""
        return compute_tail((margin - abs(self.value)) / self.error, self.freedom)

    def compute_interval(self, level: float) -> tuple[float, float]:
        """Return the confidence interval; around one run it is the prediction interval of a further one."""
        half = compute_quantile(level, self.freedom) * self.error
        return self.value - half, self.value + half


def compute_quantile(level: float, freedom: float) -> float:
    """Return how many standard errors to each side contain `level` of Student's t with these degrees of freedom."""
    from scipy.special import ndtri, stdtrit  # scipy.stats would take a second to import

    return float(stdtrit(freedom, 0.5 + level / 2) if math.isfinite(freedom) else ndtri(0.5 + level / 2))


def compute_tail(t: float, freedom: float) -> float:
    """Return the probability that Student's t exceeds `t`."""
    from scipy.special import ndtr, stdtr

    return float(stdtr(freedom, -t) if math.isfinite(freedom) else ndtr(-t))


def compute_std(values: Sequence[float]) -> float | None:
    """Return the standard deviation over seeds (n - 1 in the denominator); None for one seed."""
    if len(values) < 2:
        return None
    if min(values) == max(values):
        return 0.0  # without the mean's error of rounding
    mean = statistics.fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def summarize_values(values: Sequence[float]) -> Sample:
    """Return mean and spread of some runs. Numbers that differ by rounding errors alone show no spread."""
    mean, std = statistics.fmean(values), compute_std(values)
    if std is None or std <= 1e-9 * max(1.0, abs(mean)):
        return Sample(mean, len(values))
    return Sample(mean, len(values), std, len(values) - 1)


def compute_interval(values: Sequence[float], level: float) -> tuple[float, float] | None:
    """Return the confidence interval of the mean by Student's t; None without a spread."""
    sample = summarize_values(values)
    if sample.std is None:
        return None
    error = sample.std / math.sqrt(sample.n)
    return Difference(sample.mean, error, sample.freedom).compute_interval(level)


def compute_difference(a: Sample, b: Sample) -> Difference | None:
    """Return mean(a) - mean(b) by Welch and Satterthwaite; None where neither shows a spread.

    Where only one of them shows a spread, the other is taken to have the same. The error around one published run is
    then s √(1 + 1/n), that of a prediction.
    """
    if a.std is None and b.std is None:
        return None
    if a.std is None or b.std is None:
        std, freedom = (b.std, b.freedom) if a.std is None else (a.std, a.freedom)
        assert std is not None
        return Difference(a.mean - b.mean, std * math.sqrt(1 / a.n + 1 / b.n), freedom)
    of_a, of_b = a.std**2 / a.n, b.std**2 / b.n
    freedom = (of_a + of_b) ** 2 / (of_a**2 / a.freedom + of_b**2 / b.freedom)
    return Difference(a.mean - b.mean, math.sqrt(of_a + of_b), freedom)


def compute_paired_difference(a: Sequence[float], b: Sequence[float]) -> Difference | None:
    """Return the mean difference of pairs (Student's paired t); None where the pairs' differences show no spread."""
    sample = summarize_values([x - y for x, y in zip(a, b, strict=True)])
    if sample.std is None:
        return None
    return Difference(sample.mean, sample.std / math.sqrt(sample.n), sample.freedom)


def compute_bartlett_p(samples: Sequence[Sample]) -> float | None:
    """Return the p of Bartlett's test that all samples have one standard deviation; None for fewer than two."""
    from scipy.special import chdtrc

    spread = [(sample.std, sample.freedom) for sample in samples if sample.std is not None]
    if len(spread) < 2:
        return None
    total = sum(freedom for _, freedom in spread)
    pooled = sum(freedom * std**2 for std, freedom in spread) / total
    statistic = total * math.log(pooled) - sum(freedom * math.log(std**2) for std, freedom in spread)
    correction = 1 + (sum(1 / freedom for _, freedom in spread) - 1 / total) / (3 * (len(spread) - 1))
    return float(chdtrc(len(spread) - 1, max(0.0, statistic) / correction))


def pool_spread(samples: Sequence[Sample]) -> tuple[float, float]:
    """Return the standard deviation within the samples that show one, pooled, and its degrees of freedom."""
    spread = [(sample.std, sample.freedom) for sample in samples if sample.std is not None]
    total = sum(freedom for _, freedom in spread)
    return math.sqrt(sum(freedom * std**2 for std, freedom in spread) / total), total


def adjust_holm(found: Sequence[float | None], numbers: Sequence[Hashable] | None = None) -> list[float | None]:
    """Adjust the p values of a family by Holm's method; None stays, and is no member of the family.

    Tests with the same entry in `numbers` are about one number: they count once, by the largest of their p.
    """
    names = list(range(len(found))) if numbers is None else list(numbers)
    largest: dict[Hashable, float] = {}
    for name, p in zip(names, found, strict=True):
        if p is not None:
            largest[name] = max(p, largest.get(name, 0.0))
    adjusted: dict[Hashable, float] = {}
    highest = 0.0
    for rank, (name, p) in enumerate(sorted(largest.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(largest) - rank) * p))
        adjusted[name] = highest
    return [None if p is None else adjusted[name] for name, p in zip(names, found, strict=True)]


def weigh_looks(looks: Sequence[int]) -> list[float]:
    """Return the part of the 5 % that each look of a sequential plan may spend; together they are 1."""
    spent = [(n / looks[-1]) ** SPENDING for n in looks]
    return [now - before for before, now in zip([0.0, *spent], spent, strict=False)]


def compute_trend_p(groups: Sequence[Sequence[float]]) -> float:
    """Return the two-sided p of the Jonckheere-Terpstra test that the groups, in their order, show no trend.

    The statistic is the number of pairs that rise from an earlier group to a later one, ties half. The test permutes
    the runs among the groups: all arrangements where they are few, else drawn ones, always the same.
    """
    import numpy as np

    values = np.array([value for group in groups for value in group], dtype=float)
    sizes = tuple(len(group) for group in groups)
    earlier = (lambda group: group[:, None] < group[None, :])(np.repeat(np.arange(len(sizes)), sizes))
    rises = (np.sign(values[None, :] - values[:, None]) + 1) / 2
    centre = earlier.sum() / 2
    chosen = arrange(sizes)
    found = [float((rises[np.ix_(order, order)] * earlier).sum()) for order in chosen]
    seen = abs(float((rises * earlier).sum()) - centre)
    extreme = sum(abs(value - centre) >= seen - 1e-9 for value in found)
    every = math.factorial(sum(sizes)) // math.prod(map(math.factorial, sizes)) == len(found)
    return extreme / len(found) if every else (extreme + 1) / (len(found) + 1)


@cache
def arrange(sizes: tuple[int, ...]) -> list[list[int]]:
    """Return all ways to deal runs to groups of these sizes, or `ARRANGEMENTS` drawn ways where there are more."""
    from itertools import combinations

    import numpy as np

    total = sum(sizes)
    if math.factorial(total) // math.prod(map(math.factorial, sizes)) > ARRANGEMENTS:
        draws = np.random.default_rng(0)
        return [draws.permutation(total).tolist() for _ in range(ARRANGEMENTS)]

    def deal(left: tuple[int, ...], sizes: tuple[int, ...]) -> list[list[int]]:
        if len(sizes) == 1:
            return [list(left)]
        return [
            [*hand, *rest]
            for hand in combinations(left, sizes[0])
            for rest in deal(tuple(i for i in left if i not in hand), sizes[1:])
        ]

    return deal(tuple(range(total)), sizes)


def compute_mcnemar_p(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p of McNemar's test that two classifiers err equally often.

    `only_a` and `only_b` count the samples that only one of them gets right. Under that hypothesis each of these is a
    fair coin, so this is the sign test and needs no approximation.
    """
    from scipy.special import bdtr

    tosses = only_a + only_b
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), tosses, 0.5))) if tosses else 1.0
