"""Measure what only a GPU can show, as JSON: the steps of ``src/bench/gpu.sh``. Without a GPU, measure what a CPU can.

    python -m src.bench.gpu speed|speedrun|table6|tests … --out <folder>

Each step writes its file as it goes, so that an interruption loses at most a network or a run.
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
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..cli.console import say
from ..cli.main import main
from ..errors import UserError
from ..optim.build import build_optimizer
from ..report.published import read_published
from .images import load_cifar, make_images
from .ours import Training, read_clock
from .peers import bare
from .records import BATCH, GPU, ROOT, Results
from .report import format_result
from .rounds import Comparison, Record, measure_sides, reset_determinism, summarize
from .speedrun import run_speedrun
from .training import pick_best_template

# Images of a round, which takes the slower sides seconds. The last two train on made photos of 224 pixels, in memory.
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


def measure_speed(options: argparse.Namespace) -> None:
    """Measure the images/s of training steps: ours by each trainer.graph, the common template, a bare captured loop."""
    results = Results(options.out, "speed")
    nets = results.content.get("nets", {})
    for net in options.nets:
        say(f"{net} …")
        nets[net] = []
        for comparison in make_comparisons(net, options.images or NETS[net], options.root):
            nets[net].append(summarize(comparison, measure_sides(comparison, options.rounds)))
            print("\n".join(format_result(nets[net][-1])), flush=True)
            results.save(nets=nets)


def make_comparisons(net: str, images: int, root: str) -> Iterator[Comparison]:
    """Yield the comparison with the peers, then the one with reduce-overhead, which must compile first."""
    size = PHOTO.get(net, 32)
    raw, note = (make_images(images, 512, size), f"made images of {size} pixels") if size > 32 else load_cifar(root)
    common = ("trainer.accelerator=auto", f"data.root={root}")

    def train(*words: str) -> Training:
        return Training(raw, *common, *words, model=net, images=images, val=512)

    captured = ("trainer.graph=full", "trainer.max_epochs=2")  # recorded in the first; the clock shows the last
    plain = train()
    first = train(*captured) if GPU else plain
    sides = {"ours, graph=none": make_side(plain, images)}
    if GPU:
        nondeterministic = train(*captured, "trainer.deterministic=false")
        sides = {
            "ours, graph=full": make_side(first, images),
            **sides,
            "ours, graph=full, not deterministic": make_side(nondeterministic, images),
        }
    yield compare_with_peers(net, images, note, sides, plain, first)
    if not GPU:
        return
    if net in TOO_DEEP_TO_COMPILE:
        say(f"{net}: trainer.graph=reduce-overhead is left out, for compiling so many layers takes too long.")
        return
    compiled = train("trainer.graph=reduce-overhead")
    yield Comparison(
        f"{net}, {first.config.trainer.precision}: torch.compile's graphs",
        "images/s",
        {
            "ours, graph=full": make_side(first, images),
            "ours, graph=reduce-overhead": make_side(compiled, images),
        },
        {"ours, graph=reduce-overhead": None},
    )


def compare_with_peers(
    net: str, images: int, note: str, sides: dict[str, Callable[[], float]], plain: Training, first: Training
) -> Comparison:
    """Compare our sides, the first one `first`, with the common template and with a bare loop of `plain`'s steps."""
    cores = os.cpu_count() or 1
    workers = sorted({2, cores // 4, cores // 2, cores - 1} - {0}) if GPU else [0]
    loop, loop_name = make_bare_loop(plain, images)
    template_epoch, by_workers = pick_best_template(first, workers)
    return Comparison(
        f"{net}, {first.config.trainer.precision}, training steps in batches of {BATCH}",
        "images/s",
        sides | {"template (fp32)": lambda: images / template_epoch().steps, loop_name: loop},
        {"template (fp32)": OVER_TEMPLATE.get(net), loop_name: OVER_BARE},
        notes=[
            note,
            f"template's seconds an epoch by DataLoader workers: {by_workers}; measured with the best",
            *([] if GPU else ["a CPU has no CUDA graphs: trainer.graph=none and a bare loop without a capture"]),
        ],
    )


def make_side(ours: Training, images: int) -> Callable[[], float]:
    """Return a function that measures the images/s of an epoch's training steps."""
    return lambda: images / ours.epoch().steps


def make_bare_loop(ours: Training, images: int) -> tuple[Callable[[], float], str]:
    """Return a function that measures the images/s without a framework, and its name; network and batches are ours."""
    device = torch.device("cuda" if GPU else "cpu")
    model = copy.deepcopy(ours.fresh).to(device).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(ours.config.optim, model)
    classes, bf16 = ours.data.info.num_classes, ours.config.trainer.precision == "bf16"

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        return iter(ours.data.train_loader(device))

    def time_epoch(epoch: Callable[[], object]) -> Callable[[], float]:
        def measure() -> float:
            began = read_clock()
            epoch()
            return images / (read_clock() - began)

        return measure

    if not GPU:
        train = partial(bare.train_epoch, model, optimizer=optimizer, classes=classes, bf16=bf16)
        return time_epoch(lambda: list(train(batches()))), "bare loop"
    reset_determinism()
    replay = bare.capture_epoch(model, optimizer, *next(batches()), classes=classes, bf16=bf16)
    return time_epoch(lambda: replay(batches())), "bare captured loop"


def summarize_table6(options: argparse.Namespace) -> None:
    """Collect the test errors of the runs of a sweep, beside He et al.'s Table 6 (which trained five times as long)."""
    printed_rows = read_published("he2016_table6").tables[0].rows
    published = {str((row.match or {})["model"]): row.values["test/error"] for row in printed_rows}
    found: dict[str, list[Record]] = {}
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
        raise UserError(f"{options.runs}: no finished run there; type the folder that holds the run directories")
    Results(options.out, "table6").save(rows=rows, trainings_at_once=options.slots)


def run_gpu_tests(options: argparse.Namespace) -> int:
    """Run the tests that need a GPU; without one, list their names."""
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "--import-mode=importlib", "-m", "gpu", "-q", "-rA"]
    command += [] if GPU else ["--collect-only"]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True)
    print(done.stdout[-4000:], done.stderr[-2000:], flush=True)
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout[-500:])}
    Results(options.out, "tests").save(exit_code=done.returncode, **counts, tail=done.stdout[-6000:])
    return done.returncode


def parse_options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; a wrong word ends the process with a sentence."""
    parser = argparse.ArgumentParser(prog="python -m src.bench.gpu", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    each = {name: steps.add_parser(name, help=(do.__doc__ or "").splitlines()[0]) for name, do in STEPS.items()}
    for name, step in each.items():
        step.set_defaults(do=STEPS[name])
        step.add_argument("--out", type=Path, nargs="+", required=True, help="the folders of the JSON files")
    for name in ("speed", "speedrun"):
        each[name].add_argument("--root", required=True, help="the folder that holds CIFAR-10")
    each["speed"].add_argument("--rounds", type=int, default=5)
    each["speed"].add_argument("--images", type=int, default=0, help="of a round; by default it depends on the network")
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


STEPS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "speed": measure_speed,
    "speedrun": run_speedrun,
    "table6": summarize_table6,
    "tests": run_gpu_tests,
}


if __name__ == "__main__":
    chosen = parse_options()
    for out in chosen.out:
        out.mkdir(parents=True, exist_ok=True)
    main(lambda: chosen.do(chosen) or 0)
