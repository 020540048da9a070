"""Judge the claims of a study's text on our runs.

A claim is a conjunction of steps. A step says that a metric rises over two or more cells, in their order; with two,
that one mean is above the other. One of the two may be a printed number, which is one run's. The claim holds where
every step does: its p is the largest of theirs, so that nothing is to be corrected. It fails where any step is the
other way round, at a level shared among the steps.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from .derived import read_level
from .entries import format_number
from .evidence import SIGNIFICANT
from .families import NO_RUN
from .groups import Group
from .protocol import Conditions, Difference, Protocol, list_differences
from .published import Claim, Column, Part, Published
from .verdict import Verdict, compute_std, judge_order, judge_trend
from .views import GENERAL, flag_runs, select_groups

LENGTH = ("trainer.max_epochs", "data.val_fraction", "protocol", "images")  # what runs of a claim must share


FRACTIONS = ("error", "top5_error", "accuracy", "top5", "precision", "recall", "f1", "exact")


@dataclass(frozen=True)
class Side:
    """One side of a step: its name, its numbers as results.json has them, and the groups that they are of."""

    label: str
    values: Sequence[float]
    groups: Sequence[Group] = ()


@dataclass(frozen=True)
class Step:
    """A metric that is to rise over these cells; a `loose` one may be uncertain but not the other way round.

    A cell's number is its mean over the conditions of `across`, a seed at a time. A printed number stands in for the
    cell that is None.
    """

    metric: str
    cells: Sequence[Conditions | None]
    loose: bool = False
    across: Sequence[Conditions] = ({},)
    printed: Side | None = None

    @property
    def trained(self) -> Iterator[Conditions]:
        """The conditions on each group of runs that the step needs."""
        return (cell | each for cell in self.cells if cell is not None for each in self.across)


@dataclass(frozen=True)
class StepVerdict:
    """A step with the sides that it was judged on, in rising order, and its verdict."""

    column: Column
    rising: Sequence[Side]
    verdict: Verdict
    loose: bool = False

    def describe_side(self, side: Side) -> str:
        """Describe one side of the step: resnet20 8.75 ± 0.16 % (n = 5), or a printed number."""
        values = [value * self.column.scale for value in side.values]
        mean, std = format_number(statistics.fmean(values), self.column), compute_std(values)
        deviation = f" ± {format_number(std, self.column)}" if std is not None else ""
        return f"{side.label} {mean}{deviation}" + (f" (n = {len(values)})" if side.groups else ", printed")

    @property
    def groups(self) -> list[Group]:
        """The groups of all sides."""
        return [group for side in self.rising for group in side.groups]

    @property
    def sides(self) -> list[Side]:
        """The sides as they are read: of two, the higher one first."""
        return list(reversed(self.rising)) if len(self.rising) == 2 else list(self.rising)

    @property
    def between(self) -> str:
        return "against" if len(self.rising) == 2 else "→"

    @property
    def bounds(self) -> str:
        """The confidence interval of the difference in words; "" where there is none."""
        if self.verdict.low is None or self.verdict.high is None:
            return ""
        low, high = (
            format_number(end * self.column.scale, self.column, "+") for end in (self.verdict.low, self.verdict.high)
        )
        return f"; difference {low} to {high} ({1 - SIGNIFICANT:.0%})"

    def __str__(self) -> str:
        sides = f" {self.between} ".join(self.describe_side(side) for side in self.sides)
        return f"{self.column.title}: {sides}{self.bounds}"


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim of the text with its verdict, and the steps that it was judged on, the least certain first."""

    claim: Claim
    verdict: Verdict
    steps: Sequence[StepVerdict] = ()
    flags: Sequence[str] = ()

    def __str__(self) -> str:
        text = f"{self.verdict.word}: {self.claim.text.rstrip('.')}"
        text += f" ({self.verdict.reason})" if self.verdict.reason else ""
        text += f"; {self.steps[0]}" if self.steps else ""
        return text + "".join(f"; {flag}" for flag in self.flags)


def judge_claims(published: Published, groups: Sequence[Group]) -> list[ClaimVerdict]:
    """Judge each claim once for every protocol that its runs follow, the study's own first."""
    return [verdict for claim in published.claims for verdict in judge_claim(published, claim, groups)]


