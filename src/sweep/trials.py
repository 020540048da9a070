"""Run a search's trials: propose points, start them as jobs, and tell the study what becomes of them.

What a search knows is in its folder, `<output_root>/hpo/<name>`, and in the trials' run directories, so it may be
killed at any moment: the same command continues the trials that had begun, up to the same number in all. A point is a
function of the search's seed, the trial's number and the history, and pruning depends on the epochs' figures alone.
With one slot a search that was killed therefore ends as if it never was.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import math
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.trial import TrialState

from ..cli.console import say
from ..cli.messages import explain_error, list_causes
from ..config.run import TrainConfig
from ..config.search import HpoConfig
from ..errors import UserError
from ..files import check_folder_name
from ..runs.results import watch_metrics
from ..tasks.table import find_task_row
from . import preflight
from .board import OPEN, Board
from .jobs import Job
from .search_report import Value, format_override, round_value, write_report

if TYPE_CHECKING:
    from .launcher import Jobs

BEFORE_PRUNING = 5, 1 / 2  # complete trials, and the fraction of its epochs that each trial gets: early ones say little


DATABASE, WAITING = "study.db", 5  # the file of Optuna's study, and seconds to wait while another program has it


EVERY = 60  # seconds between two renewals of the folder's files at least


@dataclass
class Running:
    """A trial that has begun, and how far it has been looked at."""

    trial: optuna.Trial
    job: Job
    reported: int  # the last epoch that the study knows of
    looked: int  # the last epoch after which it was decided that the trial goes on
    open: bool = True  # for the study; the job may still be ending


class Search:
    """Brings a study to its number of trials, as many at once as the launcher has places."""

    def __init__(self, launcher: "Jobs", settings: HpoConfig, fixed: list[str], base: Job) -> None:
        """`base` is the job that the trials vary, looked at by preflight; `fixed` are its words."""
        self.launcher, self.settings, self.fixed, self.base = launcher, settings, fixed, base
        config = base.config
        assert base.run is not None
        self.metric = settings.metric or choose_metric(config)
        self.minimize = "loss" in self.metric
        self.room = max(1, len(launcher.places) // (base.devices if base.on_gpu else 1))
        space = {name: asdict(values) for name, values in sorted(settings.space.items())}
        what = [base.run.config_hash, space, self.metric, settings.prune, settings.seed]
        self.content = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:10]
        name = settings.name or f"{config.data.name}-{config.model.name}-{self.content}"
        self.folder = Path(config.output_root, "hpo", check_folder_name("hpo.name", name))
        self.jobs: list[Job] = []
        self.running: list[Running] = []
        self.reported_at = 0.0
        self.unknown = ""  # what to say where no trial has such a metric

    def run(self) -> None:
        """Run the missing trials; raise UserError where all failed, or where a failure was to end the search."""
        with lock_folder(self.folder), explain_database(self.folder / DATABASE):
            self.study = self.open_study()
            trials = self.study.trials
            self.left = [trial for trial in trials if trial.state.name == "RUNNING"]
            self.begun = sum(trial.state.name != "WAITING" for trial in trials)
            ended, wanted = self.begun - len(self.left), self.settings.trials
            say(f"{self.folder}: {wanted} trials for {self.metric}, {ended} of them ended before")
            now = self.base.run.code_hash if self.base.run else ""
            if older := sum(trial.user_attrs.get("code", now) != now for trial in trials):
                say(f"The code has changed since {older} of them; another hpo.name=… searches with the present code.")
            try:
                self.launcher.run_all(
                    self.jobs, self.begin_trials, Board(self.jobs, before=ended, of=wanted, search=True)
                )
            except KeyboardInterrupt:
                raise KeyboardInterrupt("\nStopped; the same command continues the search.") from None
            finally:
                self.observe()
                print(self.report())
                self.storage.engine.dispose()  # the database is closed, and no later than this
        if not any(trial.state.is_finished() and trial.state.name != "FAIL" for trial in self.study.trials):
            raise UserError("Every trial failed; the reasons are above.")
        if self.is_halted():
            raise UserError("Stopped after a failure, as hydra.launcher.on_failure=stop asks.")

    def open_study(self) -> optuna.Study:
        """Open the folder's study, or make one whose first point is the recipe's own values."""
        file = (self.folder / DATABASE).resolve()
        # connected to by its path: as part of a URL, a name with ? or % would be another one
        connect = {"creator": functools.partial(sqlite3.connect, file, timeout=WAITING, check_same_thread=False)}
        self.storage = optuna.storages.RDBStorage(f"sqlite:///{DATABASE}", engine_kwargs=connect)
        warm_up = int(self.base.config.trainer.max_epochs * BEFORE_PRUNING[1])
        study = optuna.create_study(
            storage=self.storage,
            study_name="search",
            direction="minimize" if self.minimize else "maximize",
            pruner=optuna.pruners.MedianPruner(BEFORE_PRUNING[0], warm_up),
            load_if_exists=True,
        )
        if study.user_attrs.setdefault("content", self.content) != self.content:
            raise UserError(f"{self.folder}: holds another search; type another hpo.name=…")
        study.set_user_attr("content", self.content)
        recipe = {name: attrgetter(name)(self.base.config) for name in self.settings.space}
        if not study.trials and all(self.settings.space[name].contains(value) for name, value in recipe.items()):
            study.enqueue_trial(recipe)
        return study

    def begin_trials(self) -> bool:
        """Learn from the jobs, and begin trials where there is room; return whether there will be others."""
        if self.observe() and time.monotonic() - self.reported_at > EVERY:
            self.report()
        if self.unknown:
            raise UserError(self.unknown)
        remaining = len(self.left) + self.settings.trials - self.begun
        while remaining > 0 and not self.is_halted() and sum(job.state in OPEN for job in self.jobs) < self.room:
            self.begin_trial()
            remaining -= 1
        return remaining > 0 and not self.is_halted()

    def is_halted(self) -> bool:
        """Return whether a failure has ended the search, as hydra.launcher.on_failure=stop asks."""
        return self.launcher.on_failure == "stop" and any(job.state == "failed" for job in self.jobs)

    def begin_trial(self) -> None:
        """Make a job of a trial that an earlier start has left, or of the next one."""
        if self.left:
            before = self.left.pop(0)
            trial, last = optuna.Trial(self.study, before._trial_id), max(before.intermediate_values, default=0)
        else:
            self.begun += 1
            trial, last = self.study.ask(), 0
        words = [format_override(name, value) for name, value in self.propose(trial).items()]
        job = self.launcher.make_job([*self.fixed, *words, "test=false"], trial.number)
        job.label = " ".join(words)
        if job.state == "waiting":
            try:
                preflight.locate_run(job)
            except Exception as error:
                job.end("failed", explain_error(error, job.words))
        self.jobs.append(job)
        self.running.append(Running(trial, job, reported=last, looked=last - 1))

    def propose(self, trial: optuna.Trial) -> dict[str, Value]:
        """Return the trial's values by setting; what a kill has cut short is proposed as it would have been."""
        seed = np.random.SeedSequence((self.settings.seed, trial.number)).generate_state(1)[0]
        self.study.sampler = optuna.samplers.TPESampler(seed=int(seed))
        for name, values in self.settings.space.items():
            if values.choices:
                trial.suggest_categorical(name, values.choices)
                continue
            assert values.low is not None and values.high is not None
            if isinstance(attrgetter(name)(self.base.config), int):
                trial.suggest_int(name, math.ceil(values.low), math.floor(values.high), log=values.log)
            else:
                trial.suggest_float(name, values.low, values.high, log=values.log)
        return {name: round_value(trial.params[name]) for name in self.settings.space}

    def observe(self) -> bool:
        """Tell the study what has become of the jobs; return whether a trial has ended."""
        for running in self.running:
            self.follow(running)
            if running.open and running.job.state in ("done", "failed"):
                self.close(running)
        ended = [running for running in self.running if not running.open]
        self.running = [running for running in self.running if running.open]
        return bool(ended)

    def follow(self, running: Running) -> None:
        """Report the epochs that a trial has behind it, each once, and prune it where they are too bad.

        A trial is pruned at that epoch even if it has trained on: pruning must not depend on how soon we look.
        """
        trial, job = running.trial, running.job
        rows = watch_metrics(job.path / "metrics.csv") if job.state in ("running", "done") else []
        if rows and not self.has_metric(rows[0]):
            return
        for row in rows:
            epoch, figure = int(row["epoch"]), row[self.metric]
            if epoch <= running.looked or not math.isfinite(figure):
                continue
            if epoch > running.reported:
                trial.report(figure, epoch)
            running.looked = epoch
            if self.settings.prune and epoch < job.config.trainer.max_epochs and trial.should_prune():
                self.tell_study(running, "PRUNED")
                if job.state == "running":
                    job.stop("pruned", f"worse than the median after {epoch} epochs")
                return

    def has_metric(self, numbers: Mapping[str, float]) -> bool:
        """Return whether the search's metric is among a run's numbers; where it is not, the search is to end."""
        if self.metric not in numbers:
            known = ", ".join(name for name in numbers if name.startswith("val/"))
            self.unknown = f"hpo.metric={self.metric}: no such number; there are: {known}"
        return not self.unknown

    def close(self, running: Running) -> None:
        """Tell the study how a trial's job has ended."""
        metrics, done = running.job.results.get("metrics", {}), running.job.state == "done"
        if done and not self.has_metric(metrics):
            return
        if done and metrics[self.metric] is not None:
            self.tell_study(running, "COMPLETE", metrics[self.metric])
        else:
            running.trial.set_user_attr("reason", f"{self.metric} is not finite" if done else running.job.reason)
            self.tell_study(running, "FAIL")

    def tell_study(self, running: Running, state: str, value: float | None = None) -> None:
        """End a trial for the study, with its run directory and the code that ran."""
        if running.job.run:
            running.trial.set_user_attr("run", str(running.job.path))
            running.trial.set_user_attr("code", running.job.run.code_hash)
        self.study.tell(running.trial, value, state=TrialState[state])
        running.open = False

    def report(self) -> str:
        """Write the folder's files; return the text to print."""
        self.reported_at = time.monotonic()
        return write_report(self.study, self.folder, list(self.settings.space), self.metric, self.fixed, self.launcher)


@contextlib.contextmanager
def explain_database(file: Path) -> Iterator[None]:
    """Raise a UserError for a database that is damaged, locked, of another program, or cannot be written."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, optuna.exceptions.StorageInternalError) as error:
        told = str(next((e for e in list_causes(error) if isinstance(e, sqlite3.Error)), error)).partition("\n")[0]
        help = "move it away: the same command begins the search again, and finds the runs that it has finished"
        if "locked" in told:
            help = "another program has it open: end that, and type the same command again"
        elif "readonly" in told or "unable to open" in told:
            help = "its folder must be there, and be writable"
        raise UserError(f"{file}: the search's database cannot be used ({told}); {help}") from error


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep a second start of the same search out: it would have to share the history."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another process runs this search; wait for it, or type another hpo.name=…"
            ) from None
        yield


def choose_metric(config: TrainConfig) -> str:
    """Return the validation metric that a task is judged by."""
    return f"val/{find_task_row(config.task.name).headline}"
