"""Run a command with an exit code, and with one sentence on stderr for each error."""

import os
import sys
from collections.abc import Callable

from .console import TRACEBACKS, say
from .messages import explain_error


def main(command: Callable[[], int]) -> None:
    """Run a command and exit with its code; print an error as one sentence and exit with another code than 0."""
    try:
        sys.exit(command())
    except KeyboardInterrupt as interrupt:
        say(str(interrupt) or "Interrupted.")
        sys.exit(130)
    except BrokenPipeError:  # the reader of the output has ended, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if TRACEBACKS:
            raise
        say(explain_error(error))
        sys.exit(1)
