"""Run a command: its exit code, and a sentence on stderr for whatever goes wrong."""

import os
import sys
from collections.abc import Callable

from .console import TRACEBACKS, say
from .messages import explain_error


def main(command: Callable[[], int]) -> None:
    """Run a command and exit with its code; whatever goes wrong becomes one sentence and a code that is not 0."""
    try:
        sys.exit(command())
    except KeyboardInterrupt as interrupt:
        say(str(interrupt) or "Interrupted.")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if TRACEBACKS:
            raise
        say(explain_error(error))
        sys.exit(1)
