"""A search over settings (`-m hpo=default`): Optuna proposes the points, each is a job as of any other sweep.

A trial's value is a validation metric of the weights that the test would see; the test set itself is left alone
(test=false). What a search knows is in its folder, `<output_root>/hpo/<name>`, and in the trials' run directories, so
it may be killed at any moment: the same command continues the trials that had begun, up to the same number in all. A
point is a function of the search's seed, the trial's number and the history, and what is pruned one of the epochs'
figures alone. With one slot a search that was killed therefore ends as if it never was.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cli.console import say
from ..cli.messages import sentence
from ..config.fields import require
from ..config.run import TrainConfig
from ..config.search import HpoConfig
from ..errors import UserError
from ..runs.results import watch_metrics
from ..tasks.table import row_of
from .board import OPEN, Board
from .jobs import Job, apart
from .search_report import conclude, rounded, word

if TYPE_CHECKING:
    from optuna import Study, Trial

    from .launcher import Jobs

BEFORE_PRUNING = 5, 1 / 2  # complete trials, and the share of its epochs that each trial gets: early ones say little


EVERY = 60  # seconds between two renewals of the folder's files at least


def search(launcher: "Jobs", words: list[Any]) -> None:
    """Search as the launcher's configuration says, with these parsed words of the command line fixed."""
    try:
        import optuna
    except ImportError:
        raise UserError("hpo=… needs Optuna: python -m pip install 'optuna>=5'") from None
    from omegaconf import OmegaConf

    from . import preflight

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings: Any = OmegaConf.to_object(launcher.config.hpo)
    typed = {o.input_line: o for o in words if o.key_or_group.split(".")[0] != "hpo"}
    if grids := [line for line, override in typed.items() if override.is_sweep_override()]:
        raise UserError(f"{grids[0]}: a search tries no grid; leave one value")
    fixed = list(typed)
    for name in sorted({override.key_or_group for override in typed.values()} & set(settings.space)):
        say(f"{name} is typed, so it is not searched.")
        del settings.space[name]
    base = launcher.job([*fixed, "test=false"], 0)
    base.label = "what the trials have in common"
    if base.state == "waiting":
        check(settings, base.config)
        survey = apart(preflight.survey, [base], launcher.slots)
        (base,), launcher.places, launcher.threads = survey.jobs, survey.places, survey.threads
        if survey.only and base.state != "failed":
            print(preflight.costs(survey))
            print(f"That is one of {settings.trials} trials, fewer epochs of those that are pruned.")
            return
        if survey.fatal:
            raise UserError(survey.fatal)
    if base.state == "failed":
        raise UserError(base.reason)
    Search(launcher, settings, fixed, base).run()


def check(settings: HpoConfig, config: TrainConfig) -> None:
    """Raise UserError where these runs are none for a search."""
    require(bool(settings.space), "hpo.space: nothing is left to search")
    for name, values in settings.space.items():
        try:
            value = attrgetter(name)(config)
        except AttributeError:
            raise UserError(f"hpo.space: {name}: no such setting with model={config.model.name}") from None
        number = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        require(number or bool(values.choices), f"hpo.space: {name}={value} is no number: give choices=[…]")
    require(
        config.data.val_fraction > 0,
        "hpo=… chooses by the validation set, but data.val_fraction=0 keeps none; search with data.val_fraction=0.1",
    )
    require(not config.monitor_test, "hpo=… leaves the test set alone: leave out monitor_test=true")
    require(
        not config.fresh and config.resume is None,
        "hpo=… continues what its folder holds; start over with another hpo.name=…, without fresh= and resume=",
    )


