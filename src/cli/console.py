"""Messages on the console, the project's commands as they are typed, and variables for processes that are started."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator

FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR")  # the user's value, which other processes are to inherit
SHOWN: list[str] = []  # the step on the terminal, or none
CLEAR_LINE = "\r\x1b[K"
TRACEBACKS = FULL_ERROR == "1" or "debug=true" in (word.lower() for word in sys.argv)
PACKAGE = __name__.partition(".")[0]  # src in the clone, residual where it is installed
TYPED = re.compile(r"\bpython -m src(?:\.(\w[\w.]*\w))?")


def say(text: str) -> None:
    """Print to stderr, above a progress bar where one is drawn; stdout is for results."""
    clear_step()
    bars = sys.modules.get("tqdm")
    with bars.tqdm.external_write_mode(file=sys.stderr) if bars else contextlib.nullcontext():
        print(name_commands(text), file=sys.stderr, flush=True)


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


def show_page(text: str) -> None:
    """Print a page of help."""
    print(name_commands(text))


def name_commands(text: str) -> str:
    """Return a text with our commands as they are typed here: where it is installed, ``residual train`` and so on."""
    if PACKAGE == "src":
        return text
    return TYPED.sub(lambda found: f"residual {found[1]}" if found[1] else "residual", text)


def build_command(name: str) -> list[str]:
    """Return the words that start one of our commands in another process, such as "train"."""
    return [sys.executable, "-m", f"{PACKAGE}.{name}"]


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
