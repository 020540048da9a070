"""What only a GPU can show, as JSON: the steps of ``src/bench/gpu.sh``. Without a GPU it measures what a CPU can.

    python -m src.bench.gpu speed|speedrun|table6|tests … --out <folder>

Each step adds to its file as it goes, so that an interruption loses a network or a run at most.
"""

import argparse
import copy
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cli.console import say
from ..cli.main import main
from ..errors import UserError
from ..optim.build import build_optimizer
from ..report.published import read_published
from .images import cifar, made
from .ours import Training, now
from .peers import bare
from .records import BATCH, GPU, ROOT, Results
from .report import lines
from .rounds import Comparison, as_torch_starts, judged, measure
from .speedrun import speedrun
from .training import best_template

# Images of a round: seconds for the slower sides. The last two see made photos of 224 pixels, that lie in memory.
NETS = {
    "resnet20": 45_056,
    "resnet56": 25_600,
    "resnet110": 12_800,
    "resnet1202": 1_280,
    "resnet18": 5_120,
    "resnet50": 5_120,
}


PHOTO = {"resnet18": 224, "resnet50": 224}


OVER_TEMPLATE = {"resnet20": 8.0, "resnet110": 6.0}


OVER_BARE = 1 / 1.03


TOO_DEEP_TO_COMPILE = ("resnet1202",)  # compiling each of 1,202 layers takes too long


def speed(options: argparse.Namespace) -> None:
    """Images a second of training steps: ours by each trainer.graph, the common template, a bare captured loop."""
    results = Results(options.out, "speed")
    nets = results.content.get("nets", {})
    for net in options.nets:
        say(f"{net} …")
        nets[net] = []
        for comparison in comparisons(net, options.images or NETS[net], options.root):
            nets[net].append(judged(comparison, measure(comparison, options.rounds)))
            print("\n".join(lines(nets[net][-1])), flush=True)
            results.save(nets=nets)


