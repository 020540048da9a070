"""Run a command with an exit code, and with one sentence on stderr for each error."""

import os
import re
import sys
from collections.abc import Callable, Collection, Sequence

from ..errors import UserError
from .console import TRACEBACKS, clear_step, say, show_page
from .messages import explain_error

HOME = re.compile(r"(?<=[=,\[])~(?=/|$)")


def main(command: Callable[[], int]) -> None:
    """Run a command and exit with its code; print an error as one sentence and exit with another code than 0.

    `--version` is answered here. Of the words, a comment is left out, which an interactive zsh hands over; and a ~,
    which shells leave to us behind a "=", becomes the home folder.
    """
    if "#" in sys.argv:
        del sys.argv[sys.argv.index("#") :]
    sys.argv[1:] = [HOME.sub(os.path.expanduser("~").replace("\\", r"\\"), word) for word in sys.argv[1:]]
    try:
        if sys.argv[1:] == ["--version"]:
            from .version import format_version

            print(format_version())
            sys.exit(0)
        code = command()
        flush_output()
        sys.exit(code)
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
    finally:
        clear_step()


def print_help(text: str | None) -> int | None:
    """Print how to use a command and return its exit code; None where its words are neither missing nor ask for it."""
    words = sys.argv[1:]
    if words and not {"--help", "-h"} & set(words):
        return None
    show_page(str(text))
    return 0 if words else 2


def split_words(own: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Return the values of a command's own words by name, and its other words."""
    words = sys.argv[1:]
    named = dict(word.split("=", 1) for word in words if word.partition("=")[0] in own and "=" in word)
    return named, [word for word in words if word.partition("=")[0] not in own]


def read_options(own: Collection[str], words: Sequence[str], command: str) -> dict[str, str]:
    """Return the values of a command that takes only words of its own; raise UserError for any other word."""
    options: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name == "debug":
            continue
        if name not in own or not equals or not value:
            raise UserError(f"{word}: not understood; python -m {command} takes {'=, '.join(own)}=")
        options[name] = value
    return options


def flush_output() -> None:
    """Write what was printed; raise OSError where its place is full, as in `> file`, and Python would exit first."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OSError(error.errno, error.strerror, "the output") from error
