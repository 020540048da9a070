"""Deep residual learning with Lightning and Hydra; installed, this package is called ``residual``.

This file says in one sentence why a Python, or a system, cannot run it, so it is written for Pythons of any age.
"""

import sys


def explain_wrong_place():
    # type: () -> str
    """Return why this Python or this system cannot run the project, and what to type; "" where it can."""
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        advice = "Python 3.10 to 3.13 is needed, and {0} is {1}.{2}; type .venv/bin/python, which 'make demo' makes."
        return advice.format(sys.executable, *sys.version_info[:2])
    from importlib.util import find_spec

    if find_spec("fcntl") is None:
        return (
            "This system has no fcntl, with which runs are locked: Linux and macOS have it; on Windows, type the "
            "command inside of WSL."
        )
    started = sys.argv[:1] == ["-m"] or sys.argv[0].endswith("residual")  # not as a library
    missing = [name for name in ("torch", "lightning", "hydra") if started and find_spec(name) is None]
    if missing:
        advice = (
            "{0} has no {1}; type .venv/bin/python, which 'make demo' makes, or {0} -m pip install . in the project's "
            "folder."
        )
        return advice.format(sys.executable, " and no ".join(missing))
    return ""


if explain_wrong_place():
    sys.exit(explain_wrong_place())
