"""Measure how far a run can be trusted: ``python -m src.trust run=<directory> [corruptions=true|false] [data.root=…]``.

run=          a run directory or checkpoint, a glob of them, or [A,B]; its images have one class each
corruptions=  the error on images of 15 corruptions x 5 strengths (default: for images of at most 64 pixels)
images=       how many test images are corrupted, evenly of all classes (default: all)
cifar_c=      the folder of the published CIFAR-10-C arrays (default: <data.root>/CIFAR-10-C, where it exists)
seed=         of the corruptions' random numbers (default: 0)

Written into the run directory: trust.json, with the temperature that was fitted on validation, and trust.html. Reports
show its numbers. `data.root=…` says where the data is now; `trainer.threads=…` and its kin are understood too.
"""

import sys
from pathlib import Path

from .cli.console import say
from .cli.main import main, print_help
from .errors import UserError
from .runs.find import resolve_runs

OPTIONS = ("run", "corruptions", "images", "cifar_c", "seed")


def run_command() -> int:
    """Measure the runs that the command line names, and print what was found."""
    if (told := print_help(__doc__)) is not None:
        return told
    words = sys.argv[1:]
    named = dict(word.split("=", 1) for word in words if word.startswith(tuple(f"{name}=" for name in OPTIONS)))
    overrides = [word for word in words if word.partition("=")[0] not in (*OPTIONS, "debug")]
    if not named.get("run"):
        raise UserError("run= is missing; type the run's directory: python -m src.trust run=outputs/…")
    choice = named.get("corruptions", "")
    if choice not in ("", "true", "false"):
        raise UserError(f"corruptions={choice}: true or false is needed")
    if not (seed := named.get("seed", "0")).isdecimal() or len(seed) > 9:
        raise UserError(f"seed={seed}: a whole number from 0 to 999999999 is needed")
    images = named.get("images", "")
    if images and not (images.isdecimal() and 1 < int(images) < 10**9):
        raise UserError(f"images={images}: a whole number of images is needed, 2 or more")
    runs = resolve_runs(named["run"])
    from .analysis.trust import measure_run
    from .analysis.trust_page import describe_trust

    for path in runs:
        say(f"measuring {path}")
        found = measure_run(
            path,
            overrides,
            corruptions={"true": True, "false": False}.get(choice),
            count=int(images) if images else None,
            cifar_c=Path(named["cifar_c"]).expanduser() if named.get("cifar_c") else None,
            seed=int(seed),
        )
        print("\n".join(describe_trust(found)))
        print(path if path.is_file() else path / "trust.html")
    return 0


if __name__ == "__main__":
    main(run_command)
