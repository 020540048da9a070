"""Run a job inside SLURM: submitit calls it in each task, and again after a requeue."""

import contextlib
import fcntl
import os
import signal
import subprocess
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from ..cli.console import build_command
from ..errors import UserError

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission


class Command:
    """A run as submitit calls it in each task of a SLURM job; after a requeue the run resumes."""

    def __init__(self, words: list[str], log: Path) -> None:
        self.words, self.log = words, log
        self.process: subprocess.Popen[bytes] | None = None
        self.ending = False  # as SLURM has asked

    def __call__(self) -> None:
        """Run the training, with its output in the log; raise UserError where it fails."""
        signal.signal(signal.SIGTERM, self.end)
        again = ["fresh=false"] if os.environ.get("SLURM_RESTART_COUNT", "0") != "0" else []
        with self.log.open("ab") as log:
            if os.environ["SLURM_PROCID"] == "0":
                # waited for: a node that was lost keeps its lock until the file server has noticed
                fcntl.flock(log, fcntl.LOCK_EX)
            self.process = subprocess.Popen(
                [*build_command("train"), *self.words, *again],
                env=os.environ | {"OMP_NUM_THREADS": os.environ.get("SLURM_CPUS_PER_TASK", "1")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            code = self.process.wait()
        while code and self.ending:
            signal.pause()  # SLURM would not requeue a job that has ended itself, and it will end us
        if code:
            raise UserError(f"exit code {code}, see {self.log}")

    def end(self, number: int, frame: FrameType | None) -> None:
        """Have the run save and end, as SLURM's signal asks."""
        self.ending = True
        if self.process:
            self.process.terminate()

    def checkpoint(self) -> "DelayedSubmission":
        """Have the run save, and return what a requeue shall call; submitit asks when the time is about to end."""
        from submitit.helpers import DelayedSubmission

        if self.process:
            self.process.terminate()
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)  # __call__ is waiting, too
        return DelayedSubmission(Command(self.words, self.log))
