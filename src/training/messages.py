"""The messages that a person reads before and after a training."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..config.run import TrainConfig
from ..errors import UserError
from ..runs.directory import ENDED, Run
from ..runs.results import Results
from ..runs.stored import describe_same_command, load_stored_config
from ..tasks.table import find_task_row, find_title, list_headlines
from ..text import format_duration, format_table

if TYPE_CHECKING:
    from torch import nn

    from ..data.base import DataModule

SPLITS = ("train", "val", "test")


def describe_stop(config: TrainConfig, run: Run, *, at_once: bool) -> str:
    """Return the message after Ctrl-C; `at_once`: it was pressed twice, so that nothing more was saved."""
    same = describe_same_command(fresh=config.fresh).capitalize()
    if not at_once:
        return f"\nStopped; all is saved in {run.path}. {same} continues."
    if not run.last.exists():
        return f"\nStopped at once, before anything was saved in {run.path}. {same} begins again."
    return f"\nStopped at once; {run.path} holds the last checkpoint. {same} continues from there."


def describe_data(data: "DataModule", facts: Results) -> list[str]:
    """Describe the data that a run uses: classes, images and pixels, and the classes that a split lacks."""
    info, counts = data.info, data.label_counts
    images = "/".join(f"{facts[f'n_{split}']:,}" for split in SPLITS)
    size, colour = f"{info.image_size} × {info.image_size}", "gray" if info.channels == 1 else "colour"
    some = sorted(counts.get("train", []))
    each = f" of {some[0]:,} to {some[-1]:,} training images" if some and some[0] < some[-1] else ""
    lines = [f"Data: {info.num_classes:,} classes{each}; train/val/test {images}; {size} pixels, {colour}"]
    if not facts["n_val"]:
        lines.append("No validation images (data.val_fraction=0): nothing tells how training goes on unseen ones.")
    for split in SPLITS:
        if absent := [name for name, count in zip(info.classes, counts.get(split, []), strict=False) if not count]:
            shown = ", ".join(map(repr, absent[:5])) + ", …" * (len(absent) > 5)
            lines.append(f"No {split} image of {len(absent):,} of the {info.num_classes:,} classes: {shown}")
    return lines


def describe_start(
    config: TrainConfig, run: Run, facts: Results, model: "nn.Module", notes: list[str], *, resumed: bool
) -> str:
    """Return the message at the start of a training; `notes` are on the initial weights and the memory."""
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if learned < facts["params"]:
        notes = [*notes, f"{learned:,} of {facts['params']:,} parameters are trained."]
    trainer = config.trainer
    nodes = f"{trainer.num_nodes} × " if trainer.num_nodes > 1 else ""
    limited = " an epoch" if trainer.limit_train_batches else ""
    compiled = ", compiled" if trainer.compile else ""
    compiled += f", CUDA graph: {trainer.graph}" if trainer.graph != "none" else ""
    return (
        f"{'Resuming' if resumed else 'Training'} {config.model.name} ({facts['params']:,} parameters, "
        f"{facts['macs'] / 1e6:,.2f} M multiply-adds) on {config.data.label} ({facts['n_train']:,} images{limited}), "
        f"{trainer.max_epochs} epochs, seed {config.seed}; {nodes}{trainer.devices} × {trainer.accelerator}, "
        f"{trainer.precision}{compiled}\n" + "\n".join([*notes, str(run.path)])
    )


WIDEST = 8  # most metrics in columns; more of them are rows


def format_metrics(metrics: dict[str, float], task: str) -> str:
    """Format metrics named "test/accuracy" and so on as a table: splits are rows, or columns of more than 8 metrics."""
    titles = find_task_row(task).titles
    columns = [name for name in titles if any(key.endswith(f"/{name}") for key in metrics)]
    rows = [["", *(titles[name] for name in columns)]]
    for split in SPLITS:
        if any(key.startswith(f"{split}/") for key in metrics):
            rows.append([split, *(format_cell(name, metrics.get(f"{split}/{name}")) for name in columns)])
    return format_table(rows if len(columns) <= WIDEST else list(zip(*rows, strict=True)))


def format_cell(name: str, value: float | None) -> str:
    """Format a metric for a table; COCO's -1 means that there was nothing of this kind to find."""
    if value is None or value == -1:
        return "" if value is None else "none"
    return f"{value:.0f}" if name == "classes_with_positives" else f"{value:.4f}"


def summarize_run(results: Results) -> str:
    """Summarize a finished run on one screen: its network and data, its metrics, and the protocol."""
    protocol = {"last": "last epoch", "best_val": "best validation epoch"}[results["protocol"]]
    sizes = "/".join(f"{results[f'n_{split}']:,}" for split in SPLITS)
    data = results.get("data_title", results["data"])
    head = f"{results['model']} on {data}  seed {results['seed']}  {results['params']:,} parameters"
    taken = format_duration(results["time"]["fit_seconds"])
    tail = f"{results['epochs']} epochs, {protocol}; train/val/test {sizes}; {taken}"
    memory = f"; peak memory {results['peak_memory_bytes'] / 1e9:.2f} GB"
    return f"\n{head}\n{format_metrics(results['metrics'], results['task'])}\n{tail}{memory}"


def describe_finished_run(config: TrainConfig, run: Run, results: Results) -> str:
    """Return the message for a run that had finished before, with what differs from a run that is trained now."""
    notes = [f"Finished before: {run.path} (fresh=true trains it again, seed={config.seed + 1} another one)"]
    if results.get("config_hash") != run.config_hash:
        notes.append(f"It was continued since, by: {results.get('command')}")
    if results.get("code_hash") != run.code_hash:
        notes.append("The code has changed since (fresh=true trains anew).")
    stored = read_loggers(run.path)
    if unfed := [name for name in config.logger if name != "csv" and stored is not None and name not in stored]:
        notes.append(f"logger={','.join(unfed)} gets nothing of it, for it was not chosen then.")
    return "\n".join(notes) + summarize_run(results)


def read_loggers(path: Path) -> list[str] | None:
    """Return the names of a run's loggers; None where they are not known."""
    try:
        return list(map(str, load_stored_config(path).logger))
    except UserError:
        return None


def format_sweep(jobs: list[Results]) -> str:
    """Format a sweep as one table of its jobs, followed by the reasons of those that failed."""
    names = list_headlines([entry["task"] for entry in jobs if "task" in entry]) or ["accuracy"]
    rows = [["job", "", *(f"test {find_title(name)}" for name in names), "time"]]
    failed = []
    for number, entry in enumerate(jobs):
        if entry["status"] in ENDED:
            values = (entry["metrics"].get(f"test/{name}") for name in names)
            cells = ["" if value is None else f"{value:.4f}" for value in values]
            cells.append(format_duration(entry["time"]["fit_seconds"]))
        else:
            cells = [entry["status"], *[""] * len(names)]
            failed.append(f"job {number} ({entry['label']}): {entry['status']}: {entry['reason']}")
        rows.append([str(number), entry["label"], *cells])
    return "\n" + format_table(rows, left=2) + ("\n\n" + "\n".join(failed) if failed else "")