def comparisons(net: str, images: int, root: str) -> Iterator[Comparison]:
    """One against the peers, and what reduce-overhead makes of it, which must compile first."""
    size = PHOTO.get(net, 32)
    raw, note = (made(images, 512, size), f"made images of {size} pixels") if size > 32 else cifar(root)
    common = ("trainer.accelerator=auto", f"data.root={root}")

    def training(*words: str) -> Training:
        return Training(raw, *common, *words, model=net, images=images, val=512)

    def rate(ours: Training) -> Callable[[], float]:
        return lambda: images / ours.epoch().steps

    captured = ("trainer.graph=full", "trainer.max_epochs=2")  # recorded in the first; the clock shows the last
    plain = training()
    first = training(*captured) if GPU else plain
    cores = os.cpu_count() or 1
    tried = sorted({2, cores // 4, cores // 2, cores - 1} - {0}) if GPU else [0]
    loop, loop_is = bare_loop(plain, images)
    template_epoch, by_workers = best_template(first, tried)
    sides = {"ours, graph=full": rate(first), "ours, graph=none": rate(plain)}
    sides["ours, graph=full, not deterministic"] = rate(training(*captured, "trainer.deterministic=false"))
    if not GPU:
        sides = {"ours, graph=none": rate(plain)}
    yield Comparison(
        f"{net}, {first.config.trainer.precision}, training steps in batches of {BATCH}",
        "images/s",
        sides | {"template (fp32)": lambda: images / template_epoch().steps, loop_is: loop},
        {"template (fp32)": OVER_TEMPLATE.get(net), loop_is: OVER_BARE},
        notes=[
            note,
            f"template's seconds an epoch by DataLoader workers: {by_workers}; measured with the best",
            *([] if GPU else ["a CPU has no CUDA graphs: trainer.graph=none and a bare loop without a capture"]),
        ],
    )
    if not GPU:
        return
    if net in TOO_DEEP_TO_COMPILE:
        say(f"{net}: trainer.graph=reduce-overhead is left out, for compiling so many layers takes too long.")
        return
    compiled = training("trainer.graph=reduce-overhead")
    yield Comparison(
        f"{net}, {first.config.trainer.precision}: torch.compile's graphs",
        "images/s",
        {"ours, graph=full": rate(first), "ours, graph=reduce-overhead": rate(compiled)},
        {"ours, graph=reduce-overhead": None},
    )


def bare_loop(ours: Training, images: int) -> tuple[Callable[[], float], str]:
    """The same network, batches and optimizer without a framework: images a second, and what it is called."""
    device = torch.device("cuda" if GPU else "cpu")
    model = copy.deepcopy(ours.fresh).to(device).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(ours.config.optim, model)
    classes, bf16 = ours.data.info.num_classes, ours.config.trainer.precision == "bf16"

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        return iter(ours.data.train_loader(device))

    def timed(epoch: Callable[[], Any]) -> Callable[[], float]:
        def rate() -> float:
            began = now()
            epoch()
            return images / (now() - began)

        return rate

    if not GPU:
        return timed(lambda: list(bare.train(model, batches(), optimizer, classes=classes, bf16=bf16))), "bare loop"
    as_torch_starts()
    replay = bare.captured(model, optimizer, *next(batches()), classes=classes, bf16=bf16)
    return timed(lambda: replay(batches())), "bare captured loop"


def table6(options: argparse.Namespace) -> None:
    """The test errors of the runs of a sweep, beside He et al.'s Table 6 (which trained five times as long)."""
    printed_rows = read_published("he2016_table6").tables[0].rows
    published = {str((row.match or {})["model"]): row.values["test/error"] for row in printed_rows}
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(options.runs.rglob("results.json")):
        run = json.loads(path.read_text())
        if run["status"] == "finished":
            found.setdefault(run["model"], []).append(run)
    rows = {}
    for model in sorted(found, key=lambda name: found[name][0]["params"]):
        runs = found[model]
        errors = [100 * (1 - run["metrics"]["test/accuracy"]) for run in runs]
        rows[model] = {
            "error": {"mean": statistics.mean(errors), "std": statistics.stdev(errors) if len(errors) > 1 else None},
            "published_error": published.get(model),
            "n": len(errors),
            "errors": errors,
            "seeds": [run["seed"] for run in runs],
            "epochs": sorted({run["epochs"] for run in runs}),
            "fit_seconds": [run["time"]["fit_seconds"] for run in runs],
            "images_per_second": [run["time"]["images_per_second"] for run in runs],
            "commands": [run["command"] for run in runs],
        }
        print(f"{model}: {rows[model]['error']} (published {published.get(model)}, n = {len(errors)})")
    if not rows:
        raise UserError(f"{options.runs}: no finished run")
    Results(options.out, "table6").save(rows=rows, trainings_at_once=options.slots)


def tests(options: argparse.Namespace) -> int:
    """The tests that need a GPU: a replay is the ordinary step, and nothing waits. Without one, their names."""
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "--import-mode=importlib", "-m", "gpu", "-q", "-rA"]
    command += [] if GPU else ["--collect-only"]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True)
    print(done.stdout[-4000:], done.stderr[-2000:], flush=True)
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout[-500:])}
    Results(options.out, "tests").save(exit_code=done.returncode, **counts, tail=done.stdout[-6000:])
    return done.returncode


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m src.bench.gpu", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    each = {step.__name__: steps.add_parser(step.__name__, help=(step.__doc__ or "").splitlines()[0]) for step in STEPS}
    for step in each.values():
        step.set_defaults(do=globals()[step.prog.split()[-1]])
        step.add_argument("--out", type=Path, nargs="+", required=True, help="the folders of the JSON files")
    for name in ("speed", "speedrun"):
        each[name].add_argument("--root", required=True, help="the folder that holds CIFAR-10")
    each["speed"].add_argument("--rounds", type=int, default=5)
    each["speed"].add_argument("--images", type=int, default=0, help="a round; by default it depends on the network")
    each["speed"].add_argument("nets", nargs="*", default=list(NETS), metavar="net")
    each["speedrun"].add_argument("--runs", type=int, default=10)
    each["speedrun"].add_argument("words", nargs="*", help="overrides for ours, such as trainer.compile=true")
    each["table6"].add_argument("--runs", type=Path, required=True, help="where the run directories lie")
    each["table6"].add_argument("--slots", type=int, required=True, help="how many trainings shared the GPU")
    options = parser.parse_args(words)
    if unknown := [net for net in getattr(options, "nets", []) if net not in NETS]:
        parser.error(f"{', '.join(unknown)}: no such network here; there are {', '.join(NETS)}")
    options.out = [folder.absolute() for folder in options.out]
    if hasattr(options, "root"):
        options.root = str(Path(options.root).absolute())
    return options


STEPS = (speed, speedrun, table6, tests)


if __name__ == "__main__":
    chosen = parsed()
    for out in chosen.out:
        out.mkdir(parents=True, exist_ok=True)
    main(lambda: chosen.do(chosen) or 0)
