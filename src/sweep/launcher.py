"""Run a sweep (`-m`) to its end: a process for each job, several at once, stopped and continued at any point.

A job is `python -m src.train <its overrides>` in a session of its own. There is no state beside the run directories: a
finished run is skipped, an unfinished one resumes, and one that another process holds is waited for.

Each job is a process, because Lightning starts the other ranks of trainer=ddp with the command line that it finds: a
sweep's would run the sweep again in each of them; a job's own is one configuration, and so is every rank's.
"""

import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

from ..cli.compose import complete_overrides, to_train_config
from ..cli.console import PACKAGE, build_command, say
from ..cli.messages import explain_error
from ..errors import UserError
from ..files import LONGEST_ADDED, is_file_name
from ..runs.stored import describe_same_command
from ..text import quote
from .board import OPEN, Board
from .jobs import (
    ENTRIES,
    GRACE,
    LAUNCHED,
    Job,
    explain_failure,
    is_locked,
    kill,
    make_job_return,
    read_failure,
)
from .processes import Forked, JobProcess, interrupt_on_signals, run_in_subprocess

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from .preflight import Survey

TICK = 0.2  # seconds between two looks at the jobs


@dataclass
class JobsConf:
    """The settings of the launcher: hydra.launcher.slots=2 …"""

    _target_: str = "hydra_plugins.residual.Jobs"
    slots: int | None = None  # jobs at once; by default one for each GPU, and one where there is none
    retries: int = 0  # how often a failed job is started again
    minutes: float | None = None  # a job's time limit; its work until then is saved
    on_failure: str = "continue"  # or stop: start no other job, and end those that run


ConfigStore.instance().store(group="hydra/launcher", name="jobs", node=JobsConf)


