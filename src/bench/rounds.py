"""Measure the sides of a comparison in turn in one process, and how busy the machine was meanwhile."""

import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..files import Json

DISTURBED = 0.03  # fraction of the cores' time that others may take before a warning says so


Record = Json  # an object of a result file


@dataclass(frozen=True)
class Comparison:
    """Several ways to do one thing.

    ``sides`` maps a name to a function that does it once and returns a figure; the first side is ours.

    ``targets`` maps the sides to compare with to the wanted ratio, or to None where there is no target. A ratio above 1
    means that ours is better, whether the figure is a throughput or, with ``lower_is_better``, a time.
    """

    title: str
    unit: str
    sides: dict[str, Callable[[], float]]
    targets: dict[str, float | None] = field(default_factory=dict)
    lower_is_better: bool = False
    notes: list[str] = field(default_factory=list)  # what was checked or chosen beside the timing

    def compute_ratio(self, ours: float, other: float) -> float:
        """Return how many times better our figure is than the other."""
        return other / ours if self.lower_is_better else ours / other


def measure_sides(comparison: Comparison, rounds: int) -> dict[str, list[float]]:
    """Return the figures by side and round, after one warm-up round; the order of sides turns round by round."""
    figures: dict[str, list[float]] = {name: [] for name in comparison.sides}
    order = list(comparison.sides)
    for number in range(rounds + 1):
        for name in order:
            reset_determinism()
            gc.collect()
            figure = comparison.sides[name]()
            if number:
                figures[name].append(figure)
        order.reverse()
    return figures


def reset_determinism() -> None:
    """Undo the determinism that one side's Trainer has set for the whole process."""
    torch.use_deterministic_algorithms(False)


def pick_second_best(figures: list[float], *, lower_is_better: bool) -> float:
    """Return the best figure but one: near what the machine can do, without trusting a single lucky round."""
    return sorted(figures, reverse=not lower_is_better)[1]


def summarize(comparison: Comparison, figures: dict[str, list[float]]) -> Record:
    """Return a comparison's medians, second-best figures and ratios, as bench.json keeps them."""
    median = {name: statistics.median(values) for name, values in figures.items()}
    second = {name: pick_second_best(v, lower_is_better=comparison.lower_is_better) for name, v in figures.items()}
    ours = next(iter(comparison.sides))
    ratios = {
        name: {
            "of_medians": comparison.compute_ratio(median[ours], median[name]),
            "of_second_best": comparison.compute_ratio(second[ours], second[name]),
            "target": target,
        }
        for name, target in comparison.targets.items()
    }
    return {
        "title": comparison.title,
        "unit": comparison.unit,
        "lower_is_better": comparison.lower_is_better,
        "rounds": figures,
        "median": median,
        "second_best": second,
        "ratios": ratios,
        "notes": comparison.notes,
    }


class MachineLoad:
    """How busy the machine is from now on, from Linux' /proc; elsewhere only the time is known."""

    def __init__(self) -> None:
        self.load = read_load_average()
        self.began, self.all, self.own = time.monotonic(), read_all_cpu_seconds(), read_own_cpu_seconds()

    def report(self) -> dict[str, float | None]:
        """Return load averages before and after, and the fraction of the cores' time that others used."""
        seconds, busy = time.monotonic() - self.began, read_all_cpu_seconds()
        others = None
        if self.all is not None and busy is not None:
            taken = (busy - self.all) - (read_own_cpu_seconds() - self.own)
            others = max(0.0, taken / (seconds * (os.cpu_count() or 1)))
        return {"load_before": self.load, "load_after": read_load_average(), "others_share": others, "seconds": seconds}


def read_load_average() -> float | None:
    """Return the mean number of processes that ran or waited to, over the last minute."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def read_all_cpu_seconds() -> float | None:
    """Return the busy seconds of all cores, a host's other guests included (steal); None without /proc."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split(None, 9)[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def read_own_cpu_seconds() -> float:
    """Return the busy seconds of this process, of the children it has waited for, and of its present workers."""
    ticks = 0
    for child in multiprocessing.active_children():
        stat = Path(f"/proc/{child.pid}/stat")
        if stat.exists():
            fields = stat.read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])  # user and system time; fields start after the name
    return sum(os.times()[:4]) + ticks / os.sysconf("SC_CLK_TCK")
