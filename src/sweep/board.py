"""Show the jobs of a sweep while it runs: on a terminal a table that renews itself, elsewhere a line an event."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..cli.console import clear_step
from ..runs.results import watch_metrics
from ..tasks.table import find_task_row
from ..text import format_duration, format_table
from .forecast import Forecast

if TYPE_CHECKING:
    from ..report.early import Band
    from .jobs import Job

EVERY = 1.0  # seconds between two drawings


OPEN = ("waiting", "queued", "elsewhere", "running")  # states of a job that has not ended


class Board:
    """Shows the jobs on stderr."""

    def __init__(self, jobs: "Sequence[Job]", *, before: int = 0, of: int = 0, search: bool = False) -> None:
        """`jobs` may grow, up to `of` together with those that ended `before`; of a `search` they are its trials."""
        self.jobs, self.before, self.of = jobs, before, of
        self.terminal = sys.stderr.isatty()
        self.forecast = Forecast(jobs, search=search)
        self.drawn_at = 0.0
        self.lines = 0  # of the last drawing
        self.known = {
            job.number: job.state if job.state == "failed" else "waiting" for job in jobs
        }  # preflight has said it

    def show(self, last: bool = False) -> None:
        """Show what has changed; a terminal's table is drawn again once a second at most, unless it is the `last`."""
        for job in self.jobs:
            if self.known.get(job.number, "waiting") != job.state:
                self.known[job.number] = job.state
                if not self.terminal:
                    self.write(f"{self.format_progress()} job {job.number} ({job.label}): {describe_state(job)}\n")
        if last or time.monotonic() - self.drawn_at > EVERY:
            self.drawn_at = time.monotonic()
            if self.terminal:
                self.draw()
            else:
                self.say_forecasts()

    def say_forecasts(self) -> None:
        """Say where jobs will end, of each once, as soon as that is known."""
        kind = "a rule of thumb" if self.forecast.search else "a 90 % range"
        for job in self.jobs:
            if job.state != "running" or job.number in self.forecast.bands:
                continue
            if band := self.forecast.find_band(job, watch_metrics(job.path / "metrics.csv")):
                text = f"will end with val {format_band(band)}, {kind} by {band.n} finished ones"
                self.write(f"{self.format_progress()} job {job.number} ({job.label}): {text}\n")

    def draw(self) -> None:
        """Draw the table over the last one; where the terminal is too low, only jobs that run or failed."""
        size = shutil.get_terminal_size()
        room = size.lines - 5
        shown = (
            self.jobs
            if len(self.jobs) <= room
            else [j for j in self.jobs if j.state not in ("waiting", "queued", "done")]
        )
        body = [make_row(job, self.forecast) for job in shown[: max(1, room)]]
        end = "end (rule of thumb)" if self.forecast.search else "end (90 %)"
        rows = [["job", "", "", "epoch", "val", end, "time"], *body]
        if not any(row[5] for row in body):
            rows = [[*row[:5], *row[6:]] for row in rows]
        counted = ", ".join(f"{n} {state}" for state, n in Counter(job.state for job in self.jobs).items())
        failed = [f"job {job.number}: {job.reason.splitlines()[0]}" for job in self.jobs if job.state == "failed"]
        text = [
            format_table(rows, left=3),
            f"{self.of or len(self.jobs)} jobs: {counted}",
            *failed[: max(0, room - len(rows))],
        ]
        lines = [line[: size.columns - 1] for line in "\n".join(text).splitlines()]
        up = f"\x1b[{self.lines}F\x1b[J" if self.lines else ""  # to the first line of the last drawing, and clear
        self.lines = len(lines)
        self.write(up + "\n".join(lines) + "\n")

    def format_progress(self) -> str:
        """Return how many of the jobs have ended, as in [3/12]."""
        done = self.before + sum(job.state not in OPEN for job in self.jobs)
        return f"[{done}/{self.of or len(self.jobs)}]"

    def write(self, text: str) -> None:
        """Write text to stderr at once."""
        clear_step()
        sys.stderr.write(text)
        sys.stderr.flush()


def describe_state(job: "Job") -> str:
    """Return a job's state in words, with its log, its metric or its reason to fail."""
    if job.state == "running":
        return f"running, see {job.log}"
    if job.state == "elsewhere":
        return "another process runs it; waiting for its result"
    if job.state == "done":
        split = "test" if job.results["status"] == "finished" else "val"
        metrics = job.results["metrics"]
        score = metrics.get(f"{split}/{find_task_row(job.results['task']).headline}")
        return (job.reason or "done") + ("" if score is None else f", {split} {score:.4f}")
    return f"{job.state}: {job.reason}" if job.reason else job.state


def format_band(band: "Band | None") -> str:
    """Format a range; "" where there is none."""
    return f"{band.low:.4f}-{band.high:.4f}" if band else ""


def make_row(job: "Job", forecast: Forecast) -> list[str]:
    """Return a job's row of the table."""
    last: dict[str, float] = {}
    band = None
    if job.state in ("running", "elsewhere"):
        curve = watch_metrics(job.path / "metrics.csv")
        last, band = next(reversed(curve), {}), forecast.find_band(job, curve)
    elif job.state == "done":
        last = {"epoch": job.results["epochs"], **job.results["metrics"]}
    value = last.get(f"val/{find_task_row(job.config.task.name).headline}")
    epoch = f"{last['epoch']:.0f}/{job.config.trainer.max_epochs}" if last else ""
    seconds = job.results["time"]["fit_seconds"] if job.state == "done" else time.time() - job.started
    spent = format_duration(seconds) if job.state in ("running", "done") else ""
    figure = "" if value is None else f"{value:.4f}"
    return [str(job.number), job.label, job.state, epoch, figure, format_band(band), spent]
