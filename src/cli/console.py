"""Messages on the console, the project's commands as they are typed, and variables for processes that are started."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator

FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR")  # the user's value, which other processes are to inherit
TRACEBACKS = FULL_ERROR == "1" or "debug=true" in (word.lower() for word in sys.argv)
PACKAGE = __name__.partition(".")[0]  # src in the clone, residual where it is installed
TYPED = re.compile(r"\bpython -m src(?:\.(\w[\w.]*\w))?")


def say(text: str) -> None:
    """Print to stderr; stdout is for results."""
    print(name_commands(text), file=sys.stderr, flush=True)


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