class Jobs(Launcher):
    """Runs a sweep's points, each in a process of its own, as many at once as there are slots."""

    local = True  # its jobs are processes of this machine
    interrupted = "Stopped; {same} continues the sweep."

    def __init__(self, slots: int | None, retries: int, minutes: float | None, on_failure: str) -> None:
        for name, value in {"slots": slots, "retries": retries + 1, "minutes": minutes}.items():
            if value is not None and value <= 0:
                raise UserError(
                    f"hydra.launcher.{name}: too small; type slots and minutes above 0, retries of at least 0"
                )
        if on_failure not in ("continue", "stop"):
            raise UserError(f"hydra.launcher.on_failure={on_failure}: type continue or stop")
        self.slots, self.retries, self.minutes, self.on_failure = slots, retries, minutes, on_failure

    def setup(self, *, hydra_context: "HydraContext", task_function: "TaskFunction", config: "DictConfig") -> None:
        """Keep Hydra's loader and the sweep's own configuration."""
        self.loader, self.config = hydra_context.config_loader, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Report all that preflight finds wrong, then run the jobs of these overrides; return what each came to."""
        from ..machine import ranks
        from . import preflight

        if rank := ranks.find_rank():
            raise UserError(
                f"A sweep (-m) starts the processes of its jobs itself; start it once, without {rank.starter}."
            )
        survey = self.survey(self.make_jobs(job_overrides, initial_job_idx))
        self.jobs = jobs = survey.jobs
        if problems := preflight.format_problems(survey):
            say(problems)
        if notes := preflight.format_notes(survey):
            say(notes)
        if survey.only:
            print(preflight.format_costs(survey))
            if problems:
                raise UserError("Nothing was started, as preflight=only asks.")
            return [make_job_return(job) for job in jobs]
        if problems and (self.on_failure == "stop" or survey.fatal):
            raise UserError("Nothing was started; correct what is named above, and type the command again.")
        self.places, self.threads = survey.places, survey.threads
        try:
            self.run_all(jobs)
        except KeyboardInterrupt:
            same = describe_same_command(fresh=any(job.fresh for job in jobs))
            raise KeyboardInterrupt(f"\n{self.interrupted.format(same=same)}") from None
        finally:
            ENTRIES.extend(job.make_entry() for job in jobs)
        return [make_job_return(job) for job in jobs]

    def survey(self, jobs: list[Job]) -> "Survey":
        """Look at the jobs before the first of them starts, in another process."""
        from . import preflight

        return run_in_subprocess(preflight.survey, jobs, self.slots)

    def make_jobs(self, points: Sequence[Sequence[str]], first: int) -> list[Job]:
        """Make a job of each point, numbered from `first` on and labelled by the words that not all of them have."""
        jobs = [self.make_job(list(words), first + i) for i, words in enumerate(points)]
        common = set.intersection(*(set(job.words) for job in jobs)) if len(jobs) > 1 else set()
        for job, words in zip(jobs, points, strict=True):
            job.label = " ".join(word for word in words if word not in common) or "defaults"
        return jobs

    def make_job(self, words: list[str], number: int) -> Job:
        """Make the job of these overrides: failed where they are wrong, else with its typed configuration."""
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import OmegaConf, open_dict, read_write

        from ..training.settle import choose_directory

        job = Job(number=number, words=words)
        try:
            job.words = complete_overrides(words)
            config = self.loader.load_sweep_config(self.config, job.words)
            with open_dict(config):
                config.hydra.job.id, config.hydra.job.num = str(number), number
            HydraConfig.instance().set_config(config)
            root, subdir = config.hydra.sweep.dir, config.hydra.sweep.subdir  # resolved while Hydra's node is there
            with read_write(config), open_dict(config):
                del config["hydra"]
            job.config, job.exact = choose_directory(to_train_config(config), Path(root, subdir), subdir)
            if job.exact and not is_file_name(f"{job.exact}{LONGEST_ADDED}"):
                raise UserError("hydra.sweep.subdir: makes a folder's name too long for a file system; type another")
        except Exception as error:
            job.end("failed", explain_error(error, job.words))
            return job
        hydra_words = OmegaConf.to_container(self.config.hydra.overrides.hydra, resolve=False)
        assert isinstance(hydra_words, list)
        job.words += [word for word in hydra_words if word.startswith("hydra.searchpath")]
        job.words += [f"output_root={quote(job.config.output_root)}"]
        job.words += [f"hydra.run.dir={quote(job.exact)}"] if job.exact else []
        return job

    def run_all(self, jobs: list[Job], add_jobs: Callable[[], bool] = bool, board: Board | None = None) -> None:
        """Run every job to its end; Ctrl-C, SIGTERM and the end of this process end those that run.

        `add_jobs` is called at each look: it may append jobs, and returns whether there will be others.
        """
        self.began = time.time()
        self.free = list(range(len(self.places)))
        self.lifeline, writing = os.pipe()  # the jobs' standard input: it ends with the only process that could write
        try:
            self.watch(jobs, add_jobs, board or Board(jobs))
        finally:
            os.close(self.lifeline)
            os.close(writing)

    def watch(self, jobs: list[Job], add_jobs: Callable[[], bool], board: Board) -> None:
        """Step until all jobs have ended, and show the board; then stop what still runs."""
        with interrupt_on_signals():
            try:
                while add_jobs() or any(job.state in OPEN for job in jobs):
                    self.step(jobs)
                    board.show()
                    time.sleep(TICK)
            finally:
                self.stop(jobs)
                board.show(last=True)

    def step(self, jobs: list[Job]) -> None:
        """Look at each job once: collect what has ended, start what there is a place for."""
        for job in jobs:
            if job.state == "running":
                self.collect(job)
            elif job.state == "elsewhere" and not is_locked(job.log) and not is_locked(job.path / ".lock"):
                failure = read_failure(job, since=self.began)
                job.end("failed", failure) if failure and not self.retries else job.end("waiting")
        if self.on_failure == "stop" and any(job.state == "failed" for job in jobs):
            self.stop(jobs)
        for job in jobs:
            if job.state == "waiting" and not self.start(job):
                return  # in their order: a job that needs several GPUs is not overtaken for ever

    def start(self, job: Job) -> bool:
        """Start a job that is not finished and not run elsewhere; return False where it must wait for a place."""
        assert job.run is not None
        places = self.choose_places(job)
        if not places:
            return False
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab") as log:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                job.end("elsewhere")
                return True
            if not (job.fresh and job.tries == 0) and (found := job.run.find_results()):
                job.results = found
                job.end("done", "finished elsewhere")
                return True
            ids = sorted({self.places[place] for place in places} - {""})
            threads = max(1, self.threads // (1 if ids else job.devices))
            shown = {"CUDA_VISIBLE_DEVICES": ",".join(ids)} if ids else {}
            job.log_begins = log.tell()
            words = [*job.words, *(["fresh=false"] if job.tries else [])]
            environment = os.environ | {LAUNCHED: "1", "OMP_NUM_THREADS": str(threads)} | shown
            job.process = start_process(words, environment, stdin=self.lifeline, output=log.fileno(), job=job)
        job.state, job.started, job.places, job.stop_requested = "running", time.time(), places, 0.0
        job.tries += 1
        self.free = [place for place in self.free if place not in places]
        return True

    def choose_places(self, job: Job) -> list[int]:
        """Return free places for a job: one for each GPU, or one part of the CPU; none where too few are free."""
        different = {self.places[place]: place for place in reversed(self.free)}
        wanted = job.devices if job.on_gpu else 1
        return sorted(different.values())[:wanted] if len(different) >= wanted else []

    def collect(self, job: Job, stopped: bool = False) -> None:
        """Record what has become of a running job, which we may have `stopped`."""
        assert job.process is not None and job.run is not None
        if job.process.poll() is None:
            late = self.minutes is not None and time.time() - job.started > 60 * self.minutes
            if late and not job.stop_requested:
                job.stop("failed", f"took more than {self.minutes:g} minutes; its work is saved")
            elif job.stop_requested and time.time() - job.stop_requested > GRACE:
                kill(job.process)
            return
        kill(job.process)  # ranks may be left without their rank 0
        self.free = sorted({*self.free, *job.places})
        found = None
        with contextlib.suppress(UserError):
            found = job.run.find_results()
        if found and job.process.returncode == 0:
            job.results = found
            job.end("done")
        elif stopped:
            job.end("stopped", job.resume_hint)
        elif job.stop_requested:
            job.end(*job.stopped_as)
        elif is_locked(job.path / ".lock"):
            job.end("elsewhere")
        elif job.tries <= self.retries:
            job.end("waiting", f"starts again after: {explain_failure(job)}")
        else:
            job.end("failed", explain_failure(job))

    def stop(self, jobs: list[Job]) -> None:
        """End the running jobs, and wait until they have saved; waiting jobs will not start."""
        running = [job for job in jobs if job.process is not None]
        for job in running:
            job.process.terminate()  # type: ignore[union-attr]
        limit = time.monotonic() + GRACE
        try:
            for job in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    job.process.wait(max(0.0, limit - time.monotonic()))  # type: ignore[union-attr]
        finally:  # also after a second Ctrl-C
            for job in running:
                kill(job.process)
                self.collect(job, stopped=True)
        for job in jobs:
            if job.state in ("waiting", "elsewhere"):
                job.end("stopped", job.resume_hint)


def start_process(words: list[str], environment: dict[str, str], *, stdin: int, output: int, job: Job) -> JobProcess:
    """Start the process of a job: a fork, or from scratch where Lightning then starts its other ranks like it."""
    if job.config.trainer.strategy != "ddp":
        return Forked(f"{PACKAGE}.train", words, environment=environment, stdin=stdin, output=output)
    program = [*build_command("train"), *words]
    return subprocess.Popen(program, env=environment, stdin=stdin, stdout=output, stderr=output, start_new_session=True)
