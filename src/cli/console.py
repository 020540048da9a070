"""Messages on the console, and environment variables for the processes that a command starts."""

import contextlib
import os
import sys
from collections.abc import Iterator

FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR")  # the user's value, which other processes are to inherit
SHOWN: list[str] = []  # the step on the terminal, or none
CLEAR_LINE = "\r\x1b[K"
TRACEBACKS = FULL_ERROR == "1" or "debug=true" in (word.lower() for word in sys.argv)


def say(text: str) -> None:
    """Print to stderr, above a progress bar where one is drawn; stdout is for results."""
    clear_step()
    bars = sys.modules.get("tqdm")
    with bars.tqdm.external_write_mode(file=sys.stderr) if bars else contextlib.nullcontext():
        print(text, file=sys.stderr, flush=True)


def show_step(text: str) -> None:
    """Show on a terminal what is being done, until the next step or message takes its place; elsewhere say nothing.

    Of several processes only the first one shows it.
    """
    if sys.stderr.isatty() and os.environ.get("LOCAL_RANK", "0") == "0":
        clear_step()
        print(f"{text} …", end="", file=sys.stderr, flush=True)
        SHOWN.append(text)


def clear_step() -> None:
    """Remove from the terminal the step that is shown, if one is."""
    if SHOWN:
        SHOWN.clear()
        print(CLEAR_LINE, end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def set_variable(name: str, value: str | None) -> Iterator[None]:
    """Set an environment variable inside the block; None unsets it."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
