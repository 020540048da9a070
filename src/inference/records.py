"""Keep what was predicted: one JSON line an image, from which the other files are made.

A line is written after each batch, so that a stopped command continues; a line that a kill cut off is left out. At the
end the lines become predictions.csv, unreadable.csv and, of a detector, COCO's detections.json with its images.json.
"""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from ..errors import UserError
from ..files import Json, read_json, sync_folder, write_json

Record: TypeAlias = dict[str, Any]  # "image" and "stamp", and "error" or what was predicted

LINES = "predictions.jsonl"
NOTE = "predict.json"  # what a folder of predictions is of
FILES = (NOTE, LINES, "predictions.csv", "unreadable.csv", "detections.json", "images.json", "page.html", ".lock")


@contextmanager
def write_text(path: Path) -> Iterator[TextIO]:
    """Write a text file of any length completely or not at all."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # a name that is no UTF-8 stands in it as \udc…
        with scratch.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


class Log:
    """The lines of a folder of predictions: what is known already, and what is added."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LINES

    def __iter__(self) -> Iterator[Record]:
        """Yield the records that are whole, in the order in which they were written."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    record = json.loads(line)
                    assert isinstance(record["image"], str)
                except (ValueError, LookupError, TypeError, AssertionError):
                    raise UserError(f"{self.path}: damaged in line {number}; delete it, and predict anew") from None
                yield record

    def keep(self, stamps: Mapping[str, str]) -> set[str]:
        """Drop the records of images that are gone, have changed or could not be read; return the others' names."""
        kept: set[str] = set()
        if not self.path.exists():
            return kept
        with write_text(self.path) as file:
            for record in self:
                name = record["image"]
                if "error" not in record and name not in kept and stamps.get(name) == record.get("stamp"):
                    kept.add(name)
                    file.write(format_line(record))
        return kept

    @contextmanager
    def open(self) -> Iterator[TextIO]:
        with self.path.open("a", encoding="ascii") as file:
            yield file


def format_line(record: Record) -> str:
    return json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n"


