"""A job of a sweep: a process of its own that leaves nothing behind, however it or its launcher ends.

Its output goes to a file beside its run directory. The lock on that file is taken before the process starts and lasts
until the last of its processes has ended, so that no two launchers start one job, not even while it imports.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from ..cli.messages import sentence
from ..errors import UserError
from ..files import read_json
from ..runs.directory import Run
from ..runs.stored import same_command

LAUNCHED = "TRAIN_LAUNCHED"  # tells a job that its standard input lasts as long as its launcher


GRACE = 60  # seconds that a job has to save what it has, once told to stop


ENTRIES: list[dict[str, Any]] = []  # of the jobs that a launcher of this process has had: their results, or reasons


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
    results: dict[str, Any] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    places: list[int] = field(default_factory=list)
    tries: int = 0
    started: float = 0.0  # [seconds since 1970]
    log_begins: int = 0
    told_to_stop: float = 0.0
    verdict: tuple[str, str] = ("", "")  # what it then ends as, and why

    @property
    def path(self) -> Path:
        assert self.run is not None, "preflight finds the run directory"
        return self.run.path

    @property
    def log(self) -> Path:
        return self.path.with_name(f"{self.path.name}.log")

    @property
    def fresh(self) -> bool:
        """Whether it starts over."""
        return self.config is not None and self.config.fresh

    @property
    def again(self) -> str:
        """How it goes on where it was stopped."""
        return f"{same_command(fresh=self.fresh)} continues it"

    def end(self, state: str, reason: str = "") -> None:
        self.state, self.reason, self.process, self.places = state, reason, None, []

    def stop(self, state: str, reason: str) -> None:
        """Tell a job that runs to save what it has and to end, as what."""
        assert self.process is not None
        self.told_to_stop, self.verdict = time.time(), (state, reason)
        self.process.terminate()

    def entry(self) -> dict[str, Any]:
        """What the table at the end says of it."""
        told = self.results if self.state == "done" else {"status": self.state, "reason": self.reason}
        return told | {"label": self.label}


class FailedJobError(UserError):
    """What a sweeper gets for the result of a job that failed; the table at the end has told why."""


def held(path: Path) -> bool:
    """Whether a process holds the lock on this file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def kill(process: "subprocess.Popen[bytes] | None") -> None:
    """End a job and all that it has started, at once."""
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def failed_since(moment: float, job: Job) -> str:
    """The reason that a job's run has recorded for failing after this moment; "" where there is none."""
    file = job.path / "results.json"
    with contextlib.suppress(FileNotFoundError, UserError):
        if file.stat().st_mtime >= moment - 1:  # some file systems count in seconds
            results = read_json(file) or {}
            return str(results["reason"]).splitlines()[0] if results.get("status") == "failed" else ""
    return ""


def reason_of(job: Job) -> str:
    """Why a job has failed: what it wrote, or how it ended."""
    assert job.process is not None
    code = job.process.returncode
    if code < 0:
        memory = "; the system does that when memory runs out" if code == -signal.SIGKILL else ""
        return f"ended by {signal.Signals(-code).name}{memory} (see {job.log})"
    if recorded := failed_since(job.started, job):
        return recorded
    return last_words(job) or f"exit code {code} (see {job.log})"


def last_words(job: Job) -> str:
    """The last line that a job has written since it began; "" where there is none."""
    try:
        with job.log.open("rb") as file:
            file.seek(job.log_begins)
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return ""
    told = [line for line in lines if not line.startswith("(debug=true")]
    return told[-1].strip() if told else ""


def follow_launcher() -> None:
    """In a job: end, too, when the launcher has ended, however it did; what is done is saved as after Ctrl-C."""
    if LAUNCHED not in os.environ:
        return

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM, too, raise KeyboardInterrupt, and Ctrl-C also where a script has started us in the background."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def apart(function: Any, *arguments: Any) -> Any:
    """The result of a function in a process of its own, whose memory, the GPU's too, is free again afterwards."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=send, args=(theirs, function, arguments))
    with interruptible():  # from before it starts, so that it never stays behind
        try:
            process.start()
            theirs.close()
            result = ours.recv()
        except EOFError:
            process.join()
            raise UserError(f"Preflight: ended with code {process.exitcode}; had it too little memory?") from None
        finally:
            if process.pid is not None:
                process.kill()
                process.join()
    if isinstance(result, BaseException):
        raise result
    return result


def send(pipe: Any, function: Any, arguments: Any) -> None:
    import multiprocessing

    def follow_parent() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever waits for the result ends this process
    threading.Thread(target=follow_parent, daemon=True).start()
    try:
        pipe.send(function(*arguments))
    except Exception as error:
        pipe.send(UserError(sentence(error)))
