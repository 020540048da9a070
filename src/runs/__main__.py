"""List runs, the newest first: ``python -m src.runs [part of a name …] [state=failed] [root=outputs] [limit=20]``.

A state is finished, untested, failed, stopped, running or damaged. Where a command asks for a run, type its path, the
first digits of its hash (the last word of its path), last, or best:<metric>, such as best:val/accuracy.
"""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..cli.console import say, show_page
from ..cli.main import main
from ..errors import UserError
from .find import OUTPUTS, FoundRun, list_runs

STATES = ("finished", "untested", "failed", "stopped", "running", "damaged")
AGES = {"y": 365 * 86400, "d": 86400, "h": 3600, "min": 60, "s": 1}


def run_command() -> int:
    """Print the runs that the command line selects."""
    words = sys.argv[1:]
    if {"--help", "-h"} & set(words):
        show_page(str(__doc__))
        return 0
    options = {"root": OUTPUTS, "state": "", "limit": "20"}
    for word in words:
        key, equals, value = word.partition("=")
        key = "root" if key == "output_root" else key
        if equals and key != "debug":
            if key not in options:
                raise UserError(f"{word}: not understood; python -m src.runs takes {'=, '.join(options)}=")
            options[key] = value
    if options["state"] not in ("", *STATES):
        raise UserError(f"state={options['state']}: no such state; there are: {', '.join(STATES)}")
    if not options["limit"].isdecimal() or not int(options["limit"]):
        raise UserError(f"limit={options['limit']}: a whole number above 0 is needed")
    root, parts = Path(options["root"]).expanduser(), [word for word in words if "=" not in word]
    if not root.is_dir():
        raise UserError(f"root={root}: no such folder; python -m src.train makes one, by default outputs")
    runs = select_runs(list_runs(root), parts, options["state"])
    if not runs:
        typed = shlex.join(parts) + f" state={options['state']}" * bool(options["state"])
        raise UserError(f"{root}: no runs there" + f" match {typed.strip()}" * bool(typed))
    shown = runs[: int(options["limit"])]
    print(format_runs(shown))
    if len(runs) > len(shown):
        say(f"… and {len(runs) - len(shown)} older ones: limit={len(runs)}")
    return 0


def select_runs(runs: Sequence[FoundRun], parts: Sequence[str], state: str) -> list[FoundRun]:
    """Return the runs in a state, if one is named, whose path, data set or model has each of the parts."""
    return [
        run
        for run in runs
        if state in ("", run.state) and all(part in f"{run.path} {run.data} {run.model}" for part in parts)
    ]


def format_runs(runs: Sequence[FoundRun]) -> str:
    """Format runs as a table, with the reasons of those that failed below it."""
    rows = [["state", "model", "data", "seed", "best val", "test", "epochs", "age", "path"]]
    now = time.time()
    for run in runs:
        test = run.metrics.get(f"test/{run.headline}") if run.state == "finished" else None
        rows.append(
            [
                run.state,
                run.model,
                run.data,
                "" if run.seed is None else str(run.seed),
                f"{run.headline} {run.best:.4f}" if run.best is not None else "",
                "" if test is None else f"{test:.4f}",
                f"{run.epochs}/{run.planned}" if run.planned else str(run.epochs),
                format_age(now - run.changed),
                str(run.path),
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(8)]
    lines = [
        "  ".join(
            [
                *(
                    cell.ljust(w) if i < 3 else cell.rjust(w)
                    for i, (cell, w) in enumerate(zip(row, widths, strict=False))
                ),
                row[8],
            ]
        )
        for row in rows
    ]
    reasons = [f"{run.path}: {run.reason}" for run in runs if run.reason]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], *([""] if reasons else []), *reasons])


def format_age(seconds: float) -> str:
    """Format an age by its largest unit, such as 3 d."""
    name, unit = next(((name, unit) for name, unit in AGES.items() if seconds >= unit), ("s", 1))
    return f"{max(0, seconds) // unit:.0f} {name}"


if __name__ == "__main__":
    main(run_command)
