"""Start the processes of a sweep as forks of one that has imported the libraries, and has touched no device.

To import Lightning takes longer than a small training. The sources of the project and plug-ins are imported after the
fork, so that each process runs them as they are then. Where forking is not safe (macOS), each starts from scratch.
"""

import atexit
import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.context import BaseContext
from multiprocessing.reduction import DupFd
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..cli.messages import explain_error
from ..errors import UserError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

T = TypeVar("T")

LIBRARIES = ["hydra", "lightning.pytorch", "torchvision.transforms.v2", "torchmetrics.classification"]


class JobProcess(Protocol):
    """What a launcher needs of a job's process, as subprocess.Popen has it."""

    pid: int

    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...


def choose_context() -> BaseContext:
    """Return the way in which processes are started here."""
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    context.set_forkserver_preload(LIBRARIES)
    return context


class FileNumber:
    """A file that the new process gets, too, under a number of its own."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[object]]:
        return detach, (DupFd(self.number),)


def detach(file: Any) -> int:
    number: int = file.detach()
    return number


class Forked:
    """A command that runs in a fork; a JobProcess."""

    def __init__(
        self, module: str, words: Sequence[str], *, environment: Mapping[str, str], stdin: int, output: int
    ) -> None:
        """Start ``python -m <module> <words>`` in a session of its own; errors are written to the output."""
        arguments = (module, list(words), dict(environment), FileNumber(stdin), FileNumber(output))
        self.process = choose_context().Process(target=become_command, args=arguments)  # type: ignore[attr-defined]
        self.process.start()
        self.pid: int = self.process.pid

    @property
    def returncode(self) -> int | None:
        code: int | None = self.process.exitcode
        return code

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code; raise subprocess.TimeoutExpired where it still runs after these seconds."""
        self.process.join(timeout)
        if (code := self.returncode) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def terminate(self) -> None:
        self.process.terminate()


def become_command(module: str, words: list[str], environment: dict[str, str], stdin: int, output: int) -> None:
    """Run a module as `python -m` does, with these words, environment and files."""
    os.setsid()
    for number, file in enumerate((stdin, output, output)):
        os.dup2(file, number)
    os.close(stdin)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    if threads := environment.get("OMP_NUM_THREADS"):  # which torch has read when it was imported
        import torch

        torch.set_num_threads(int(threads))
    sys.argv = [module, *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # of libraries, which multiprocessing would leave out


@contextlib.contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGTERM, too, and at Ctrl-C also where a script has started us in the background."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_in_subprocess(function: Callable[..., T], *arguments: object) -> T:
    """Return the result of a function that runs in another process, so that its memory, the GPU's too, is freed."""
    context = choose_context()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=send_result, args=(theirs, function, arguments))  # type: ignore[attr-defined]
    with interrupt_on_signals():  # from before it starts, so that it never stays behind
        try:
            process.start()
            theirs.close()
            result = ours.recv()
        except EOFError:
            process.join()
            raise UserError(
                f"Preflight ended with exit code {process.exitcode}, perhaps for lack of memory: end other programs, "
                "and type the command again."
            ) from None
        finally:
            if process.pid is not None:
                process.kill()
                process.join()
    if isinstance(result, BaseException):
        raise result
    return result


def send_result(pipe: "Connection", function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """Send the result of a function, or the sentence about its error, through a pipe; end with the parent process."""

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
        pipe.send(UserError(explain_error(error)))
