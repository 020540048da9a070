"""Messages on the console, and environment variables for the processes that a command starts."""

import contextlib
import os
import sys
from collections.abc import Iterator

FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR")  # the user's value, which other processes are to inherit
TRACEBACKS = FULL_ERROR == "1" or "debug=true" in (word.lower() for word in sys.argv)


def say(text: str) -> None:
    """Print to stderr; stdout is for results."""
    print(text, file=sys.stderr, flush=True)


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
