"""Judge what a few seeds can show: one word for each number of a table, which claims no more than its tests allow.

A table is a family: the p of its tests of a difference, and apart from them those of its tests of equivalence, are
adjusted by Holm's method. docs/verdicts.md explains each word; the formulas are in statistics.py.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from .evidence import SIGNIFICANT, Evidence, compute_gain, count_seeds, describe_need, measure_width
from .statistics import (
    EARLY,
    Sample,
    adjust_holm,
    compute_bartlett_p,
    compute_difference,
    compute_std,
    compute_trend_p,
    pool_spread,
    summarize_values,
    weigh_looks,
)

__all__ = ["Case", "Verdict", "compute_std", "judge_family", "judge_order", "judge_trend"]

SAME_SPREAD = 0.25  # rows share one standard deviation unless Bartlett's test rejects that at this level


OPEN = ("inconclusive", "consistent with")  # words that more seeds may change


MEANINGS = {  # of each word, for the page; docs/verdicts.md has them at length
    "matches": "the difference is shown to be smaller than the margin: two one-sided tests at 5 % over the table",
    "consistent with": "one run was published, and it lies where a further one of ours should (95 % prediction)",
    "outside": "one run was published, and it lies outside that interval; the reason says on which side ours is",
    "better": "a difference to the published mean is shown (Welch, 5 % over the table), on our side",
    "worse": "the same, on their side",
    "inconclusive": "neither is shown; where more seeds would decide, it says about how many",
    "failed": "at least one seed diverged, or every run failed: those that are left don't stand for the recipe",
    "not comparable": "the runs differ from the published ones in a setting that the study, or the source of its "
    "number, states; what nobody states is ours, and a difference in it is listed but does not prevent a comparison",
    "not judged": "a constant answer, without any eye for the images, scores as much as was published; or no number of "
    "ours stands for a claim",
    "not measured": "there are runs, but they have no such number",
    "no run yet": "no run here is of this row or claim",
    "holds": "the claim's test is significant at 5 % (order: Welch; trend: Jonckheere-Terpstra, and no step against "
    "it); of a claim about several comparisons, each is",
    "reversed": "the same test is significant the other way round",
    "fails": "at least one comparison of the claim is the other way round, at a level of 5 % over all of them",
    "undecided": "neither is shown, or runs are missing",
}


@dataclass(frozen=True)
class Verdict:
    """A verdict's word and reason, an interval of the difference, its p values, and how many seeds would decide.

    `p` and `adjusted_p` are of the hypothesis of no difference, raw and over the table; `match_p` and
    `adjusted_match_p` of the hypothesis that the difference is no smaller than the margin.
    """

    word: str
    reason: str = ""
    low: float | None = None
    high: float | None = None
    needed: int | None = None
    level: float | None = None  # of the interval
    p: float | None = None
    adjusted_p: float | None = None
    match_p: float | None = None
    adjusted_match_p: float | None = None
    gain: float = 1.0  # the fraction by which a further seed would narrow the interval
    ended: bool = False  # by a plan, for a further seed would say too little

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}" if self.reason else self.word

    @property
    def evidence(self) -> str:
        """The interval and the p values in words; "" where nothing was tested."""
        if self.low is None or self.high is None or self.level is None:
            return ""
        parts = [f"{100 * self.level:.3g} %: {self.low:+.3g} to {self.high:+.3g}"]
        for name, p, adjusted in (
            ("p", self.p, self.adjusted_p),
            ("match p", self.match_p, self.adjusted_match_p),
        ):
            if p is not None:
                table = f" (table: {adjusted:.2g})" if adjusted is not None else ""
                parts.append(f"{name} = {p:.2g}{table}")
        return ", ".join(parts).replace("-", "−")


@dataclass(frozen=True)
class Case:
    """A number of ours by seed, against a published sample or against other runs of ours."""

    values: Mapping[int, float]
    against: Sample | Mapping[int, float]
    better: str  # lower or higher
    margin: float | None = None  # the distance that still counts as the same, in the values' unit
    column: Hashable = ""  # the cases of one column may share their spread
    number: Hashable = None  # cases with the same are about one number, such as accuracy and 1 - error
    alone: bool = False  # judged singly, outside the family
    looks: Sequence[int] = ()  # after how many seeds a sequential plan looks
    least_gain: float = 0.1  # the plan ends where a further seed narrows the interval by less


def judge_family(
    cases: Sequence[Case], spread: tuple[float, float] | None = None
) -> tuple[list[Verdict], dict[Hashable, str]]:
    """Judge the cases of one table; return their verdicts, and for each column a note on its spread.

    `spread` replaces what our runs show by a standard deviation and its degrees of freedom.
    """
    spreads = _Spreads(cases, spread)
    found = [_test(case, spreads) for case in cases]
    numbers = [(i if case.number is None else case.number, case.alone and i) for i, case in enumerate(cases)]
    together = [None if case.alone else one.p for case, one in zip(cases, found, strict=True)]
    matching = [None if case.alone else one.match_p for case, one in zip(cases, found, strict=True)]
    tests = max(1, len({number for number, p in zip(numbers, together, strict=True) if p is not None}))
    verdicts = [
        _decide(case, one, one.p if case.alone else p, one.match_p if case.alone else match_p, tests)
        for case, one, p, match_p in zip(
            cases, found, adjust_holm(together, numbers), adjust_holm(matching, numbers), strict=True
        )
    ]
    return verdicts, {column: spreads.describe(column) for column in dict.fromkeys(case.column for case in cases)}


class _Spreads:
    """The standard deviations that the rows of a column show, and the one that they share if Bartlett's test lets them.

    Where it does not, a row must be significant by its own spread and by the shared one: to choose between the two by
    a test would call more than 5 % of the tables without a difference.
    """

    def __init__(self, cases: Sequence[Case], given: tuple[float, float] | None) -> None:
        self.given = given
        self.values: dict[Hashable, list[Mapping[int, float]]] = {}
        for case in cases:
            sides = [case.values] + ([] if isinstance(case.against, Sample) else [case.against])
            known = self.values.setdefault(case.column, [])
            known += [side for side in sides if side not in known]
        self.found: dict[tuple[Hashable, float], tuple[tuple[float, float] | None, float | None, int]] = {}

    def list_alternatives(self, case: Case, until: float) -> list[tuple[Sample, Sample]]:
        """List both sides of a case, of the seeds below `until`, with each spread that it is to be judged by."""
        ours = _summarize(case.values, until)
        published = isinstance(case.against, Sample)
        theirs = case.against if isinstance(case.against, Sample) else _summarize(case.against, until)
        if ours is None or theirs is None:
            return []
        pooled, p, _ = (self.given, 1.0, 0) if self.given else self._pool(case.column, until)
        if pooled is None or p is None:
            return [(ours, theirs)]
        # one estimate for both sides of a pair: the other is then taken to have the same spread
        shared = replace(ours, std=pooled[0], freedom=pooled[1]), theirs if published else replace(theirs, std=None)
        return [shared] if p > SAME_SPREAD else [(ours, theirs), shared]

    def _pool(self, column: Hashable, until: float) -> tuple[tuple[float, float] | None, float | None, int]:
        if (column, until) not in self.found:
            samples = [_summarize(values, until) for values in self.values[column]]
            shown = [sample for sample in samples if sample and sample.std is not None]
            p = compute_bartlett_p(shown)
            self.found[column, until] = None if p is None else pool_spread(shown), p, len(shown)
        return self.found[column, until]

    def describe(self, column: Hashable) -> str:
        """Say whether the rows of a column share their spread; "" where fewer than two show one."""
        pooled, p, rows = self._pool(column, math.inf)
        if p is None or pooled is None:
            return ""
        if p <= SAME_SPREAD:
            return (
                f"{rows} rows may differ in spread (Bartlett: p = {p:.2g}), so each is judged by its own and by the "
                f"pooled one, {pooled[0]:.3g}, and the less certain counts"
            )
        return f"one spread for {rows} rows, {pooled[0]:.3g} (Bartlett: p = {p:.2g}, above {SAME_SPREAD})"


def _summarize(values: Mapping[int, float], until: float) -> Sample | None:
    chosen = [value for seed, value in values.items() if seed < until]
    return summarize_values(chosen) if chosen else None


def _test(case: Case, spreads: _Spreads) -> Evidence:
    """Test a case at each look that its seeds have reached, or once where there is no plan.

    A look at which the plan ends early spends most of what is left of the 5 %. Whether it ends depends on the numbers
    of seeds and on the spreads, not on the difference.
    """
    shares = weigh_looks(case.looks)
    plan = [(float(n), share) for n, share in zip(case.looks, shares, strict=True)] or [(math.inf, 1.0)]
    grows = not isinstance(case.against, Sample)
    seeds = {*case.values, *(() if isinstance(case.against, Sample) else case.against)}
    evidence = Evidence(Sample(math.nan, 0), Sample(math.nan, 0), None)
    ps, match_ps, left = [], [], 1.0
    for before, (until, share) in zip([-1.0, *(until for until, _ in plan)], plan, strict=False):
        found = [Evidence(*sides, compute_difference(*sides)) for sides in spreads.list_alternatives(case, until)]
        if not any(seed >= before for seed in seeds) or evidence.ended:
            break
        widest = max(found, key=lambda one: measure_width(one.difference), default=evidence)
        gain = compute_gain(widest, grows=grows)
        ended = bool(case.looks) and gain < case.least_gain
        share = max(share, EARLY * left) if ended else share
        left -= share
        evidence = replace(widest, share=share, gain=gain, ended=ended)
        known = [one.difference for one in found if one.difference is not None]
        if known and len(known) == len(found):
            ps.append(min(1.0, max(difference.p for difference in known) / share))
            if case.margin is not None and not evidence.single:
                largest = max(difference.compute_equivalence_p(case.margin) for difference in known)
                match_ps.append(min(1.0, largest / share))
    return replace(evidence, p=min(ps, default=None), match_p=min(match_ps, default=None))


def _decide(case: Case, found: Evidence, p: float | None, match_p: float | None, tests: int) -> Verdict:
    """Find the word that the adjusted p values of a case allow."""
    if found.difference is None:
        few = "one run, which shows no spread" if found.ours.n == 1 else f"all {found.ours.n} runs gave the same number"
        return Verdict("inconclusive", few if found.ours.n else "no run")
    assert p is not None
    matched = match_p is not None and match_p <= SIGNIFICANT
    level = 1 - (2 if matched else 1) * SIGNIFICANT * found.share
    low, high = found.difference.compute_interval(level)
    table = (None, None) if case.alone else (p, match_p)
    verdict = Verdict(
        "", "", low, high, None, level, found.p, table[0], found.match_p, table[1], found.gain, found.ended
    )
    ahead = "better" if (found.difference.value < 0) == (case.better == "lower") else "worse"
    if matched:
        return replace(verdict, word="matches", reason="differs, but by less than the margin" * (p <= SIGNIFICANT))
    if found.single and p <= SIGNIFICANT:
        return replace(verdict, word="outside", reason=f"ours is {ahead}")
    if found.single:
        mean, half = (found.ours if found.theirs.n == 1 else found.theirs).mean, (high - low) / 2
        reason = f"a further run between {mean - half:.4g} and {mean + half:.4g} is to be expected"
        by_chance = "; alone it would be outside" * (low > 0 or high < 0)
        return replace(verdict, word="consistent with", reason=reason + by_chance)
    if p <= SIGNIFICANT:
        return replace(verdict, word=ahead)
    needed = count_seeds(found, case.margin, tests, grows=not isinstance(case.against, Sample))
    return replace(verdict, word="inconclusive", reason=describe_need(found.ours.n, needed), needed=needed)


def judge_order(higher: Sequence[float], lower: Sequence[float]) -> Verdict:
    """Judge the claim that `higher` has the larger mean (Welch): holds, reversed or undecided."""
    a, b = summarize_values(higher), summarize_values(lower)
    seen = "as claimed" if a.mean > b.mean else "the other way round" if a.mean < b.mean else "no difference"
    difference = compute_difference(a, b)
    if difference is None:
        few = "one run each" if a.n == b.n == 1 else "no side shows a spread"
        return Verdict("undecided", f"{few}, {seen}")
    low, high = difference.compute_interval(1 - SIGNIFICANT)
    verdict = Verdict("undecided", "", low, high, None, 1 - SIGNIFICANT, difference.p)
    if difference.p <= SIGNIFICANT:
        return replace(verdict, word="holds" if difference.value > 0 else "reversed")
    needed = count_seeds(Evidence(a, b, difference), None, 1, grows=True)
    return replace(verdict, reason=f"{seen}, {describe_need(min(a.n, b.n), needed)}", needed=needed)


def judge_trend(groups: Sequence[Sequence[float]]) -> Verdict:
    """Judge the claim that the groups, in their order, have ever larger values: holds, reversed or undecided.

    The test is that of Jonckheere and Terpstra, by permutation. A significant trend with a significant step against it
    (Welch, Holm over the steps) is undecided, because a trend of the whole does not make each step true.
    """
    if len(groups) < 2 or not all(groups):
        return Verdict("undecided", "a trend needs runs of at least two groups")
    p = compute_trend_p(groups)
    rises = sum((x < y) - (x > y) for i, a in enumerate(groups) for b in groups[i + 1 :] for x in a for y in b)
    seen = "as claimed" if rises > 0 else "the other way round" if rises < 0 else "no trend"
    if p > SIGNIFICANT:
        counts = sorted({len(group) for group in groups})
        return Verdict("undecided", f"{seen}, n = {' to '.join(map(str, {counts[0]: 0, counts[-1]: 0}))}", p=p)
    steps = [compute_difference(summarize_values(b), summarize_values(a)) for a, b in pairwise(groups)]
    adjusted = adjust_holm([step.p if step else None for step in steps])
    for place, (step, step_p) in enumerate(zip(steps, adjusted, strict=True), 1):
        if step and step_p is not None and step_p <= SIGNIFICANT and step.value * rises < 0:
            return Verdict("undecided", f"a trend {seen}, but step {place} goes against it (p = {step_p:.2g})", p=p)
    return Verdict("holds" if rises > 0 else "reversed", p=p)
