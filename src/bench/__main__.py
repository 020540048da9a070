"""Measure our speed against our peers': ``python -m src.bench only=a,d``.

Both sides of a comparison run in turn in this one process, on the CPU, and only their ratio counts: the machine's own
speed changes from minute to minute. The peers' side is in src/bench/peers.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..cli.console import say
from ..cli.main import main
from ..errors import UserError
from .settings import HELP, ROUNDS, Settings, format_key, parse_settings

if TYPE_CHECKING:
    from .rounds import Comparison, Record

# Each comparison imports what it measures only when it is asked for: --help and a wrong word must not wait for torch.


def compare_with_template(settings: Settings) -> "list[Comparison]":
    from . import training

    return training.compare_with_template(settings)


def compare_with_bare_loop(settings: Settings) -> "list[Comparison]":
    from . import training

    return training.compare_with_bare_loop(settings)


def compare_with_peak(settings: Settings) -> "list[Comparison]":
    from . import peak

    return peak.compare_with_peak(settings)


def compare_augmentation(settings: Settings) -> "list[Comparison]":
    from . import augmentation

    return augmentation.compare_augmentation(settings)


def compare_epoch_metrics(settings: Settings) -> "list[Comparison]":
    from . import epoch_metrics

    return epoch_metrics.compare_epoch_metrics(settings)


def compare_with_fp32(settings: Settings) -> "list[Comparison]":
    from . import evaluation

    return evaluation.compare_with_fp32(settings)


def compare_coco_evaluation(settings: Settings) -> "list[Comparison]":
    from . import coco_evaluation

    return coco_evaluation.compare_coco_evaluation(settings)


def compare_startup(settings: Settings) -> "list[Comparison]":
    from . import startup

    return startup.compare_startup(settings)


def compare_prediction(settings: Settings) -> "list[Comparison]":
    from . import prediction

    return prediction.compare_prediction(settings)


COMPARISONS: "dict[str, tuple[str, Callable[[Settings], list[Comparison]]]]" = {
    "a": ("training end to end / the common Lightning template", compare_with_template),
    "b": ("our training step / a bare PyTorch loop", compare_with_bare_loop),
    "c": ("the training step's arithmetic / the machine's matrix-product peak", compare_with_peak),
    "d": ("augmentation of whole batches / of samples, by PIL and by tensors", compare_augmentation),
    "e": ("metrics from a confusion matrix / torchmetrics, updated, and forwarded and logged", compare_epoch_metrics),
    "f": ("an epoch's validation / fp32 evaluation", compare_with_fp32),
    "g": ("COCO's numbers by faster-coco-eval / by pycocotools", compare_coco_evaluation),
    "h": ("start-up: help, a wrong setting, the first training step", compare_startup),
    "i": ("prediction of photos / one by one through PIL", compare_prediction),
}


def run() -> int:
    """Measure the comparisons that the command line names, print a table for each and write bench.json."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(format_help())
        return 0
    settings = parse_settings([word for word in sys.argv[1:] if word != "debug=true"])  # debug=true shows tracebacks
    if not Path(settings.out).absolute().parent.is_dir():
        raise UserError(f"out={settings.out}: no such folder; make it, or type another out=…")
    import torch

    from ..files import write_json
    from .report import collect_environment
    from .rounds import DISTURBED

    if settings.threads:
        torch.set_num_threads(settings.threads)
    content: Record = {"settings": vars(settings), "environment": collect_environment(), "comparisons": {}}
    if settings.rounds < ROUNDS:
        say(f"rounds={settings.rounds}: a trial; a result takes at least {ROUNDS}.")
    for letter in settings.only.split(","):
        say(f"{letter}. {COMPARISONS[letter][0]} …")
        try:
            content["comparisons"][letter] = measure_comparison(letter, settings)
        except SystemExit:  # Lightning's answer to Ctrl-C and SIGTERM, which may have the code of a success
            raise KeyboardInterrupt from None
        write_json(Path(settings.out), content)  # after each, so that an interruption loses one at most
        say(format_machine_load(content["comparisons"][letter]["machine"], DISTURBED))
    print(f"\n{settings.out}")
    return 0


def measure_comparison(letter: str, settings: Settings) -> "Record":
    """Measure one comparison and print its tables; return what bench.json keeps of it."""
    from .report import format_result
    from .rounds import MachineLoad, measure_sides, summarize

    load, results = MachineLoad(), []
    for comparison in COMPARISONS[letter][1](settings):
        results.append(summarize(comparison, measure_sides(comparison, settings.rounds)))
        print("\n".join(format_result(results[-1])), flush=True)
    return {"machine": load.report(), "results": results}


def format_machine_load(machine: dict[str, float | None], disturbed: float) -> str:
    """Say how busy the machine was, with a warning where others took so much that the figures are no result."""
    before, after, others = machine["load_before"], machine["load_after"], machine["others_share"]
    if others is None or before is None or after is None:
        return "How busy the machine was is not known here."
    load = f"Load average {before:.1f} before, {after:.1f} after; others took {others:.1%} of the cores' time."
    return load + (" WARNING: other programs disturbed this; end them and measure again." if others > disturbed else "")


def format_help() -> str:
    """Format the page of ``python -m src.bench --help``."""
    out = [
        "Measure our speed against our peers', both sides in turn in one process, on the CPU.",
        "",
        "  python -m src.bench only=a,d rounds=5 threads=2 data.root=data out=bench.json",
        "",
        "Comparisons:",
        *(f"  {letter}  {title}" for letter, (title, _) in COMPARISONS.items()),
        "",
        "Settings (name=value):",
        *(f"  {f'{format_key(name)}={getattr(Settings, name)}':<24} {text}" for name, text in HELP.items()),
    ]
    return "\n".join(out)


if __name__ == "__main__":
    main(run)
