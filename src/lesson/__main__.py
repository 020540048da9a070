"""Teach why networks are residual, with your own runs: ``python -m src.lesson runs=<runs> [out=lesson.html]``.

runs=  run directories, folders or globs of runs, several with commas (default: outputs); plain and residual networks
       of several depths on one data set, and what src.analyze has found in them
out=   the page, one HTML file that needs no network (default: outputs/lesson.html)

Where runs are missing for a figure, the page says which command makes them. Two small networks train in the page.
"""

import sys
from pathlib import Path

from ..cli.console import say
from ..cli.main import main, print_help
from ..errors import UserError
from ..files import write_atomic


def run_command() -> int:
    """Write the page that the command line asks for, and print where it is."""
    if (told := print_help(__doc__)) is not None:
        return told
    words = sys.argv[1:]
    typed = dict(word.split("=", 1) for word in words if "=" in word)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in ("runs", "out") or not equals or not value:
            raise UserError(f"{word}: not understood; python -m src.lesson takes runs= and out=")
    print(make_lesson(typed.get("runs"), Path(typed.get("out", "outputs/lesson.html")).expanduser()))
    return 0


def make_lesson(runs: str | None, out: Path) -> Path:
    """Write the lesson over these runs, by default those below outputs, and return its path.

    Raises UserError where runs are named and there are none.
    """
    from .cases import read_cases
    from .figures import draw_all
    from .page import render_lesson

    if out.is_dir():
        raise UserError(f"out={out}: is a folder; name a file, such as {out / 'lesson.html'}")
    cases, left_out = read_cases(["outputs"] if runs is None else split_list(runs), required=runs is not None)
    for path, reason in left_out:
        say(f"Left out: {path}: {reason}")
    html = render_lesson(draw_all(cases), left_out, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, html.encode())
    return out


def split_list(value: str) -> list[str]:
    """Return the values of A,B or [A,B]."""
    inner = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    return [word.strip() for word in inner.split(",") if word.strip()]


if __name__ == "__main__":
    main(run_command)
