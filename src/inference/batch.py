"""Predict all images of a source into a folder, and continue where a command was stopped."""

import fcntl
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..errors import UserError
from ..files import Json, explain_os_error, read_json
from ..models.pretrained.files import compute_sha256
from ..text import format_duration, format_table
from .network import Predictor
from .page import write_page
from .predicting import predict_images
from .records import Log, claim_folder, write_coco, write_tables
from .sources import Images

PRINTED = 20  # most images whose predictions are printed, too
FOLDER = "predictions"  # where out= names none


@dataclass(frozen=True)
class Done:
    """What a prediction has to say: a table of a few images, a summary, and the number of unreadable images."""

    folder: Path
    table: str
    summary: str
    unreadable: int


def predict_to_folder(
    predictor: Predictor,
    images: Images,
    *,
    source: str,
    out: Path | None,
    top: int,
    batch_size: int,
    annotations: Path | None = None,
) -> Done:
    """Predict the images of a source, which a person calls `source`, into `out`, or into a folder of its own name.

    Images that the folder has already are kept, unless their files have changed. Raises UserError where the folder
    holds anything else.
    """
    kind = "objects" if predictor.detects else "labels" if predictor.has_labels else "class"
    truth = read_annotations(annotations) if annotations else None
    note = make_note(predictor, images, source, top)
    name = f"{predictor.config.model.name}-{predictor.config.data.name}-{note['identity']}"
    folder = out or Path(FOLDER, name)
    try:
        claim_folder(folder, note)
    except OSError as error:
        raise UserError(f"out={explain_os_error(error, folder)}") from None
    log = Log(folder)
    with hold(folder):
        known, predicted, seconds = predict_missing(predictor, images, log, folder, top=top, batch_size=batch_size)
        unreadable = write_tables(folder, log, columns=min(top, len(predictor.classes)), kind=kind)
        if predictor.detects:
            write_coco(folder, log, predictor.classes, truth)
        title = f"{len(images.items):,} image{'s' * (len(images.items) != 1)} from {source}"
        sentences = [text for text in (predictor.describe_calibration(), describe_threshold(predictor)) if text]
        write_page(folder, log, images, predictor, title=title, sentences=sentences, kind=kind)
    table = format_records(log, kind) if len(images.items) <= PRINTED else ""
    told = summarize(predicted, seconds, known, unreadable)
    return Done(folder, table, "\n".join([*sentences, told, f"{folder}: predictions.csv, page.html"]), unreadable)


def predict_missing(
    predictor: Predictor, images: Images, log: Log, folder: Path, *, top: int, batch_size: int
) -> tuple[int, int, float]:
    """Predict what the log lacks; return how many images it had, how many were new, and the seconds that they took.

    Raises KeyboardInterrupt, with what to do, after Ctrl-C.
    """
    known = log.keep({item.name: item.stamp for item in images.items})
    missing = [item for item in images.items if item.name not in known]
    began = time.perf_counter()
    try:
        with log.open() as file:
            predict_images(predictor, images, missing, file, top=top, batch_size=batch_size, known=len(known))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"\nStopped; the same command continues, and {folder} keeps what is done.") from None
    return len(known), len(missing), time.perf_counter() - began


def make_note(predictor: Predictor, images: Images, source: str, top: int) -> Json:
    """Return what a folder of predictions is of; its identity is a hash of all that decides the predictions."""
    config = predictor.config
    place = source if images.content else str(Path(source).expanduser().absolute())
    deciding = {
        "checkpoint": compute_sha256(predictor.path),
        "images": [place, images.content],
        "top": top,
        "temperature": predictor.temperature,
        "data": repr(config.data),
        "task": repr(config.task),
    }
    identity = hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:8]
    return {"run": str(predictor.path), "images": source, "identity": identity, "classes": list(predictor.classes)}


def read_annotations(path: Path) -> Json:
    """Read an annotation file in COCO's format for its ids; raise UserError where there is none."""
    content = read_json(path, "type annotations=<a file in COCO's format>")
    if content is None:
        raise UserError(f"annotations={path}: no such file")
    return content


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Lock a folder of predictions; raise UserError where another process has it."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"out={folder}: another process is predicting into it; wait until it ends") from None
        yield


def describe_threshold(predictor: Predictor) -> str:
    """Say by which probability labels are chosen; "" where there are no labels."""
    return f"Labels have a probability of at least {predictor.threshold:.3f}." if predictor.has_labels else ""


def summarize(predicted: int, seconds: float, known: int, unreadable: int) -> str:
    """Return the sentence about how many images were predicted, were known, and could not be read."""
    done = predicted - unreadable
    parts = [f"{done:,} image{'s' * (done != 1)} predicted in {format_duration(seconds)}"]
    if predicted >= PRINTED:
        parts[0] += f" ({predicted / max(seconds, 1e-9):,.0f} images/s)"
    if known:
        parts.append(f"{known:,} were predicted before")
    if unreadable:
        parts.append(f"{unreadable:,} could not be read (unreadable.csv)")
    return "; ".join(parts) + "."


def format_records(log: Log, kind: str) -> str:
    """Format a few predictions as a table for the screen."""
    rows = [["image", {"objects": "objects", "labels": "labels"}.get(kind, "class"), ""]]
    for record in islice(log, PRINTED):
        if "error" in record:
            rows.append([record["image"], "cannot be read", record["error"][:60]])
        elif kind == "objects":
            found = [f"{one['class']} {one['score']:.2f}" for one in record["objects"][:5]]
            rows.append([record["image"], str(len(record["objects"])), ", ".join(found)])
        else:
            pairs = list(zip(record["classes"], record["probabilities"], strict=True))
            ranked = [f"{name} {value:.3f}" for name, value in pairs]
            first = ", ".join(record["labels"]) or "none" if kind == "labels" else ranked[0]
            rows.append([record["image"], first, ", ".join(ranked[kind == "class" :])])
    return format_table(rows, left=3)
