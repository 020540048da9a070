"""Runs commands as forks of a Python that has imported the project, with a fault at one of their file operations.

Like ../forks.py, whose orders it takes; an order may have a "fault", the arguments of the shim's fault_arm, and a
"limit" in seconds, after which the fork gets SIGALRM. The processes that a sweep starts are forks, too: they share the
count of the operations, and start in no time.
"""

import ctypes
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from forks import LIBRARIES, become, next_order  # noqa: E402

LIBRARIES = (
    *LIBRARIES,
    "optuna",
    "sklearn.datasets",
    "matplotlib.pyplot",
    "src.models.resnet",
    "src.report.render.page",
    "src.report.render.figures",
    "src.sweep.preflight",
    "src.sweep.launcher",
    "src.sweep.trials",
    "src.training.fit",
    "src.data.sets.digits",
)


def fork_and_run(function: Callable[[], None]) -> int:
    """Run a function in a fork, which exits with its code; return the fork's process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    if child := os.fork():
        return child
    code: object = 1
    try:
        function()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


class ForkedJob:
    """A job of a sweep, as subprocess.Popen would start it, but as a fork."""

    def __init__(self, program: list[str], *, env: dict[str, str], stdin: int, stdout: Any, stderr: Any, **_: Any):
        def run() -> None:
            os.setsid()
            for number, stream in enumerate((stdin, stdout.fileno(), stderr.fileno())):
                os.dup2(stream, number)
            os.closerange(3, 64)  # as exec would; a job's standard input ends with its launcher
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            os.environ.clear()
            os.environ.update(env)
            sys.argv = ["train", *program[3:]]
            for name in [name for name in sys.modules if name.startswith("hydra_plugins")]:
                del sys.modules[name]
            forget_hydra()
            runpy.run_module(program[2], run_name="__main__", alter_sys=True)

        self.pid, self.returncode = fork_and_run(run), None

    def poll(self) -> int | None:
        if self.returncode is None:
            child, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if child else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        limit = time.monotonic() + (timeout or 1e9)
        while (code := self.poll()) is None:
            if time.monotonic() > limit:
                raise subprocess.TimeoutExpired("job", timeout or 0)
            time.sleep(0.01)
        return code

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


def forget_hydra() -> None:
    """Have a fork of a running Hydra start with none."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


def start_jobs_as_forks() -> None:
    """Have the launcher start its jobs, and preflight, as forks."""
    from src.sweep import jobs, launcher

    launcher.subprocess = SimpleNamespace(Popen=ForkedJob, TimeoutExpired=subprocess.TimeoutExpired)  # type: ignore
    forks = multiprocessing.get_context("fork")
    parent = multiprocessing.parent_process
    jobs.multiprocessing = SimpleNamespace(get_context=lambda kind: forks, parent_process=parent)  # type: ignore


def main() -> None:
    for library in LIBRARIES:
        import_module(library)
    from src.runs import directory, identity

    start_jobs_as_forks()
    code_hash = identity.compute_code_hash()
    directory.compute_code_hash = lambda: code_hash
    order = next_order()
    become(order)
    sys.argv[0] = order["module"]
    signal.alarm(order["limit"])
    if order["fault"]:
        prefix, log, *numbers = order["fault"]
        log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        ctypes.CDLL(None).fault_arm(prefix.encode(), *numbers, log)
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
