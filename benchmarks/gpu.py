"""What only a GPU can show, as JSON: the steps of ``benchmarks/gpu.sh``. Without a GPU it measures what a CPU can.

    python -m benchmarks.gpu speed|speedrun|table6|tests … --out <folder>

Each step adds to its file as it goes, so that an interruption loses a network or a run at most.
"""

import argparse
import contextlib
import copy
import io
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import bare
from src.bench.images import cifar, made
from src.bench.report import environment, lines
from src.bench.rounds import Comparison, as_torch_starts, judged, measure
from src.bench.training import Training, best_template, compose, now, terminal
from src.cli import main, say
from src.errors import UserError
from src.optim import build_optimizer
from src.published import read_published
from src.results import read_metrics
from src.runs import write_json
from src.train import train

GPU = torch.cuda.is_available()
ROOT = Path(__file__).resolve().parents[1]
BATCH = 128

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
OVER_PEER = 1.15  # at most this much of airbench96's time
TOO_DEEP_TO_COMPILE = ("resnet1202",)  # compiling each of 1,202 layers takes too long
PEERS_EPOCHS = 40


def surroundings() -> dict[str, Any]:
    """Versions, device, driver and commit."""
    found = environment("gpu" if GPU else "cpu")
    found["git_commit"] = found["git_commit"] or os.environ.get("COMMIT")  # where the tree came without its history
    if GPU:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        with contextlib.suppress(OSError):
            found["driver"] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        found["gpu_memory_bytes"] = torch.cuda.get_device_properties(0).total_memory
    return found


class Results:
    """A step's JSON file, the same in each folder; it goes on from what the first of them holds already."""

    def __init__(self, folders: Sequence[Path], name: str) -> None:
        self.paths = [folder / f"{name}.json" for folder in folders]
        first = self.paths[0]
        self.content: dict[str, Any] = json.loads(first.read_text()) if first.exists() else {}

    def save(self, **parts: Any) -> None:
        about = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "environment": surroundings()}
        if not GPU:
            about["note"] = "A rehearsal without a GPU: no figure here is a result."
        self.content |= about | {"command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]])} | parts
        for path in self.paths:
            write_json(path, self.content)


# ---------------------------------------------------------------- images a second


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
    model = copy.deepcopy(ours.fresh).to(device, memory_format=torch.channels_last)
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


# ---------------------------------------------------------------- 96 % on CIFAR-10


def speedrun(options: argparse.Namespace) -> None:
    """`experiment=cifar10_speedrun96` and airbench's train96, run after run in turn, each with its own clock.

    Both clocks leave out compilation and warm-up (a short run of each comes first), the data's loading, and the
    evaluations. Ours adds up the epochs, the first one at the median of all: it holds the recording of the CUDA graph.
    The peer's is its own, of its CUDA events; it also holds what ours does before its first epoch: whitening, and
    padding the set once. `fit_seconds` are ours with all that a run leaves: 40 checkpoints, metrics, the graph.
    `accuracy_flip` is the mean of two views of a test image, `accuracy_tta` the peer's of six. The ratio of times says
    something only where both means `reached_96`.
    """
    protocol = " ".join((speedrun.__doc__ or "").split())
    results = Results(options.out, "speedrun")
    ours, theirs = results.content.get("ours", []), results.content.get("airbench96", [])
    skipped = "" if GPU else "airbench96 needs a GPU: only ours was run."
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if GPU:
            lay_out_for_peer(options.root)
        short = ("trainer.max_epochs=1", "trainer.limit_train_batches=8", "trainer.limit_test_batches=1")
        own_run(options, len(ours), *short)
        peer_run(warm_up=True) if GPU else None
        for seed in range(len(ours), options.runs):
            ours.append(own_run(options, seed))
            theirs.append(peer_run()) if GPU else None
            print(ours[-1], theirs[-1] if theirs else skipped, flush=True)
            parts = {"protocol": protocol, "skipped": skipped, "words": options.words}
            results.save(**parts, ours=ours, airbench96=theirs, summary=summarized(ours, theirs))
        os.chdir(ROOT)


def own_run(options: argparse.Namespace, seed: int, *words: str) -> dict[str, Any]:
    """One training by the ordinary path, in a run directory that is thrown away."""
    torch.backends.cudnn.benchmark = False  # airbench switches it on for the whole process
    given = ("trainer.graph=full", f"seed={seed}", f"data.root={options.root}", *options.words, *words)
    config = compose("experiment=cifar10_speedrun96", *given)
    with tempfile.TemporaryDirectory() as folder:
        with terminal():
            found = train(config, Path(folder))
        seconds = [row["seconds"] for row in read_metrics(Path(folder) / "metrics.csv")]
    return {
        "seed": seed,
        "seconds": statistics.median(seconds) + sum(seconds[1:]),
        "fit_seconds": found["time"]["fit_seconds"],
        "accuracy": found["metrics"]["test/accuracy"],
        "accuracy_flip": found["metrics"]["test/accuracy_flip"],
    }


def lay_out_for_peer(root: str) -> None:
    """The two files that airbench looks for in the current folder, and would download."""
    raw, note = cifar(root)
    if not note.startswith("real"):
        raise UserError(note)
    Path("cifar10").mkdir()
    for name, split in (("train", raw.train), ("test", raw.test)):
        content = {"images": torch.from_numpy(split.images), "labels": torch.from_numpy(split.labels)}
        torch.save(content | {"classes": list(raw.info.classes)}, f"cifar10/{name}.pt")


def peer_run(*, warm_up: bool = False) -> dict[str, Any]:
    """One training by airbench, read from what it prints."""
    from airbench import train96

    as_torch_starts()
    torch.backends.cudnn.benchmark = True  # as it asks for when it is imported
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen):
        train96(run="warmup" if warm_up else 1)
    return {} if warm_up else printed(screen.getvalue())