def claim_folder(folder: Path, note: Json) -> None:
    """Make the folder of predictions, or take the one of the same predictions.

    Raises UserError where it holds anything else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = read_json(folder / NOTE, "delete it with its folder, and predict anew")
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in FILES and entry.suffix != ".tmp")
    if foreign or (before is None and (folder / LINES).exists()):
        raise UserError(f"out={folder}: holds {foreign[0] if foreign else LINES}, which is not of a prediction")
    if before is not None and before.get("identity") != note["identity"]:
        raise UserError(
            f"out={folder}: holds predictions of {before.get('run')} for images={before.get('images')}, or with other "
            "settings; choose another out=, or delete it"
        )
    write_json(folder / NOTE, note)


def write_tables(folder: Path, log: Log, *, columns: int, kind: str) -> int:
    """Write predictions.csv and unreadable.csv; return the number of images that could not be read.

    `columns` is the number of classes told of an image; `kind` is class, labels or objects.
    """
    unreadable = []
    with write_text(folder / "predictions.csv") as file:
        table = csv.writer(file)
        table.writerow(list_columns(columns, kind))
        for record in log:
            if "error" in record:
                unreadable.append((record["image"], record["error"]))
            else:
                table.writerows(make_rows(record, kind))
    if unreadable:
        with write_text(folder / "unreadable.csv") as file:
            csv.writer(file).writerows([("image", "reason"), *unreadable])
    else:
        (folder / "unreadable.csv").unlink(missing_ok=True)
    return len(unreadable)


def list_columns(columns: int, kind: str) -> list[str]:
    """Return the head of predictions.csv."""
    if kind == "objects":
        return ["image", "class", "score", "x", "y", "width", "height"]
    ranked = [f"{name}_{k}" if k > 1 else name for k in range(1, columns + 1) for name in ("class", "probability")]
    return ["image", *(["labels"] if kind == "labels" else []), *ranked]


def make_rows(record: Record, kind: str) -> Iterable[Sequence[object]]:
    """Return the rows of an image: one, or of a detector one for each object."""
    if kind == "objects":
        return [
            [record["image"], found["class"], f"{found['score']:.6f}", *(f"{v:.2f}" for v in found["bbox"])]
            for found in record["objects"]
        ]
    pairs = zip(record["classes"], record["probabilities"], strict=True)
    ranked = [cell for name, value in pairs for cell in (name, f"{value:.6f}")]
    return [[record["image"], *([";".join(record["labels"])] if kind == "labels" else []), *ranked]]


def write_coco(folder: Path, log: Log, classes: Sequence[str], annotations: Json | None) -> None:
    """Write detections.json, COCO's results, and images.json, the images and categories that its ids are of.

    The ids are those of an annotation file where one is given, by the images' file names and the categories' names;
    else images and classes are counted from 1.
    """
    ids, categories = find_ids(annotations, classes)
    images: list[Json] = []
    with write_text(folder / "detections.json") as file:
        file.write("[")
        between = ""
        for record in log:
            if "error" in record:
                continue
            number = find_image_id(record["image"], ids, len(images) + 1)
            size = {"width": record["width"], "height": record["height"]}
            images.append({"id": number, "file_name": record["image"], **size})
            for found in record["objects"]:
                result = {"image_id": number, "category_id": categories[found["class"]]}
                result |= {key: value for key, value in found.items() if key != "class"}
                file.write(f"{between}\n{json.dumps(result)}")
                between = ","
        file.write("\n]\n")
    listed = [{"id": number, "name": name} for name, number in categories.items()]
    with write_text(folder / "images.json") as file:
        json.dump({"images": images, "categories": listed, "annotations": []}, file)


def find_ids(annotations: Json | None, classes: Sequence[str]) -> tuple[dict[str, int] | None, dict[str, int]]:
    """Return the ids of images by file name (None: they are counted), and of categories by name.

    Raises UserError where the annotation file lacks a class of the run.
    """
    if annotations is None:
        return None, {name: number for number, name in enumerate(classes, 1)}
    try:
        ids = {str(image["file_name"]): int(image["id"]) for image in annotations["images"]}
        known = {str(category["name"]): int(category["id"]) for category in annotations["categories"]}
    except (LookupError, TypeError, ValueError):
        raise UserError("annotations=: is no annotation file in COCO's format") from None
    if absent := [name for name in classes if name not in known]:
        raise UserError(f"annotations=: has no category {absent[0]!r}, which the run knows")
    return ids, {name: known[name] for name in classes}


def find_image_id(name: str, ids: Mapping[str, int] | None, counted: int) -> int:
    """Return the id of an image in COCO's files; raise UserError where the annotation file does not have it."""
    if ids is None:
        return counted
    found = ids.get(name, ids.get(name.rpartition("/")[2]))
    if found is None:
        raise UserError(f"annotations=: has no image {name!r}")
    return found


def choose_shown(log: Log, most: int) -> tuple[list[Record], int]:
    """Return the records to show, sorted by their confidence, and the number of all.

    Of more than `most` images, the least and the most certain halves are shown.
    """
    ranked = sorted((rate_confidence(record), number) for number, record in enumerate(log) if "error" not in record)
    shown = ranked if len(ranked) <= most else [*ranked[: most // 2], *ranked[len(ranked) - most // 2 :]]
    places = {number: place for place, (_, number) in enumerate(shown)}
    chosen = sorted(
        ((places[number], record) for number, record in enumerate(log) if number in places), key=lambda pair: pair[0]
    )
    return [record for _, record in chosen], len(ranked)


def rate_confidence(record: Record) -> float:
    """Return the probability of the first class, or the best score of an object."""
    if "objects" in record:
        return max((found["score"] for found in record["objects"]), default=0.0)
    return float(record["probabilities"][0])
