"""Audit a data set before any training: ``python -m src.audit data=folder data.root=<folder> [run=<run>]``.

data=      any data set, with its own settings (data.root=, data.download=, data.train_json= …)
run=       a run on this data, whose network doubts labels of its validation and test pictures; without one, each
           picture is judged by all others
suspects=  the largest fraction of the pictures whose label is doubted without a run (default: 0.12)
seed=      of the features that pictures are judged by (default: 0)
out=       where the page and the CSV files go (default: outputs/audit/<data>)

The exit code is 1 where a file is broken or a picture lies in two splits, and 0 otherwise.
"""

import sys
from pathlib import Path

from .cli.main import main, print_help
from .errors import UserError

OPTIONS = ("run", "suspects", "seed", "out")


def run_command() -> int:
    """Audit the data set that the command line names, and print what was found."""
    if (told := print_help(__doc__)) is not None:
        return told
    words = sys.argv[1:]
    named = {name: value for name, _, value in (word.partition("=") for word in words) if name in OPTIONS}
    others = [word for word in words if word.partition("=")[0] not in (*OPTIONS, "debug")]
    if odd := next((word for word in others if not word.startswith(("data=", "data.", "plugins="))), None):
        raise UserError(f"{odd}: not understood; python -m src.audit takes data=, data.…=, {'=, '.join(OPTIONS)}=")
    if not any(word.startswith("data=") for word in others):
        raise UserError("data= is missing: python -m src.audit data=folder data.root=<folder>")
    most, seed = read_fraction(named.get("suspects", "0.12")), named.get("seed", "0")
    if not seed.isdecimal() or len(seed) > 9:
        raise UserError(f"seed={seed}: a whole number from 0 to 999999999 is needed")
    from .cli.compose import compose_run

    config = compose_run(*others).data
    from .analysis.audit import audit, summarize, write_audit

    run = Path(named["run"]).expanduser() if named.get("run") else None
    found = audit(config, run=run, most=most, seed=int(seed))
    page = write_audit(found, config.name, Path(named.get("out") or f"outputs/audit/{config.name}").expanduser())
    for path, why in found.pictures.broken[:10]:
        print(f"broken: {path}: {why}")
    print("\n".join([*summarize(found), f"Labels were judged by: {found.judge}", str(page)]))
    return 0 if found.sound else 1


def read_fraction(text: str) -> float:
    """Read the fraction of pictures that are named at most; raise UserError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise UserError(f"suspects={text}: a fraction of the pictures is needed, above 0 and at most 1")
    return value


if __name__ == "__main__":
    main(run_command)