@dataclass
class Running:
    """A trial that has begun, and how far it has been looked at."""

    trial: "Trial"
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
        self.metric = settings.metric or headline(config)
        self.minimize = "loss" in self.metric
        self.room = max(1, len(launcher.places) // (base.devices if base.on_gpu else 1))
        space = {name: asdict(values) for name, values in sorted(settings.space.items())}
        what = [base.run.config_hash, space, self.metric, settings.prune, settings.seed]
        self.content = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:10]
        name = settings.name or f"{config.data.name}-{config.model.name}-{self.content}"
        self.folder = Path(config.output_root, "hpo", name)
        self.jobs: list[Job] = []
        self.running: list[Running] = []
        self.concluded = 0.0
        self.unknown = ""  # what to say where no trial has such a metric

    def run(self) -> None:
        with held_alone(self.folder):
            self.study = self.opened()
            trials = self.study.trials
            self.left = [trial for trial in trials if trial.state.name == "RUNNING"]
            self.begun = sum(trial.state.name != "WAITING" for trial in trials)
            ended, wanted = self.begun - len(self.left), self.settings.trials
            say(f"{self.folder}: {wanted} trials for {self.metric}, {ended} of them ended before")
            now = self.base.run.code_hash if self.base.run else ""
            if older := sum(trial.user_attrs.get("code", now) != now for trial in trials):
                say(f"The code has changed since {older} of them; hpo.name=… begins a search of its own.")
            try:
                self.launcher.run_all(self.jobs, self.more, Board(self.jobs, before=ended, of=wanted))
            except KeyboardInterrupt:
                raise KeyboardInterrupt("\nStopped; the same command continues the search.") from None
            finally:
                self.observe()
                print(self.conclude())
                self.storage.engine.dispose()  # the database is closed, and no later than this
        if not any(trial.state.is_finished() and trial.state.name != "FAIL" for trial in self.study.trials):
            raise UserError("Every trial failed.")
        if self.halted():
            raise UserError("Stopped after a failure, as hydra.launcher.on_failure=stop asks.")

    def opened(self) -> "Study":
        """The study of the folder, a new one with the recipe's own values as its first point."""
        import optuna

        self.storage = optuna.storages.RDBStorage(f"sqlite:///{(self.folder / 'study.db').resolve()}")
        warm_up = int(self.base.config.trainer.max_epochs * BEFORE_PRUNING[1])
        study = optuna.create_study(
            storage=self.storage,
            study_name="search",
            direction="minimize" if self.minimize else "maximize",
            pruner=optuna.pruners.MedianPruner(BEFORE_PRUNING[0], warm_up),
            load_if_exists=True,
        )
        if study.user_attrs.setdefault("content", self.content) != self.content:
            raise UserError(f"{self.folder}: holds another search; choose another hpo.name=…")
        study.set_user_attr("content", self.content)
        recipe = {name: attrgetter(name)(self.base.config) for name in self.settings.space}
        if not study.trials and all(self.settings.space[name].holds(value) for name, value in recipe.items()):
            study.enqueue_trial(recipe)
        return study

    def more(self) -> bool:
        """Learn from the jobs, begin trials where there is room; whether there will be others."""
        if self.observe() and time.monotonic() - self.concluded > EVERY:
            self.conclude()
        if self.unknown:
            raise UserError(self.unknown)
        remaining = len(self.left) + self.settings.trials - self.begun
        while remaining > 0 and not self.halted() and sum(job.state in OPEN for job in self.jobs) < self.room:
            self.begin()
            remaining -= 1
        return remaining > 0 and not self.halted()

    def halted(self) -> bool:
        """Whether a failure has ended the search, as hydra.launcher.on_failure=stop asks."""
        return self.launcher.on_failure == "stop" and any(job.state == "failed" for job in self.jobs)

    def begin(self) -> None:
        """Make a job of a trial that an earlier start has left, or of the next one."""
        import optuna

        if self.left:
            before = self.left.pop(0)
            trial, last = optuna.Trial(self.study, before._trial_id), max(before.intermediate_values, default=0)
        else:
            self.begun += 1
            trial, last = self.study.ask(), 0
        words = [word(name, value) for name, value in self.proposed(trial).items()]
        job = self.launcher.job([*self.fixed, *words, "test=false"], trial.number)
        job.label = " ".join(words)
        if job.state == "waiting":
            from . import preflight

            try:
                preflight.locate(job)
            except Exception as error:
                job.end("failed", sentence(error, job.words))
        self.jobs.append(job)
        self.running.append(Running(trial, job, reported=last, looked=last - 1))

    def proposed(self, trial: "Trial") -> dict[str, Any]:
        """The trial's values by setting, the rest of them where a kill has cut it short."""
        import numpy as np
        import optuna

        seed = np.random.SeedSequence((self.settings.seed, trial.number)).generate_state(1)[0]
        self.study.sampler = optuna.samplers.TPESampler(seed=int(seed))
        for name, values in self.settings.space.items():
            if values.choices:
                trial.suggest_categorical(name, values.choices)
            elif isinstance(attrgetter(name)(self.base.config), int):
                trial.suggest_int(name, math.ceil(values.low), math.floor(values.high), log=values.log)  # type: ignore[arg-type]
            else:
                trial.suggest_float(name, values.low, values.high, log=values.log)  # type: ignore[arg-type]
        return {name: rounded(trial.params[name]) for name in self.settings.space}

    def observe(self) -> bool:
        """Tell the study what the jobs have come to; whether a trial has ended."""
        for running in self.running:
            self.follow(running)
            if running.open and running.job.state in ("done", "failed"):
                self.close(running)
        ended = [running for running in self.running if not running.open]
        self.running = [running for running in self.running if running.open]
        return bool(ended)

    def follow(self, running: Running) -> None:
        """Report the epochs that a trial has behind it, each once, and prune it where they are too bad.

        So it is also with epochs that came after: what is pruned must not depend on how soon we look.
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
                self.tell(running, "PRUNED")
                if job.state == "running":
                    job.stop("pruned", f"worse than the median after {epoch} epochs")
                return

    def has_metric(self, numbers: Mapping[str, float]) -> bool:
        """Whether the search's metric is among a run's numbers; where it is not, the search is to end."""
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
            self.tell(running, "COMPLETE", metrics[self.metric])
        else:
            running.trial.set_user_attr("reason", f"{self.metric} is not finite" if done else running.job.reason)
            self.tell(running, "FAIL")

    def tell(self, running: Running, state: str, value: float | None = None) -> None:
        from optuna.trial import TrialState

        if running.job.run:
            running.trial.set_user_attr("run", str(running.job.path))
            running.trial.set_user_attr("code", running.job.run.code_hash)
        self.study.tell(running.trial, value, state=TrialState[state])
        running.open = False

    def conclude(self) -> str:
        """Write the folder's files; returns what to print."""
        self.concluded = time.monotonic()
        return conclude(self.study, self.folder, list(self.settings.space), self.metric, self.fixed, self.launcher)


@contextlib.contextmanager
def held_alone(folder: Path) -> Iterator[None]:
    """Keep a second start of the same search out: it would have to share the history."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another process is at this search; wait for it, or choose a hpo.name=…"
            ) from None
        yield


def headline(config: TrainConfig) -> str:
    """The validation metric that a task is about."""
    return f"val/{row_of(config.task.name).headline}"