def judge_claim(published: Published, claim: Claim, groups: Sequence[Group]) -> list[ClaimVerdict]:
    """Judge a claim on the runs that differ from the study's protocol in the same settings."""
    said = [f"the study's own numbers contradict it: {claim.contradictory}"] if claim.contradictory else []
    if not claim.parts:
        return [ClaimVerdict(claim, Verdict("not judged", "no metric stands for it"), flags=said)]
    steps = [step for part in claim.parts for step in list_steps(part, claim.where, published)]
    candidates = {repr(cell): find_candidates(published, cell, groups) for step in steps for cell in step.trained}
    protocols = dict.fromkeys(key for found in candidates.values() for key, _, _ in found)
    verdicts = []
    for key in sorted(protocols, key=len):
        chosen = {cell: pick_candidate(key, found) for cell, found in candidates.items()}
        judged = [found for step in steps if (found := judge_step(published, step, chosen))]
        if judged:
            flags = [*said, *list_claim_flags(key, chosen, judged)]
            ranked = sorted(judged, key=rank_step)
            verdicts.append(ClaimVerdict(claim, combine_steps(judged, len(steps)), ranked, flags))
    return verdicts or [ClaimVerdict(claim, NO_RUN, flags=said)]


Candidate = tuple[frozenset[str], Sequence[Difference], Group]


def find_candidates(published: Published, cell: Conditions, groups: Sequence[Group]) -> list[Candidate]:
    """Find the groups that fit a cell, with their differences from the protocol, first those that sides must share."""
    protocol = find_protocol(published, cell)
    found: list[Candidate] = []
    for group in select_groups(cell, groups):
        differences = list_differences(protocol, cell, group.runs[0])
        key = frozenset(str(each) for each in differences if each.decisive or each.name in LENGTH)
        found.append((key, differences, group))
    return found


def find_protocol(published: Published, cell: Conditions) -> Protocol:
    """Return the protocol of the first row that a cell is, which may have settings of its own; else the study's."""
    fitting = (protocol for match, protocol in published.cells if cell.items() <= match.items())
    return next(fitting, published.protocol)


def pick_candidate(key: frozenset[str], found: Sequence[Candidate]) -> Candidate | None:
    """Pick the group of a cell that differs in these settings, and otherwise in the fewest; of those the largest."""
    fitting = [candidate for candidate in found if candidate[0] == key]
    return min(fitting, key=lambda candidate: (len(candidate[1]), -candidate[2].n), default=None)


def list_claim_flags(
    key: frozenset[str], chosen: Mapping[str, Candidate | None], judged: Sequence[StepVerdict]
) -> list[str]:
    """List what a reader must know before believing the verdict on a claim."""
    used = {id(group) for step in judged for group in step.groups}
    picked = [candidate for candidate in chosen.values() if candidate and id(candidate[2]) in used]
    flags = [f"not as published: {', '.join(sorted(key))}"] if key else []
    more = [{str(each) for each in differences} - key for _, differences, _ in picked]
    if apart := set[str]().union(*more) - set[str].intersection(*more):
        flags.append(f"the sides also differ in {', '.join(sorted(apart))}")
    return flags + [f"{group.label} {flag}" for _, _, group in picked for flag in flag_runs(group)]


def list_steps(part: Part, where: Conditions, published: Published) -> Iterator[Step]:
    """Yield the steps of a part of a claim."""
    across = part.across or [{}]
    for metric in part.metrics:
        pairs = [(low, high) for low in part.lower for high in part.higher]
        pairs += list(combinations(part.rising or part.trend, 2))
        pairs += [(other, part.highest) for other in list_others(published, where, part.highest)]
        pairs += [(part.lowest, other) for other in list_others(published, where, part.lowest)]
        for low, high in pairs:
            yield Step(metric, [where | low, where | high], bool(part.trend), across)
        if part.trend:
            yield Step(metric, [where | cell for cell in part.trend], across=across)
        for cell, side in list_printed(published, metric, part.above or part.below, where):
            yield Step(metric, [None, cell] if part.above else [cell, None], printed=side)


def list_printed(
    published: Published, metric: str, printed: str, where: Conditions
) -> Iterator[tuple[Conditions, Side]]:
    """Yield each row's conditions and the number that it prints in this column, in the unit of our `metric`."""
    for table in published.tables:
        for row in table.rows:
            if row.match is not None and printed in row.values and where.items() <= row.match.items():
                value = row.values[printed] / find_column(published, metric).scale
                yield row.match, Side(table.columns[printed].title, [value])


