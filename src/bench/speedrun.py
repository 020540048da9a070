"""Train to 96 % on CIFAR-10, beside airbench on the same GPU."""

import argparse
import contextlib
import io
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from ..errors import UserError
from ..runs.results import read_metrics
from ..training.run import train
from .images import load_cifar
from .ours import compose_config, simulate_terminal
from .records import GPU, ROOT, Results
from .rounds import Record, reset_determinism

OVER_PEER = 1.15  # at most this much of airbench96's time


PEERS_EPOCHS = 40


def run_speedrun(options: argparse.Namespace) -> None:
    """Train `experiment=cifar10_speedrun96` and airbench's train96, run after run in turn, each with its own clock.

    Both clocks leave out compilation and warm-up (a short run of each comes first), the data's loading, and the
    evaluations. Ours adds up the epochs, the first one at the median of all: it includes recording the CUDA graph.
    The peer's is its own, of its CUDA events; it also includes what ours does before its first epoch: whitening, and
    padding the set once. `fit_seconds` are ours with all that a run leaves: 40 checkpoints, metrics, the graph.
    `accuracy_flip` is the mean of two views of a test image, `accuracy_tta` the peer's of six. The ratio of times says
    something only where both means `reached_96`.
    """
    protocol = " ".join((run_speedrun.__doc__ or "").split())
    results = Results(options.out, "speedrun")
    ours, theirs = results.content.get("ours", []), results.content.get("airbench96", [])
    skipped = "" if GPU else "airbench96 needs a GPU: only ours was run."
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if GPU:
            write_peer_data(options.root)
        short = ("trainer.max_epochs=1", "trainer.limit_train_batches=8", "trainer.limit_test_batches=1")
        run_ours(options, len(ours), *short)
        run_peer(warm_up=True) if GPU else None
        for seed in range(len(ours), options.runs):
            ours.append(run_ours(options, seed))
            theirs.append(run_peer()) if GPU else None
            print(ours[-1], theirs[-1] if theirs else skipped, flush=True)
            parts = {"protocol": protocol, "skipped": skipped, "words": options.words}
            results.save(**parts, ours=ours, airbench96=theirs, summary=summarize_runs(ours, theirs))
        os.chdir(ROOT)


def run_ours(options: argparse.Namespace, seed: int, *words: str) -> dict[str, float]:
    """Train once by the ordinary path, in a temporary run directory."""
    torch.backends.cudnn.benchmark = False  # airbench switches it on for the whole process
    given = ("trainer.graph=full", f"seed={seed}", f"data.root={options.root}", *options.words, *words)
    config = compose_config("experiment=cifar10_speedrun96", *given).config
    with tempfile.TemporaryDirectory() as folder:
        with simulate_terminal():
            found = train(config, Path(folder))
        seconds = [row["seconds"] for row in read_metrics(Path(folder) / "metrics.csv")]
    return {
        "seed": seed,
        "seconds": statistics.median(seconds) + sum(seconds[1:]),
        "fit_seconds": found["time"]["fit_seconds"],
        "accuracy": found["metrics"]["test/accuracy"],
        "accuracy_flip": found["metrics"]["test/accuracy_flip"],
    }


def write_peer_data(root: str) -> None:
    """Write the two files that airbench looks for in the current folder, and would download."""
    raw, note = load_cifar(root)
    if not note.startswith("real"):
        raise UserError(note)
    Path("cifar10").mkdir()
    for name, split in (("train", raw.train), ("test", raw.test)):
        content = {"images": torch.from_numpy(split.images), "labels": torch.from_numpy(split.labels)}
        torch.save(content | {"classes": list(raw.info.classes)}, f"cifar10/{name}.pt")


def run_peer(*, warm_up: bool = False) -> dict[str, float]:
    """Train once by airbench; return the figures that it prints."""
    from airbench import train96

    reset_determinism()
    torch.backends.cudnn.benchmark = True  # as it asks for when it is imported
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen):
        train96(run="warmup" if warm_up else 1)
    return {} if warm_up else parse_peer_output(screen.getvalue())


def parse_peer_output(text: str) -> dict[str, float]:
    """Parse airbench's table: columns run, epoch, train_loss, train_acc, val_acc, tta_val_acc, seconds."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    by_epoch = {row[1]: row for row in rows if len(row) == 7}
    last, final = by_epoch[str(PEERS_EPOCHS - 1)], by_epoch["eval"]
    return {
        "seconds": float(last[6]),
        "seconds_with_test": float(final[6]),
        "accuracy": float(last[4]),
        "accuracy_tta": float(final[5]),
    }


def summarize_runs(ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]]) -> Record:
    """Return the mean and standard deviation of each figure, and the ratio of our time to theirs."""

    def summarize_side(runs: Sequence[dict[str, float]]) -> Record:
        names = [name for name in runs[0] if name != "seed"]
        columns = {name: [run[name] for run in runs] for name in names}
        return {
            name: {"mean": statistics.mean(v), "std": statistics.stdev(v) if len(v) > 1 else None, "n": len(v)}
            for name, v in columns.items()
        }

    found: Record = {"ours": summarize_side(ours)}
    if theirs:
        found["airbench96"] = summarize_side(theirs)
        mean, peer = found["ours"]["seconds"]["mean"], found["airbench96"]["seconds"]["mean"]
        found["time_ratio"] = {"ours_over_airbench96": mean / peer, "aim_at_most": OVER_PEER}
        whole = found["ours"]["fit_seconds"]["mean"] / peer
        found["time_ratio"]["with_checkpoints_and_recording"] = whole
        found["reached_96"] = {
            "ours": found["ours"]["accuracy_flip"]["mean"] >= 0.96,
            "airbench96": found["airbench96"]["accuracy_tta"]["mean"] >= 0.96,
        }
    return found
