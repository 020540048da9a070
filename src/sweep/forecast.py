"""Foretell where the running jobs of a sweep will end, from their first epochs (src/report/early.py).

A job of a sweep is foretold by the finished runs of its recipe, which differ in the seed alone and lie beside it. A
trial of a search is foretold by the search's other trials, whatever their settings. The search chose these settings by
what came before, so trials are not exchangeable, and nothing promises how often such a range holds: a rule of thumb.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..report.early import (
    LEAST,
    LEAST_TRIALS,
    Band,
    Curve,
    collect_finished,
    count_early_epochs,
    identify_recipe,
    predict_final,
)
from ..runs.identity import to_plain
from ..runs.results import watch_metrics
from ..tasks.table import find_task_row

if TYPE_CHECKING:
    from .jobs import Job


class Forecast:
    """Makes a range for each job once, when it has its first epochs behind it."""

    def __init__(self, jobs: "Sequence[Job]", *, search: bool) -> None:
        """`jobs` may grow; of a `search` they are its trials."""
        self.jobs, self.search = jobs, search
        self.bands: dict[int, Band | None] = {}  # by the job's number

    def find_band(self, job: "Job", curve: Curve) -> Band | None:
        """Return where a job will end by its rows of metrics.csv; None where too little is known."""
        epochs = job.config.trainer.max_epochs
        if job.number not in self.bands:
            if len(curve) < count_early_epochs(epochs):
                return None
            metric = f"val/{find_task_row(job.config.task.name).headline}"
            least = LEAST_TRIALS if self.search else LEAST
            finished = self.collect_finished(job)
            self.bands[job.number] = predict_final(finished, curve, epochs=epochs, metric=metric, least=least)
        return self.bands[job.number]

    def collect_finished(self, job: "Job") -> list[Curve]:
        """Collect the curves of what has ended before."""
        if self.search:
            return [watch_metrics(other.path / "metrics.csv") for other in self.jobs if other.state == "done"]
        return collect_finished(job.path.parent, identify_recipe(to_plain(job.config)))
