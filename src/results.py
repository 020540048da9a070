"""What a finished run leaves for everything else to read: results.json, per-class tables, predictions."""

import contextlib
import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.runs import write_atomic

if TYPE_CHECKING:
    from torch import Tensor


TITLES = {  # of all metrics, in a table's order
    "map": "mAP",
    "map_50": "mAP at IoU 0.50",
    "map_75": "mAP at IoU 0.75",
    "map_small": "mAP, small objects",
    "map_medium": "mAP, medium objects",
    "map_large": "mAP, large objects",
    "mar_1": "mean recall, 1 box a photo",
    "mar_10": "mean recall, 10 boxes",
    "mar_100": "mean recall, 100 boxes",
    "mar_small": "mean recall, small objects",
    "mar_medium": "mean recall, medium objects",
    "mar_large": "mean recall, large objects",
}
TITLES |= {f"mask_{name}": f"mask {title.replace('box', 'mask')}" for name, title in TITLES.items()}
TITLES |= {
    "accuracy": "accuracy",
    "accuracy_flip": "with flip",
    "exact": "exact match",
    "precision": "macro P",
    "recall": "macro R",
    "f1": "macro F1",
    "precision_all": "macro P, all classes",
    "recall_all": "macro R, all classes",
    "f1_all": "macro F1, all classes",
    "micro_precision": "micro P",
    "micro_recall": "micro R",
    "micro_f1": "micro F1",
    "classes_with_positives": "classes that occur",
    "threshold": "threshold",
    "top5": "top-5",
    "loss": "loss",
    "loss_objectness": "loss, is it an object",
    "loss_rpn_box_reg": "loss, proposed boxes",
    "loss_classifier": "loss, classes",
    "loss_box_reg": "loss, boxes",
    "loss_mask": "loss, masks",
    "loss_classification": "loss, classes",
    "loss_bbox_regression": "loss, boxes",
}
WIDEST = 8  # more metrics than these stand below each other

HEADLINES = ("map", "mask_map", "accuracy", "f1")  # of a sweep's table; the first that there is, is what it is about


def objective(results: dict[str, Any]) -> float | None:
    """What a search over settings looks at: the validation headline, never the test's; None where there is none."""
    metrics = results.get("metrics", {})
    return next((metrics[f"val/{name}"] for name in HEADLINES if f"val/{name}" in metrics), None)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv, an epoch each: [] before there are any, without a last line that is not whole."""
    rows = []
    with contextlib.suppress(FileNotFoundError):
        for row in csv.DictReader(path.read_text().rpartition("\n")[0].splitlines()):
            with contextlib.suppress(TypeError, ValueError):
                rows.append({key: float(value) for key, value in row.items()})
    return rows


def watch_metrics(path: Path) -> list[dict[str, float]]:
    """The same while another process writes them, perhaps to a file system that is shared and fails for a moment."""
    try:
        return read_metrics(path)
    except OSError:
        return []


def write_rows(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as CSV, atomically."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_atomic(path, text.getvalue().encode())


def write_test_files(path: Path, *, confusion: "Tensor", classes: Sequence[str], predictions: "Tensor") -> None:
    """confusion_matrix.csv (rows: true), per_class.csv and test_predictions.npz (index, label, prediction, confidence).

    confusion: int64 [C, C]; predictions: float64 [4, N] in any order of the samples.
    """
    import numpy as np

    from src.metrics import per_class  # here, so that reading a result does not wait for torch

    write_rows(
        path / "confusion_matrix.csv",
        [
            ["true \\ predicted", *classes],
            *([name, *row] for name, row in zip(classes, confusion.tolist(), strict=True)),
        ],
    )
    table = per_class(confusion)
    columns = [table[name].tolist() for name in ("precision", "recall", "f1", "support")]
    write_rows(
        path / "per_class.csv",
        [
            ["class", "precision", "recall", "f1", "support"],
            *(
                [name, *(f"{v:.6f}" for v in row[:3]), int(row[3])]
                for name, *row in zip(classes, *columns, strict=True)
            ),
        ],
    )
    index, label, predicted, confidence = predictions[:, predictions[0].argsort()].numpy()
    arrays = {
        "index": index.astype(np.int64),
        "label": label.astype(np.int64),
        "prediction": predicted.astype(np.int64),
        "confidence": confidence.astype(np.float32),
    }
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    write_atomic(path / "test_predictions.npz", packed.getbuffer())


def table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Rows as aligned text: a head, then the others; `left` columns stand to the left, the rest to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def metrics_table(metrics: dict[str, float]) -> str:
    """A table with a row a split and a column a metric, from names such as "test/accuracy"; many metrics are rows."""
    columns = [name for name in TITLES if any(key.endswith(f"/{name}") for key in metrics)]
    rows = [["", *(TITLES[name] for name in columns)]]
    for split in ("train", "val", "test"):
        if any(key.startswith(f"{split}/") for key in metrics):
            rows.append([split, *(cell(name, metrics.get(f"{split}/{name}")) for name in columns)])
    return table(rows if len(columns) <= WIDEST else list(zip(*rows, strict=True)))


def cell(name: str, value: float | None) -> str:
    """A metric as a table shows it; COCO's -1 says that there was nothing of this kind to find."""
    if value is None or value == -1:
        return "" if value is None else "none"
    return f"{value:.0f}" if name == "classes_with_positives" else f"{value:.4f}"


def summary(results: dict[str, Any]) -> str:
    """A finished run on one screen: what ran, its metrics, and the protocol behind them."""
    protocol = {"last": "last epoch", "best_val": "best validation epoch"}[results["protocol"]]
    sizes = "/".join(f"{results[f'n_{split}']:,}" for split in ("train", "val", "test"))
    head = f"{results['model']} on {results['data']}  seed {results['seed']}  {results['params']:,} parameters"
    tail = f"{results['epochs']} epochs, {protocol}; train/val/test {sizes}; {duration(results['time']['fit_seconds'])}"
    memory = f"; peak memory {results['peak_memory_bytes'] / 1e9:.2f} GB"
    return f"\n{head}\n{metrics_table(results['metrics'])}\n{tail}{memory}"


def duration(seconds: float) -> str:
    """Seconds as 45 s, 12 min 5 s or 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
