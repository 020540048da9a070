"""Add seeds to a sweep until its verdicts are settled: `-m … seed=auto`.

After each of a few fixed numbers of seeds (`looks`) the verdicts are looked at, and only configurations with an open
one go on. The looks share the 5 % of the table's tests, so looking often makes nothing significant by chance. All that
this needs are the runs: the same command, typed again, comes to the same decisions and goes on.
"""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from ..cli.console import say
from ..errors import UserError
from ..report.families import judge_losses
from ..report.groups import Collected, Group, build_arenas, collect_runs
from ..report.published import list_published, read_published
from ..report.verdict import OPEN, Case, Verdict, judge_family
from ..report.views import build_study_view
from ..text import format_table

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

    from .jobs import Job
    from .launcher import Jobs


@dataclass(frozen=True)
class Settled:
    """A verdict of the sweep: what it is about, the runs behind it, and the numbers of seeds."""

    name: str
    verdict: Verdict
    runs: frozenset[Path]
    seeds: str

    @property
    def stop(self) -> str:
        """Why no more seeds are needed; "" where they are."""
        if self.verdict.word not in OPEN:
            return "settled"
        narrower = f"a further seed would narrow the interval by {self.verdict.gain:.0%} only"
        return narrower if self.verdict.ended else ""


def run_until_settled(
    launcher: "Jobs", points: Sequence[Sequence[str]], looks: Sequence[int], margin: float
) -> "list[Sequence[JobReturn]]":
    """Run the points with ever more seeds, and print what each verdict came to and why it needs no more."""
    jobs: list[Job] = []
    returns: list[Sequence[JobReturn]] = []
    found: list[Settled] = []
    left, before = list(range(len(points))), 0
    places: dict[Path, int] = {}
    for number, seeds in enumerate(looks, 1):
        batch = [(i, seed) for i in left for seed in range(before, seeds)]
        words = [[*points[i], f"seed={seed}", f"looks=[{','.join(map(str, looks))}]"] for i, seed in batch]
        returns.append(launcher.launch(words, initial_job_idx=len(jobs)))
        jobs += launcher.jobs
        places |= {job.path.resolve(): i for job, (i, _) in zip(launcher.jobs, batch, strict=True) if job.run}
        halted = launcher.on_failure == "stop" and any(job.state == "failed" for job in launcher.jobs)
        if halted or any(job.config is not None and job.config.preflight == "only" for job in launcher.jobs):
            return returns
        found = judge_jobs(jobs, margin)
        left = sorted(
            {places[path] for one in found if not one.stop for path in one.runs if path in places} & set(left)
        )
        still = f"{sum(not one.stop for one in found)} of {len(found)} verdicts are open"
        say(f"seed=auto, look {number} of {len(looks)}, {seeds} seeds: {still}.")
        before = seeds
        if not left:
            break
    print(format_settled(found, looks))
    return returns


def judge_jobs(jobs: "Sequence[Job]", margin: float) -> list[Settled]:
    """Judge what the jobs have found so far: by the study's published table, else by pairs."""
    paths = [glob.escape(str(job.path)) for job in jobs if job.run and job.state in ("done", "failed")]
    try:
        collected = collect_runs(paths)
    except UserError:  # no run has finished
        return []
    studies = dict.fromkeys(job.config.experiment_name for job in jobs if job.config is not None)
    found = [one for study in studies if study in list_published() for one in judge_study(study, collected)]
    return found or judge_pairs(collected.groups, margin)


def judge_study(study: str, collected: Collected) -> list[Settled]:
    """Judge the runs by the numbers that a study printed; [] where none of them is comparable."""
    found = []
    for table in read_published(study).tables:
        for line in build_study_view(table, collected.groups, collected.lost).lines:
            for entry in line.entries:
                if line.group and entry.verdict and entry.counted and (entry.case or entry.verdict.word == "failed"):
                    name, runs = f"{line.keys[0]}, {entry.column.title}", list_paths(line.group)
                    seeds = line.group.count(entry.column.metric)
                    found.append(Settled(name, entry.verdict, runs, seeds))
    return found


def judge_pairs(groups: Sequence[Group], margin: float) -> list[Settled]:
    """Judge each pair of configurations that were tested on the same images, by their headline metric."""
    pairs = [pair for arena in build_arenas(groups) for pair in combinations(arena.groups, 2)]
    failed = [next(filter(None, (judge_losses(g.headline, g.runs, g.lost) for g in pair)), None) for pair in pairs]
    cases = [make_case(a, b, margin) for (a, b), failure in zip(pairs, failed, strict=True) if not failure]
    judged = iter(judge_family(cases)[0])
    return [
        Settled(
            f"{a.label} against {b.label}",
            failure or next(judged),
            list_paths(a) | list_paths(b),
            f"{a.count(a.headline)} and {b.count(b.headline)}",
        )
        for (a, b), failure in zip(pairs, failed, strict=True)
    ]


def make_case(a: Group, b: Group, margin: float) -> Case:
    """Make the case of two groups by their headline metric, errors in points."""
    error = a.headline == "test/error"
    scale = 100 if error else 1
    sides = [
        {run.seed: scale * value for run in group.runs if (value := run.value(a.headline)) is not None}
        for group in (a, b)
    ]
    better, within = ("lower", margin) if error else ("higher", margin / 100)
    return Case(sides[0], sides[1], better, within, a.headline, looks=a.looks, least_gain=a.least_gain)


def list_paths(group: Group) -> frozenset[Path]:
    """Return the directories of a group's runs, failed ones too."""
    paths = [*(run.path for run in group.runs), *(run.path for run in group.lost)]
    return frozenset(path.resolve() for path in paths)


def format_settled(found: Sequence[Settled], looks: Sequence[int]) -> str:
    """Format each verdict with its seeds and the reason why it has no more."""
    rows = [["seed=auto", "seeds", "interval", "p over the table", "verdict", "stopped because"]]
    for one in sorted(found, key=lambda one: one.name):
        verdict = one.verdict
        between = "" if verdict.low is None else f"{verdict.low:+.3g} to {verdict.high:+.3g}"
        ps = [p for p in (verdict.adjusted_p, verdict.adjusted_match_p) if p is not None]
        why = one.stop or f"the plan ends at {looks[-1]} seeds"
        rows.append([one.name, one.seeds, between, f"{min(ps):.2g}" if ps else "", str(verdict), why])
    if len(rows) == 1:
        return "seed=auto: there is no verdict to settle, because fewer than two configurations have finished."
    return format_table(rows, left=1)
