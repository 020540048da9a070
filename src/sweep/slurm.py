"""Run a sweep on a cluster: `hydra/launcher=slurm` submits the jobs to SLURM, through submitit, and watches them.

A job is the command that src/sweep/launcher.py would start here, run by srun with one process for each device. Beside
each run directory a file records the job's number in the queue, so that the same command again submits nothing twice.
The nodes must share a file system whose locks (flock) hold between them.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn

from ..cli.console import set_variable
from ..cli.messages import explain_error
from ..errors import UserError
from ..machine.ranks import NODE_GPUS
from .board import Board
from .jobs import Job, is_locked, read_failure, read_last_line
from .launcher import Jobs
from .slurm_task import Command

if TYPE_CHECKING:
    from .preflight import Survey

LOOK = 5.0  # seconds between two looks at the queue


UNSEEN = 30.0  # seconds after a job's end in which its files may not have reached us


ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
    *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)


@dataclass
class SlurmConf:
    """The settings of hydra/launcher=slurm: hydra.launcher.partition=long …"""

    _target_: str = "hydra_plugins.residual.Slurm"
    slots: int | None = None  # jobs at once; by default as many as the cluster lets run
    partition: str | None = None  # by default the cluster's own choice
    minutes: int = 60  # a job's time limit; then it saves, and queues again
    requeues: int = 100  # how often it may queue again
    cpus: int = 1  # cores of each process
    gpus: int = 0  # of each node; with none, jobs run on CPUs
    memory: float | None = None  # of each node [GB]; by default the cluster's own choice
    sbatch: dict[str, Any] = field(default_factory=dict)  # other options of sbatch, by their long names


ConfigStore.instance().store(group="hydra/launcher", name="slurm", node=SlurmConf)


class Slurm(Jobs):
    """Runs a sweep's points as SLURM jobs."""

    local = False
    interrupted = "The jobs stay in the queue: {same} shows them again, scancel <number> ends one."

    def __init__(
        self,
        *,
        slots: int | None,
        partition: str | None,
        minutes: int,
        requeues: int,
        cpus: int,
        gpus: int,
        memory: float | None,
        sbatch: dict[str, object],
    ) -> None:
        super().__init__(slots=slots, retries=0, minutes=minutes, on_failure="continue")
        for name, value in {"cpus": cpus, "gpus": gpus + 1, "memory": memory, "requeues": requeues + 1}.items():
            if value is not None and value <= 0:
                raise UserError(f"hydra.launcher.{name}: type a larger number")
        self.partition, self.requeues, self.cpus, self.gpus, self.memory = partition, requeues, cpus, gpus, memory
        self.sbatch = dict(sbatch)
        self.looked = 0.0
        self.numbers: dict[int, str] = {}  # of the jobs in SLURM's queue
        self.ended: dict[int, float] = {}  # when we first saw that a job has ended

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Refuse to start where SLURM does not answer, then run the jobs of these overrides."""
        if missing := [name for name in ("sbatch", "squeue", "srun") if not shutil.which(name)]:
            raise UserError(
                f"hydra/launcher=slurm: there is no {missing[0]} here; type this where the cluster takes jobs."
            )
        try:
            import submitit  # noqa: F401
        except ImportError:
            raise UserError(f"hydra/launcher=slurm needs submitit: {sys.executable} -m pip install submitit") from None
        if read_queue() is None:
            raise UserError("hydra/launcher=slurm: squeue gets no answer from SLURM; try again when `squeue` works.")
        return super().launch(job_overrides, initial_job_idx)

    def survey(self, jobs: list[Job]) -> "Survey":
        """Look at the jobs with the nodes' GPUs and memory in place of this machine's."""
        if any(job.config is not None and job.config.preflight == "only" for job in jobs):
            raise UserError(
                "preflight=only measures the machine that it runs on: type it on a node, without hydra/launcher=slurm."
            )
        for job in jobs:
            if job.config is not None and job.config.preflight_memory is None and not self.gpus:
                job.config.preflight_memory = self.memory
        with set_variable(NODE_GPUS, str(self.gpus)):
            return super().survey(jobs)

    def run_all(self, jobs: list[Job], add_jobs: Callable[[], bool] = bool, board: Board | None = None) -> None:
        """Follow every job to its end; those in the queue outlive this process."""
        self.watch(jobs, add_jobs, board or Board(jobs))

    def step(self, jobs: list[Job]) -> None:
        """Look at the queue now and then: collect what has ended, submit what is not in it."""
        if time.monotonic() - self.looked < LOOK:
            return
        if (queue := read_queue()) is not None:  # else SLURM does not answer now
            for job in jobs:
                if job.state in ("queued", "running"):
                    self.follow(job, queue)
                elif job.state == "elsewhere" and not is_locked(job.log) and not is_locked(job.path / ".lock"):
                    job.end("waiting")
            self.submit([job for job in jobs if job.state == "waiting"], queue)
        self.looked = time.monotonic()

    def follow(self, job: Job, queue: dict[str, list[str]]) -> None:
        """Record what has become of a submitted job."""
        assert job.run is not None
        number = self.numbers[job.number]
        state, why, start = queue.get(number, ["COMPLETED", "", ""])
        if state not in ENDED:
            self.ended.pop(job.number, None)
            running = state in ("RUNNING", "COMPLETING")
            job.state, job.reason = "running" if running else "queued", f"SLURM job {number}"
            with contextlib.suppress(ValueError):  # N/A
                job.started = datetime.fromisoformat(start).timestamp()
            job.reason += f" ({why})" if not running and why not in ("", "None") else ""
            return
        found = None
        with contextlib.suppress(UserError):
            found = job.run.find_results()
        if found and (state == "COMPLETED" or not job.config.fresh):  # else they are those of the run before it
            job.results = found
            job.end("done")
            return
        failure = read_failure(job, since=get_record(job).stat().st_mtime)
        ended = self.ended.setdefault(job.number, time.monotonic())
        if not failure and time.monotonic() - ended < UNSEEN:
            return
        if not failure and (is_locked(job.log) or is_locked(job.path / ".lock")):
            job.end("elsewhere")
            return
        cause = "" if state in ("COMPLETED", "FAILED") else f"SLURM job {number}: {state} (see {job.log})"
        job.end(
            "failed", failure or cause or read_last_line(job) or f"SLURM job {number} left no result (see {job.log})"
        )

    def submit(self, jobs: list[Job], queue: dict[str, list[str]]) -> None:
        """Submit jobs, those of one size as an array, except what is finished, queued, or run by another process."""
        sizes: dict[tuple[int, int], list[tuple[Job, IO[str]]]] = {}
        with contextlib.ExitStack() as stack:
            for job in jobs:
                assert job.run is not None
                job.path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(get_record(job).open("a+"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:  # another launcher is submitting it
                    continue
                file.seek(0)
                known = file.read().strip()
                if queue.get(known, ENDED)[0] not in ENDED:
                    self.numbers[job.number] = known
                    self.follow(job, queue)
                elif is_locked(job.log):
                    job.end("elsewhere")
                elif not job.config.fresh and (found := job.run.find_results()):
                    job.results = found
                    job.end("done", "finished elsewhere")
                else:
                    sizes.setdefault((job.devices, job.config.trainer.num_nodes), []).append((job, file))
            for (devices, nodes), members in sizes.items():
                try:
                    self.submit_array(members, devices, nodes)
                except Exception as error:
                    for job, _ in members:
                        job.end("failed", explain_error(error))

    def submit_array(self, members: list[tuple[Job, IO[str]]], devices: int, nodes: int) -> None:
        """Submit jobs that each take so many devices on so many nodes; each comes with its open record."""
        import submitit

        folder = Path(members[0][0].config.output_root, ".slurm").absolute()
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=self.requeues)
        asked = {"partition": self.partition, "gpus_per_node": self.gpus or None}
        asked["mem"] = f"{1000 * self.memory:.0f}M" if self.memory else None
        executor.update_parameters(
            job_name="train",
            time=self.minutes,
            nodes=nodes,
            ntasks_per_node=devices,
            cpus_per_task=self.cpus,
            array_parallelism=self.slots or len(members),
            srun_args=["--kill-on-bad-exit=1", f"--cpus-per-task={self.cpus}"],
            additional_parameters={"requeue": True, **self.sbatch},
            **{name: value for name, value in asked.items() if value is not None},
        )
        with executor.batch():
            submitted = [executor.submit(Command(make_words(job), job.log.absolute())) for job, _ in members]
        for (job, file), slurm_job in zip(members, submitted, strict=True):
            file.truncate(0)
            file.write(f"{slurm_job.job_id}\n")
            file.flush()
            self.numbers[job.number] = slurm_job.job_id
            job.log_begins = job.log.stat().st_size if job.log.exists() else 0
            job.state, job.reason = "queued", f"SLURM job {slurm_job.job_id}"

    def stop(self, jobs: list[Job]) -> None:
        """Leave the jobs in the queue to SLURM."""
        for job in jobs:
            if job.state in ("queued", "running"):
                job.reason = f"goes on as SLURM job {self.numbers[job.number]}"
            elif job.state in ("waiting", "elsewhere"):
                job.end("stopped", job.resume_hint)


def make_words(job: Job) -> list[str]:
    """Return the job's command line with the devices that were settled here: nodes might settle them differently."""
    trainer = job.config.trainer
    return [*job.words, f"trainer.accelerator={trainer.accelerator}", f"trainer.devices={trainer.devices}"]


def get_record(job: Job) -> Path:
    """Return the file with a job's number in the queue; the launcher that submits the job holds its lock."""
    return job.path.with_name(f"{job.path.name}.slurm")


def read_queue() -> dict[str, list[str]] | None:
    """Return [state, why it waits, start] of our jobs by number, those that ended lately too; None if unanswered."""
    asked = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%T|%r|%S"]
    done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        return None
    rows = [line.split("|") for line in done.stdout.splitlines()]
    return {number: rest for number, *rest in rows}
