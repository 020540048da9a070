"""Measure our speed against our peers': ``python -m src.bench only=a,d``.

Both sides of a comparison run in turn in this one process, on the CPU; what counts is their ratio, for the machine's
own speed changes from minute to minute. The peers' side is in src/bench/peers.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from ..cli.console import say
from ..cli.main import main
from ..errors import UserError
from .settings import HELP, ROUNDS, Settings, key_of, parse

COMPARISONS = {
    "a": ("training:against_template", "training end to end / the common Lightning template"),
    "b": ("training:against_bare_loop", "our training step / a bare PyTorch loop"),
    "c": ("training:against_peak", "the training step's arithmetic / the machine's matrix-product peak"),
    "d": ("parts:augmentation", "augmentation of whole batches / of samples, by PIL and by tensors"),
    "e": ("parts:epoch_metrics", "metrics from a confusion matrix / torchmetrics, forwarded and logged"),
    "f": ("training:against_fp32_evaluation", "an epoch's validation / fp32 evaluation"),
    "g": ("parts:coco_evaluation", "COCO's numbers by faster-coco-eval / by pycocotools"),
    "h": ("startup:starts", "start-up: help, a wrong setting, the first training step"),
}


def story() -> int:
    """Measure what the command line names, print a table for each and write bench.json."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(help_text())
        return 0
    settings = parse([word for word in sys.argv[1:] if word != "debug=true"])  # that shows tracebacks
    if not Path(settings.out).absolute().parent.is_dir():
        raise UserError(f"out={settings.out}: no such folder")
    import torch

    from ..files import write_json
    from .report import environment
    from .rounds import DISTURBED

    if settings.threads:
        torch.set_num_threads(settings.threads)
    content: dict[str, Any] = {"settings": vars(settings), "environment": environment(), "comparisons": {}}
    if settings.rounds < ROUNDS:
        say(f"rounds={settings.rounds}: a trial; a result takes at least {ROUNDS}.")
    for letter in settings.only.split(","):
        say(f"{letter}. {COMPARISONS[letter][1]} …")
        try:
            content["comparisons"][letter] = compare(letter, settings)
        except SystemExit:  # Lightning's answer to Ctrl-C and SIGTERM; after this one it has the code of a success
            raise KeyboardInterrupt from None
        write_json(Path(settings.out), content)  # after each, so that an interruption loses one at most
        say(machine_line(content["comparisons"][letter]["machine"], DISTURBED))
    print(f"\n{settings.out}")
    return 0


def compare(letter: str, settings: Settings) -> dict[str, Any]:
    """Measure one comparison, printing its tables; what bench.json keeps of it."""
    from .report import lines
    from .rounds import Busy, judged, measure

    module, _, function = COMPARISONS[letter][0].partition(":")
    busy, results = Busy(), []
    for comparison in getattr(import_module(f"src.bench.{module}"), function)(settings):
        results.append(judged(comparison, measure(comparison, settings.rounds)))
        print("\n".join(lines(results[-1])), flush=True)
    return {"machine": busy.report(), "results": results}


def machine_line(machine: dict[str, Any], disturbed: float) -> str:
    """How busy the machine was, and a warning where that says the figures are no result."""
    before, after, others = machine["load_before"], machine["load_after"], machine["others_share"]
    if others is None or before is None or after is None:
        return "How busy the machine was is not known here."
    told = f"Load average {before:.1f} before, {after:.1f} after; others took {others:.1%} of the cores' time."
    return told + (" WARNING: the machine was not ours; measure again." if others > disturbed else "")


def help_text() -> str:
    """The page of ``python -m src.bench --help``."""
    out = [
        "Measure our speed against our peers', both sides in turn in one process, on the CPU.",
        "",
        "  python -m src.bench only=a,d rounds=5 threads=2 data.root=data out=bench.json",
        "",
        "Comparisons:",
        *(f"  {letter}  {title}" for letter, (_, title) in COMPARISONS.items()),
        "",
        "Settings (name=value):",
        *(f"  {f'{key_of(name)}={getattr(Settings, name)}':<24} {text}" for name, text in HELP.items()),
    ]
    return "\n".join(out)


if __name__ == "__main__":
    main(story)
