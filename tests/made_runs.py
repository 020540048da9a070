"""Make runs that look like ours without training: results.json and the files beside it."""

import functools
import json
import random
from pathlib import Path
from typing import Any

from src.runs.identity import compute_code_hash

SIZES = {"resnet20": 269722, "resnet32": 464154, "resnet44": 658586, "resnet56": 853018, "resnet110": 1727962}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def make_results(error: float = 8.75, seed: int = 0, **changed: Any) -> dict[str, Any]:
    """Make the content of results.json for a finished run with this test error in percent."""
    model = changed.get("model", "resnet20")
    metrics = {"test/accuracy": 1 - error / 100, "val/accuracy": 1 - error / 100, "train/accuracy": 0.99}
    return {
        "run": f"outputs/{model}-{seed}",
        "command": f"python -m src.train model={model} data=cifar10 seed={seed}",
        "status": "finished",
        "config_hash": "0123456789",
        "code_hash": compute_code_hash(),
        "model": model,
        "data": "cifar10",
        "data_fingerprint": "cifar10:c58f30108f718f92721af3b95e74349a",
        "n_train": 45000,
        "n_val": 5000,
        "n_test": 10000,
        "task": "multiclass",
        "seed": seed,
        "params": SIZES.get(model, 100000),
        "macs": 150 * SIZES.get(model, 100000),
        "epochs": 182,
        "steps": 64000,
        "protocol": "last",
        "monitor_test": False,
        "metrics": metrics | changed.pop("metrics", {}),
        "time": {"fit_seconds": SIZES.get(model, 100000) / 30.0, "epoch_seconds": 20.0, "images_per_second": 2000.0},
        "environment": {"device": "a GPU", "git_commit": "0123456789abcdef", "git_dirty": False},
    } | changed


@functools.cache
def make_config(*words: str) -> dict[str, Any]:
    """Make the config.yaml of a run of `python -m src.train <words>`; weights stay the name that they are given by."""
    from helpers import compose

    from src.runs.identity import to_plain
    from src.training.settle import settle_machine, settle_weights

    config = compose(*words)
    return to_plain(settle_machine(config if config.model.weights else settle_weights(config)))


def write_run(
    path: Path, content: dict[str, Any], config: dict[str, Any] | None = None, *, beside: bool = False
) -> Path:
    """Write a run directory; `beside` adds metrics.csv, the confusion matrix, class scores and predictions."""
    path.mkdir(parents=True)
    (path / "results.json").write_text(json.dumps(content))
    if config is not None:
        import yaml

        (path / "config.yaml").write_text(yaml.safe_dump(config))
    if beside:
        write_beside(path, content)
    return path


def write_beside(path: Path, content: dict[str, Any]) -> None:
    """Write the files beside results.json: noisy curves that end at its numbers, and predictions that give them."""
    import numpy as np

    random_state = random.Random(repr((content["model"], content["seed"])))
    epochs, final = content["epochs"], content["metrics"]
    lines = ["epoch,val/accuracy,train/accuracy,seconds"]
    for epoch in range(1, epochs + 1):
        rise = 1.0 if epoch < epochs / 2 else 0.3 if epoch < 0.75 * epochs else 0.0
        start = 0.5 * 0.9**epoch
        val = (
            final["val/accuracy"] - start - rise * (0.08 + random_state.gauss(0, 0.015)) + random_state.gauss(0, 0.0005)
        )
        train = final["train/accuracy"] - start - rise * 0.05
        if epoch == epochs:
            val, train = final["val/accuracy"], final["train/accuracy"]
        lines.append(f"{epoch},{val},{train},20.0")
    (path / "metrics.csv").write_text("\n".join(lines) + "\n")
    draws = np.random.default_rng(content["seed"])
    label = np.repeat(np.arange(10), content["n_test"] // 10)
    wrong = draws.random(label.size) < 1 - final["test/accuracy"]
    near = np.where(draws.random(label.size) < 0.4, (label * 3 + 2) % 10, draws.integers(0, 10, label.size))
    prediction = np.where(wrong, np.where(near == label, (near + 1) % 10, near), label)
    names = content.get("classes", CLASSES)
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (label, prediction), 1)
    table = [["true \\ predicted", *names], *([name, *map(str, row)] for name, row in zip(names, counts, strict=True))]
    (path / "confusion_matrix.csv").write_text("".join(",".join(row) + "\n" for row in table))
    recalls = counts.diagonal() / counts.sum(1)
    scores = [f"{name},0.9,{recall},0.9,{1000}" for name, recall in zip(names, recalls, strict=True)]
    (path / "per_class.csv").write_text("\n".join(["class,precision,recall,f1,support", *scores]) + "\n")
    confidence = np.ones(label.size, dtype=np.float32)
    np.savez(
        path / "test_predictions.npz",
        index=np.arange(label.size),
        label=label,
        prediction=prediction,
        confidence=confidence,
    )
