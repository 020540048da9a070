"""Write a model card: what a network is, how well it does and how to use it, with the header of Hugging Face's hub."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..files import Json, read_json, write_atomic
from ..tasks.table import find_task_row
from .exporting import FILES, Exported
from .network import Predictor, find_run_directory

CARD = "model-card.md"
PUBLISHED = ("cifar10", "cifar100", "fashion_mnist")  # data sets of this name are known to everybody
MOST_CLASSES = 100  # of a list in the text


def write_card(folder: Path, predictor: Predictor, exported: Sequence[Exported], *, license_name: str | None) -> Path:
    """Write model-card.md beside the files of an export; its numbers are those of the run's results.json."""
    results = read_json(find_run_directory(predictor.path) / "results.json") or {}
    header = yaml.safe_dump(make_header(predictor, results, license_name), sort_keys=False, allow_unicode=True)
    path = folder / CARD
    write_atomic(path, f"---\n{header}---\n\n{write_text(folder, predictor, results, exported)}".encode())
    return path


def make_header(predictor: Predictor, results: Json, license_name: str | None) -> dict[str, Any]:
    """Return the header, with a model-index of the test's metrics where the run has been tested."""
    config = predictor.config
    name = f"{config.model.name}-{config.data.name}"
    header: dict[str, Any] = {"license": license_name} if license_name else {}
    header |= {
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "residual-networks", config.model.name],
    }
    if config.data.name in PUBLISHED:
        header["datasets"] = [config.data.name]
    metrics = list_metrics(results)
    if metrics:
        result = {
            "task": {"type": "image-classification", "name": "Image Classification"},
            "dataset": {"name": config.data.name, "type": config.data.name, "split": "test"},
            "metrics": metrics,
        }
        header["metrics"] = [metric["type"] for metric in metrics]
        header["model-index"] = [{"name": name, "results": [result]}]
    return header


def list_metrics(results: Json) -> list[dict[str, Any]]:
    """Return the test's metrics by the names of the task's table."""
    found = results.get("metrics", {})
    titles = find_task_row(results["task"]).titles if "task" in results else {}
    return [
        {"type": name, "name": title, "value": round(found[f"test/{name}"], 6)}
        for name, title in titles.items()
        if isinstance(found.get(f"test/{name}"), float | int) and name != "loss"
    ]


def write_text(folder: Path, predictor: Predictor, results: Json, exported: Sequence[Exported]) -> str:
    """Return the card's text."""
    config, stored = predictor.config, predictor.normalization
    lines = [f"# {config.model.name} on {config.data.name}", ""]
    if results:
        lines += [describe_training(results), ""]
        if metrics := list_metrics(results):
            lines += ["| test | |", "|---|---|", *(f"| {m['name']} | {m['value']:.4f} |" for m in metrics), ""]
        lines += ["```bash", hide_places(str(results.get("command", ""))), "```", ""]
    measured = {one.path.name: one for one in exported}
    lines += ["## Files", "", "| file | largest difference from the run, relative |", "|---|---|"]
    for name in FILES.values():
        if name in measured:
            one = measured[name]
            lines.append(f"| `{name}` | {one.difference:.1e} on {one.images} real images, by {one.by} |")
        elif (folder / name).exists():
            lines.append(f"| `{name}` | checked when it was written |")
    mean, std = ([round(value, 4) for value in stored[key]] for key in ("mean", "std"))
    scaling = "the mean image" if stored["mean_image"] is not None else f"{mean}, then divide by {std}"
    lines += [
        "",
        "## Use",
        "",
        f"Images of {predictor.channels} channel{'s' * (predictor.channels > 1)} and {predictor.side}x{predictor.side} "
        f"pixels. Scale pixels to [0, 1], subtract {scaling}. {predictor.describe_calibration()}",
        "",
    ]
    if predictor.has_labels:
        lines += [f"A label is given from a probability of {predictor.threshold:.3f} on.", ""]
    named = [name.replace("`", "'") for name in predictor.classes[:MOST_CLASSES]]
    more = f", … ({len(predictor.classes)} in all)" if len(predictor.classes) > MOST_CLASSES else ""
    lines += ["Classes, in the order of the outputs: " + ", ".join(f"`{name}`" for name in named) + more + ".", ""]
    return "\n".join(lines)


def hide_places(command: str) -> str:
    """Return a command without the words that say where files lie on a machine."""
    private = ("hydra.run.dir=", "output_root=", "data.root=", "out=")
    return " ".join(word for word in command.split(" ") if not word.startswith(private) and "/" not in word)


def describe_training(results: Json) -> str:
    """Return the sentence about how the network was trained and tested."""
    protocol = {"last": "last epoch", "best_val": "best validation epoch"}.get(str(results.get("protocol")), "")
    trained = (
        f"Trained on {results.get('n_train', 0):,} images, {results.get('epochs', 0)} epochs, seed "
        f"{results.get('seed')}; {protocol}"
        if results.get("epochs")
        else f"Weights of others ({json.dumps(results.get('weights', {}).get('source', ''))}), not trained here"
    )
    return f"{trained}; {results.get('params', 0):,} parameters; tested once on {results.get('n_test', 0):,} images."
