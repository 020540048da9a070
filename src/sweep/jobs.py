"""A job of a sweep: a process of its own that leaves nothing behind, however it or its launcher ends.

Its output goes to a file beside its run directory. The lock on that file is taken before the process starts and lasts
until the last of its processes has ended, so that no two launchers start one job, not even while it imports.
"""

import contextlib
import fcntl
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import read_json
from ..runs.directory import Run
from ..runs.results import Results
from ..runs.stored import describe_same_command
from ..text import take_first_line
from .processes import JobProcess

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

LAUNCHED = "TRAIN_LAUNCHED"  # tells a job that its standard input lasts as long as its launcher


GRACE = 60  # seconds that a job has to save its work, once it was asked to stop


ENTRIES: list[Results] = []  # the results, or reasons to fail, of the jobs that this process has launched


@dataclass
class Job:
    """A point of a sweep, and its state: waiting, queued, elsewhere, running, done, failed, pruned or stopped."""

    number: int
    words: list[str]  # of its command line
    config: Any = None
    exact: Path | None = None  # the run directory, where the user chose one
    label: str = ""
    run: Run | None = None
    devices: int = 1
    on_gpu: bool = False
    state: str = "waiting"
    reason: str = ""
    results: Results = field(default_factory=dict)
    process: JobProcess | None = None
    places: list[int] = field(default_factory=list)
    tries: int = 0
    started: float = 0.0  # [seconds since 1970]
    log_begins: int = 0
    stop_requested: float = 0.0  # [seconds since 1970]
    stopped_as: tuple[str, str] = ("", "")  # the state, and the reason, in which it then ends

    @property
    def path(self) -> Path:
        """The run directory."""
        assert self.run is not None, "preflight finds the run directory"
        return self.run.path

    @property
    def log(self) -> Path:
        """The file beside the run directory that holds the job's output."""
        return self.path.with_name(f"{self.path.name}.log")

    @property
    def fresh(self) -> bool:
        """True where the job starts over."""
        return self.config is not None and self.config.fresh

    @property
    def resume_hint(self) -> str:
        """The sentence that says how to continue the job after a stop."""
        return f"{describe_same_command(fresh=self.fresh)} continues it"

    def end(self, state: str, reason: str = "") -> None:
        """Leave the job in a state without a process."""
        self.state, self.reason, self.process, self.places = state, reason, None, []

    def stop(self, state: str, reason: str) -> None:
        """Ask a running job to save and end; it will end in this state, for this reason."""
        assert self.process is not None
        self.stop_requested, self.stopped_as = time.time(), (state, reason)
        self.process.terminate()

    def make_entry(self) -> Results:
        """Return the job's row of the table at the end."""
        entry = self.results if self.state == "done" else {"status": self.state, "reason": self.reason}
        return entry | {"label": self.label}


class FailedJobError(UserError):
    """A job has failed; the table at the end says why, and the sweeper gets this in place of a result."""


def make_job_return(job: Job) -> "JobReturn":
    """Return what a sweeper gets of a job: the validation metric that a search is for, or the failure."""
    from hydra.core.utils import JobReturn, JobStatus

    from ..tasks.table import find_objective

    if job.state == "failed":
        result = JobReturn(overrides=job.words, status=JobStatus.FAILED, task_name="train")
        result.return_value = FailedJobError(f"job {job.number} ({job.label}): {job.reason}")
    else:
        result = JobReturn(overrides=job.words, status=JobStatus.COMPLETED, task_name="train")
        result.return_value = find_objective(job.results)
    return result


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock on this file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def kill(process: JobProcess | None) -> None:
    """Kill a job and all processes that it has started."""
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def read_failure(job: Job, since: float) -> str:
    """Return the reason to fail that a job's run has recorded since this moment; "" where there is none."""
    file = job.path / "results.json"
    with contextlib.suppress(FileNotFoundError, UserError):
        if file.stat().st_mtime >= since - 1:  # some file systems count in seconds
            results = read_json(file) or {}
            return take_first_line(str(results.get("reason"))) if results.get("status") == "failed" else ""
    return ""


def explain_failure(job: Job) -> str:
    """Return why a job has failed: what it recorded or printed last, or how its process ended."""
    assert job.process is not None and job.process.returncode is not None
    code = job.process.returncode
    if code < 0:
        memory = "; the system sends it when memory runs out" if code == -signal.SIGKILL else ""
        return f"ended by {signal.Signals(-code).name}{memory} (see {job.log})"
    if recorded := read_failure(job, since=job.started):
        return recorded
    return read_last_line(job) or f"exit code {code} (see {job.log})"


def read_last_line(job: Job) -> str:
    """Return the last line that a job has printed since it began; "" where there is none."""
    try:
        with job.log.open("rb") as file:
            file.seek(job.log_begins)
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return ""
    lines = [line for line in lines if not line.startswith("(debug=true")]
    return lines[-1].strip() if lines else ""


def follow_launcher() -> None:
    """Have this process, if it is a job, save and end when its launcher has ended, however that came about."""
    if LAUNCHED not in os.environ:
        return

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()
