"""Look inside networks: ``python -m src.analyze probe=<name[,name…]> run=<runs or names> [at=…] [any override]``.

probe=    what to look at, several with commas; probe=list tells what there is, with each one's options
run=      run directories, folders or globs of runs, checkpoints, or registered names, several with commas
at=       of runs: init, last (default), best, and epochs that trainer.keep_epochs has kept, several with commas
out=      where figures and tables go (default: outputs/probes); a run's own also go to its directory
workers=  processes at once (default: 1)

All other words are options of the probes, such as images=512, and settings, such as data=cifar10 or data.root=…
Stopped at any point, the same command continues: finished parts are kept below out=.
"""

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from .cli.console import say
from .cli.main import main, print_help
from .errors import UserError
from .text import describe_unknown

if TYPE_CHECKING:
    from .analysis.probes.base import Options

WORDS = ("probe", "run", "at", "out", "workers")


def run_command() -> int:
    """Compute and draw what the command line asks for; print where the figures are."""
    if (told := print_help(__doc__)) is not None:
        return told
    words = sys.argv[1:]
    typed: dict[str, str] = {}
    others = []
    for word in words:
        name, equals, value = word.partition("=")
        if name in WORDS and equals and not value:
            raise UserError(f"{word}: a value is needed; python -m src.analyze --help says which")
        if name in WORDS and equals:
            typed[name] = value
        else:
            others.append(word)
    if typed.get("probe") == "list":
        print("\n".join(describe_probes()))
        return 0
    for name in ("probe", "run"):
        if name not in typed:
            raise UserError(f"{name}= is missing; type python -m src.analyze probe=gradient_flow run=resnet56,plain56")
    workers = typed.get("workers", "1")
    if not workers.isdecimal() or not 1 <= int(workers) <= 1024:
        raise UserError(f"workers={workers}: a whole number from 1 to 1024 is needed")
    probes, overrides = choose_probes(split_list(typed["probe"]), others)
    out = Path(typed.get("out", "outputs/probes")).expanduser()
    analyze(probes, split_list(typed["run"]), split_list(typed.get("at", "")), overrides, out, int(workers))
    return 0


def split_list(value: str) -> list[str]:
    """Return the values of A,B or [A,B], each once."""
    inner = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    return list(dict.fromkeys(word.strip() for word in inner.split(",") if word.strip()))


def choose_probes(names: Sequence[str], words: Sequence[str]) -> "tuple[dict[str, Options], list[str]]":
    """Return the probes with their options, and the words that are no options; raise UserError for wrong ones."""
    from .analysis.probes.base import parse_options
    from .analysis.probes.table import PROBES

    for name in names:
        if name not in PROBES:
            raise UserError(describe_unknown("probe", name, PROBES))
    owners: dict[str, list[str]] = {}
    for name, probe in PROBES.items():
        for f in fields(probe.options):
            owners.setdefault(f.name, []).append(name)
    typed: dict[str, str] = {}
    overrides = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in owners:
            overrides.append(word)
            continue
        if not set(owners[key]) & set(names):
            raise UserError(f"{word}: an option of probe={','.join(owners[key])}; probe={','.join(names)} has none")
        typed[key] = value
    return {name: parse_options(PROBES[name].options, typed) for name in names}, overrides


def describe_probes() -> list[str]:
    """Return lines that tell each probe and its options."""
    from .analysis.probes.table import PROBES

    lines = []
    for name, probe in PROBES.items():
        lines += [name, f"    {probe.caption}"]
        lines += [f"    {f.name}={f.default}: {f.metadata['help']}" for f in fields(probe.options)]
    return lines


def analyze(
    probes: "dict[str, Options]",
    runs: Sequence[str],
    points: Sequence[str],
    overrides: Sequence[str],
    out: Path,
    workers: int,
) -> list[Path]:
    """Compute the probes of these networks, write figures and tables, and return the figures' paths.

    Raises UserError for everything that is wrong with the words, the runs or their data.
    """
    from .analysis.probes.files import write_probe
    from .analysis.probes.targets import find_targets
    from .analysis.probes.work import plan, run_jobs

    targets = find_targets(runs, points, overrides)
    jobs = plan(probes, targets, out / "parts")
    (out / "parts").mkdir(parents=True, exist_ok=True)
    problems = run_jobs(jobs, workers)
    for name, reason in dict.fromkeys(problems):
        say(f"Left out of {name}: {reason}")
    written = [path for name, options in probes.items() for path in write_probe(name, options, jobs, out)]
    if not written:
        raise UserError("; ".join(dict.fromkeys(reason for _, reason in problems)))
    for path in written:
        print(path)
    return written


if __name__ == "__main__":
    main(run_command)