def printed(text: str) -> dict[str, Any]:
    """The figures of airbench's table: columns run, epoch, train_loss, train_acc, val_acc, tta_val_acc, seconds."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    by_epoch = {row[1]: row for row in rows if len(row) == 7}
    last, final = by_epoch[str(PEERS_EPOCHS - 1)], by_epoch["eval"]
    return {
        "seconds": float(last[6]),
        "seconds_with_test": float(final[6]),
        "accuracy": float(last[4]),
        "accuracy_tta": float(final[5]),
    }


def summarized(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of each figure, and ours over theirs in time."""

    def of(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        names = [name for name in runs[0] if name != "seed"]
        columns = {name: [run[name] for run in runs] for name in names}
        return {
            name: {"mean": statistics.mean(v), "std": statistics.stdev(v) if len(v) > 1 else None, "n": len(v)}
            for name, v in columns.items()
        }

    found: dict[str, Any] = {"ours": of(ours)}
    if theirs:
        found["airbench96"] = of(theirs)
        mean, peer = found["ours"]["seconds"]["mean"], found["airbench96"]["seconds"]["mean"]
        found["time_ratio"] = {"ours_over_airbench96": mean / peer, "aim_at_most": OVER_PEER}
        whole = found["ours"]["fit_seconds"]["mean"] / peer
        found["time_ratio"]["with_checkpoints_and_recording"] = whole
        found["reached_96"] = {
            "ours": found["ours"]["accuracy_flip"]["mean"] >= 0.96,
            "airbench96": found["airbench96"]["accuracy_tta"]["mean"] >= 0.96,
        }
    return found


# ---------------------------------------------------------------- Table 6, and the tests


def table6(options: argparse.Namespace) -> None:
    """The test errors of the runs of a sweep, beside He et al.'s Table 6 (which trained five times as long)."""
    published = {row.match["model"]: row.values["test/error"] for row in read_published("he2016_table6").tables[0].rows}
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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
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