def list_others(published: Published, where: Conditions, cell: Conditions) -> list[Conditions]:
    """List every other cell of the study's rows that meets the conditions; [] without a cell."""
    rows = [row.match for table in published.tables for row in table.rows if row.match is not None]
    fitting = [match for match in rows if where.items() <= match.items()]
    others = {repr(sorted(match.items())): match for match in fitting if not cell.items() <= match.items()}
    return list(others.values()) if cell else []


def judge_step(published: Published, step: Step, chosen: Mapping[str, Candidate | None]) -> StepVerdict | None:
    """Judge a step; None where a cell has no run with the metric."""
    sides = [step.printed if cell is None else find_side(step, cell, chosen) for cell in step.cells]
    found = [side for side in sides if side]
    if len(found) < len(sides):
        return None
    if len(step.across) == 1 and len({group.data for side in found for group in side.groups}) > 1:
        found = [replace(s, label=f"{s.label} on {s.groups[0].data}" if s.groups else s.label) for s in found]
    values = [side.values for side in found]
    verdict = judge_order(values[1], values[0]) if len(values) == 2 else judge_trend(values)
    return StepVerdict(find_column(published, step.metric), found, verdict, step.loose)


def find_side(step: Step, cell: Conditions, chosen: Mapping[str, Candidate | None]) -> Side | None:
    """Find the numbers of a cell: for each seed the mean over what the step is across; None where one has none."""
    found = [chosen[repr(cell | each)] for each in step.across]
    groups = [candidate[2] for candidate in found if candidate and candidate[2].values(step.metric)]
    if len(groups) < len(found):
        return None
    if len(groups) == 1:
        return Side(groups[0].label, groups[0].values(step.metric), groups)
    by_seed = [{run.seed: run.value(step.metric) for run in group.runs} for group in groups]
    seeds = sorted(set.intersection(*(set(values) for values in by_seed)))
    rows = [[values[seed] for values in by_seed] for seed in seeds]
    means = [statistics.fmean(known) for row in rows if len(known := [v for v in row if v is not None]) == len(row)]
    return Side(f"{groups[0].model}, mean of {len(groups)},", means, groups) if means else None


def combine_steps(judged: Sequence[StepVerdict], n: int) -> Verdict:
    """Combine the verdicts on the steps of a claim, of which there are `n` with those that lack runs."""
    if n == 1:
        return judged[0].verdict
    if any(is_refuted(step, n) for step in judged):
        return Verdict("fails", f"{sum(is_refuted(step, n) for step in judged)} of {n} comparisons the other way round")
    open_steps = [step for step in judged if step.verdict.word != "holds" and not step.loose]
    if len(judged) < n:
        return Verdict("undecided", f"runs for {len(judged)} of {n} comparisons")
    if open_steps:
        return Verdict("undecided", f"{len(open_steps)} of {n} comparisons open")
    return Verdict("holds", f"{n} comparisons")


def is_refuted(step: StepVerdict, n: int) -> bool:
    """Tell whether a step is the other way round at its part of the level, which `n` steps share."""
    p = step.verdict.p
    return step.verdict.word == "reversed" and p is not None and p <= SIGNIFICANT / n


def rank_step(step: StepVerdict) -> tuple[int, float]:
    """Rank a step by its certainty, the one that decides a claim first."""
    order = {"reversed": 0, "undecided": 1, "holds": 2}[step.verdict.word]
    low, high = step.verdict.low, step.verdict.high
    certain = 0.0 if low is None or high is None else low / (high - low) if high > low else math.copysign(math.inf, low)
    return (order + step.loose, certain)


def find_column(published: Published, metric: str) -> Column:
    """Find how a metric is printed: as in the study's tables, else as in general ones, fractions in percent."""
    for table in published.tables:
        if metric in table.columns:
            return table.columns[metric]
    general = next((column for column in GENERAL if column.metric == metric), None)
    split, _, name = metric.partition("/")
    if level := read_level(metric):
        return Column(metric, f"epochs to {level[1]:.4g} of {level[0]} accuracy", better="lower", digits=1)
    title = "validation less training error" if metric == "gap/error" else f"{split} {name.replace('_', ' ')}"
    return general or Column(
        metric, f"{title} %" if name in FRACTIONS else title, scale=100 if name in FRACTIONS else 1
    )


def find_differences(a: Group, b: Group) -> set[str]:
    """Return the names of the settings that two groups do not share."""
    names = a.settings.keys() | b.settings.keys()
    return {name for name in names if a.settings.get(name, ...) != b.settings.get(name, ...)}
