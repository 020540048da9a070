"""Simulate studies, to see how often verdicts are wrong and how many seeds they take: the tables of docs/verdicts.md.

  python -m src.bench.verdicts [studies=1000] [part=table|auto|power|savings]

The verdicts are those of src/report; beside them stands the simpler rule that each number is judged alone, by the 90 %
interval of our mean, as if what was published had no error. Accuracies are drawn from normal distributions.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist, fmean

import numpy as np

from ..report.evidence import SIGNIFICANT
from ..report.statistics import Sample, compute_interval, summarize_values
from ..report.verdict import OPEN, Case, judge_family
from ..text import format_table

SPREADS = (0.15, 0.33)  # points; the standard deviation of a study is drawn between these


LOOKS = (3, 5, 7)


FIXED = (2, 3, 4, 5, 6, 7)  # numbers of seeds


CALLED = ("better", "worse", "outside")


@dataclass(frozen=True)
class Plan:
    """Networks that are compared by pairs, with seed=auto."""

    networks: int
    looks: Sequence[int]
    gain: float = 0.1
    margin: float = 0.35


def draw_table(
    draws: np.random.Generator, spreads: Sequence[float], n: int, gap: float, *, published: int
) -> list[Case]:
    """Draw a table with a cell for each spread; its published numbers are means of so many runs, `gap` below ours."""
    found = []
    for sd in spreads:
        ours, theirs = draws.normal(gap, sd, n), draws.normal(0.0, sd, published)
        sample = summarize_values(theirs.tolist())
        found.append(Case(dict(enumerate(ours.tolist())), sample, "lower", 0.35, "error"))
    return found


def judge_alone(case: Case) -> str:
    """Judge one cell by the simpler rule."""
    assert isinstance(case.against, Sample) and case.margin is not None
    bounds = compute_interval(list(case.values.values()), 0.90)
    if bounds is None:
        return "inconclusive"
    low, high = (bound - case.against.mean for bound in bounds)
    if -case.margin <= low and high <= case.margin:
        return "matches"
    return "inconclusive" if low <= 0 <= high else "worse"


def simulate_tables(studies: int) -> Iterator[list[str]]:
    """Yield a row for each kind of table: how often a cell gets such a word, by the simpler rule and by ours."""
    kinds = [
        ("six single runs, no difference: better, worse or outside", 6, 5, 0.0, None, 1, CALLED),
        ("the same with 3 seeds", 6, 3, 0.0, None, 1, CALLED),
        ("the same with 5 seeds, each row with its own spread", 6, 5, 0.0, None, 1, CALLED),
        ("the same with 3 seeds, each row with its own spread", 6, 3, 0.0, None, 1, CALLED),
        ("six single runs, a gap of 1.5 (sd 0.2): called, a cell", 6, 5, 1.5, 0.2, 1, CALLED),
        ("one single run, a gap of 1.5 (sd 0.2): called", 1, 5, 1.5, 0.2, 1, CALLED),
        ("six means of 5, no difference: better or worse", 6, 5, 0.0, None, 5, CALLED),
        ("six means of 5, at the margin: matches", 6, 5, 0.35, None, 5, ("matches",)),
        ("six means of 5, no difference (sd 0.15): matches, a cell", 6, 5, 0.0, 0.15, 5, ("matches",)),
        ("six means of 5, a gap of 0.7 (sd 0.2): called, a cell", 6, 5, 0.7, 0.2, 5, CALLED),
    ]
    for name, cells, n, gap, sd, published, words in kinds:
        draws = np.random.default_rng(0)
        alone, ours = [], []
        for _ in range(studies):
            spreads = [sd or draws.uniform(*SPREADS)] * cells
            if name.endswith("own spread"):
                spreads = draws.uniform(*SPREADS, cells).tolist()
            cases = draw_table(draws, spreads, n, gap, published=published)
            average = fmean if name.endswith("a cell") else max
            alone.append(average([float(judge_alone(case) in words) for case in cases]))
            ours.append(average([float(verdict.word in words) for verdict in judge_family(cases)[0]]))
        yield [name, f"{fmean(alone):.1%}", f"{fmean(ours):.1%}"]


def follow_plan(
    plan: Plan, values: Sequence[Sequence[float]], published: Sequence[Sample]
) -> tuple[list[str], list[int]]:
    """Do what seed=auto does: return the words of all verdicts, and the number of seeds of each network.

    They are of each network against its published number, or where there are none of all pairs.
    """
    left, seeds, words = set(range(plan.networks)), [0] * plan.networks, list[str]()
    pairs = [(i,) for i in range(plan.networks)] if published else list(combinations(range(plan.networks), 2))
    for n in plan.looks:
        for i in left:
            seeds[i] = n
        runs = [dict(enumerate(row[:count])) for row, count in zip(values, seeds, strict=True)]
        cases = [
            Case(
                runs[a],
                runs[b[0]] if b else published[a],
                "lower",
                plan.margin,
                "error",
                looks=plan.looks,
                least_gain=plan.gain,
            )
            for a, *b in pairs
        ]
        verdicts, _ = judge_family(cases)
        words = [verdict.word for verdict in verdicts]
        still = [pair for pair, v in zip(pairs, verdicts, strict=True) if v.word in OPEN and not v.ended]
        left &= {i for pair in still for i in pair}
        if not left:
            break
    return words, seeds


def simulate_plan(
    studies: int,
    plan: Plan,
    gap: float,
    sd: float | None,
    word: Sequence[str],
    published: int = 0,
    *,
    by_cell: bool = False,
) -> tuple[float, float]:
    """Return how often a table has such a word, and the mean number of seeds; with `by_cell`, how often a cell has it.

    With `published` numbers of so many runs each network is `gap` off, else the first network is.
    """
    draws = np.random.default_rng(1)
    hits, seeds = [], []
    for _ in range(studies):
        spread = sd or draws.uniform(*SPREADS)
        values = draws.normal(0.0, spread, (plan.networks, plan.looks[-1]))
        values[slice(None) if published else 0] += gap
        means = [summarize_values(draws.normal(0.0, spread, published).tolist()) for _ in values if published]
        words, used = follow_plan(plan, values.tolist(), means)
        found = [float(each in word) for each in words]
        hits.append(fmean(found) if by_cell else max(found))
        seeds.append(fmean(used))
    return fmean(hits), fmean(seeds)


def simulate_errors(studies: int) -> Iterator[list[str]]:
    """Yield how often seed=auto says too much."""
    for name, plan, published in (
        ("six published runs, looks 3, 5, 7", Plan(6, LOOKS), 1),
        ("six published means of 5, looks 3, 5, 7", Plan(6, LOOKS), 5),
        ("three networks, looks 3, 5, 7", Plan(3, LOOKS), 0),
        ("two networks, looks 3, 5, 7", Plan(2, LOOKS), 0),
        ("two networks, looks 5, 10, 15, 20, gain=0", Plan(2, (5, 10, 15, 20), 0.0), 0),
    ):
        wrong, n = simulate_plan(studies, plan, 0.0, None, CALLED, published)
        # of three networks, two would be equal and match rightly
        tested = plan if published else Plan(2, plan.looks, plan.gain)
        matched, m = simulate_plan(studies, tested, 0.35, None, ("matches",), published)
        yield [name, f"{wrong:.1%}", f"{n:.1f}", f"{matched:.1%}", f"{m:.1f}"]


def simulate_power(studies: int) -> Iterator[list[str]]:
    """Yield how often seed=auto calls a gap and with how many seeds, beside plans of fixed numbers of seeds."""
    for name, networks, published, gaps in (
        ("six published runs", 6, 1, (0.6, 0.9, 1.2)),
        ("six published means of 5", 6, 5, (0.3, 0.5, 0.7)),
        ("two networks", 2, 0, (0.3, 0.6, 1.0)),
    ):
        for gap in gaps:
            called, n = simulate_plan(studies, Plan(networks, LOOKS), gap, None, CALLED, published, by_cell=True)
            fixed = [
                simulate_plan(studies, Plan(networks, (k,)), gap, None, CALLED, published, by_cell=True)[0]
                for k in FIXED
            ]
            even = float(np.interp(called, fixed, FIXED))
            cells = [f"{power:.0%}" for power in (called, *fixed)]
            yield [f"{name}, a gap of {gap}", f"{n:.1f}", *cells, f"{even:.1f}", f"{n / even:.2f}"]


def count_fixed(power: float, gap: float, sd: float) -> float:
    """Return the number of seeds with which a fixed plan has this power to tell two networks apart."""
    normal = NormalDist()
    return 2 * ((normal.inv_cdf(1 - SIGNIFICANT / 2) + normal.inv_cdf(power)) * sd / gap) ** 2


def simulate_savings(studies: int) -> Iterator[list[str]]:
    """Yield the seeds of seed=auto as fractions of those of a fixed plan with the same power at a gap of 0.1."""
    for sd in (0.15, 0.24, 0.33):
        most = math.ceil(count_fixed(0.8, 0.1, sd) * 1.15 / 4) * 4
        plan = Plan(2, tuple(most * k // 4 for k in (1, 2, 3, 4)), 0.0, margin=1e-9)
        power, at_plan = simulate_plan(studies, plan, 0.1, sd, CALLED)
        power = min(max(power, 0.5 / studies), 1 - 0.5 / studies)  # in a few studies it may be 0 or 1
        fixed = count_fixed(power, 0.1, sd)
        found = {0.1: at_plan} | {g: simulate_plan(studies, plan, g, sd, CALLED)[1] for g in (0.0, 0.2, 0.3)}
        ratios = [found[gap] / fixed for gap in (0.0, 0.1, 0.2, 0.3)]
        yield [f"{sd}", f"{power:.0%}", f"{fixed:.0f}", *(f"{ratio:.2f}" for ratio in (*ratios, fmean(ratios)))]


def main(words: Sequence[str]) -> None:
    """Print the tables."""
    options = dict(word.split("=", 1) for word in words)
    studies, part = int(options.get("studies", "1000")), options.get("part", "")
    if part in ("", "table"):
        print(format_table([["table", "each alone", "ours"], *simulate_tables(studies)], left=1))
    if part in ("", "auto"):
        heads = ["seed=auto", "called at no difference", "seeds", "matches at the margin", "seeds"]
        print("\n" + format_table([heads, *simulate_errors(studies)], left=1))
    if part in ("", "power"):
        heads = ["a cell is called", "seeds", "auto", *(f"{n} seeds" for n in FIXED), "equal power", "ratio"]
        print("\n" + format_table([heads, *simulate_power(studies)], left=1))
    if part in ("", "savings"):
        heads = ["sd", "power at 0.1", "fixed", *(f"at {gap}" for gap in (0.0, 0.1, 0.2, 0.3)), "mean"]
        print("\n" + format_table([heads, *simulate_savings(studies)]))


if __name__ == "__main__":
    main(sys.argv[1:])
