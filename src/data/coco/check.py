"""The preflight of a COCO-format set: what is wrong with its annotations, found before training starts."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError

SHOWN = 3  # examples of each kind


SLACK = 1.0  # how far a box may stick out of its image without a word; annotators round [pixels]


@dataclass
class Report:
    """What was found: each line is a kind of problem with its number of cases and the first of them."""

    fatal: list[str] = field(default_factory=list)
    harmless: list[str] = field(default_factory=list)
    missing: set[Any] = field(default_factory=set)  # ids of images that are not there

    def add(self, what: str, cases: Iterable[Any], *, harmless: bool = False) -> None:
        found = list(cases)
        if found:
            examples = ", ".join(map(str, found[:SHOWN])) + (", …" if len(found) > SHOWN else "")
            (self.harmless if harmless else self.fatal).append(f"{len(found):,} {what} ({examples})")


def refuse_broken(content: dict[str, Any], *, source: Path, folder: Path, skip_missing: bool) -> set[Any]:
    """Refuse annotations that cannot be trained on, warn of what is merely odd; returns the ids of missing images.

    Raises UserError with all that is fatal; a missing image is, unless it is to be skipped.
    """
    report = check_annotations(content, folder=folder)
    if report.missing and not skip_missing:
        names = [image["file_name"] for image in content["images"] if image.get("id") in report.missing]
        report.add(f"images that are not in {folder}; data.skip_unreadable=true goes on without them", names)
    if report.fatal:
        raise UserError(f"{source}: {'; '.join(report.fatal)}")
    if report.harmless:
        logging.getLogger(__name__).warning("%s: %s", source, "; ".join(report.harmless))
    return report.missing


def check_annotations(content: dict[str, Any], *, folder: Path) -> Report:
    """Look through the lists of an annotation file (see ``coco_files.read``); ``folder`` holds the images."""
    report = Report()
    images, categories, annotations = content["images"], content["categories"], content["annotations"]
    whole = "(ids and sizes are whole numbers)"
    report.add(f"images without an id, a file_name, a width and a height {whole}", _find_unsound(images, _is_image))
    report.add(f"categories without an id and a name {whole}", _find_unsound(categories, _is_category))
    report.add(f"annotations without an id and an image_id {whole}", _find_unsound(annotations, _is_annotation))
    for name, entries in (("image", images), ("category", categories), ("annotation", annotations)):
        counts = Counter(entry["id"] for entry in entries if isinstance(entry.get("id"), int))
        report.add(f"{name} ids that occur twice", (k for k, count in counts.items() if count > 1))
    known = {category["id"] for category in categories if isinstance(category.get("id"), int)}
    strange = [a for a in annotations if not isinstance(a.get("category_id"), int) or a["category_id"] not in known]
    report.add(
        "annotations of a category that is not listed",
        (f"annotation {_name_of(a)}: category {a.get('category_id')!r}" for a in strange),
    )
    if report.fatal:  # the rest asks for ids and sizes
        return report
    names = Counter(category["name"] for category in categories)
    report.add("names that several categories have", (k for k, count in names.items() if count > 1), harmless=True)
    report.missing = {image["id"] for image in _find_absent(images, folder)}
    listed = {image["id"]: image for image in images}
    strays = [a for a in annotations if a["image_id"] not in listed]
    their_images = (f"annotation {_name_of(a)}: image {a['image_id']}" for a in strays)
    report.add("annotations of images that are not listed, ignored", their_images, harmless=True)
    kept = [a for a in annotations if a["image_id"] in listed] if strays else annotations
    odd = [a for a in kept if not _is_number(a.get("area", 0.0)) or a.get("iscrowd", 0) not in (0, 1)]
    report.add("annotations whose area is no number, or iscrowd neither 0 nor 1", map(_name_of, odd))
    _check_boxes(report, [a for a in kept if "bbox" in a], listed)
    _check_masks(report, kept, listed)
    return report


def _find_unsound(entries: list[dict[str, Any]], is_sound: Callable[[dict[str, Any]], bool]) -> list[str]:
    return [f"number {k} in its list" for k, entry in enumerate(entries, 1) if not is_sound(entry)]


def _is_image(entry: dict[str, Any]) -> bool:
    sizes = entry.get("width"), entry.get("height")
    return (
        isinstance(entry.get("id"), int)
        and isinstance(entry.get("file_name"), str)
        and all(isinstance(size, int) and size > 0 for size in sizes)
    )


def _is_category(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("id"), int) and isinstance(entry.get("name"), str)


def _is_annotation(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("id"), int) and isinstance(entry.get("image_id"), int)


def _name_of(annotation: dict[str, Any]) -> str:
    return str(annotation.get("id", "without id"))


def _find_absent(images: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The images that are not in the folder; one look at it instead of one for each image."""
    there = {path.name for path in folder.iterdir()}

    def is_there(name: str) -> bool:
        return name in there or ("/" in name and (folder / name).is_file())

    return [image for image in images if not is_there(image["file_name"])]


def _check_boxes(report: Report, annotations: list[dict[str, Any]], images: dict[int, dict[str, Any]]) -> None:
    broken = [a for a in annotations if not _is_box(a["bbox"])]
    report.add("boxes that are not four numbers [x, y, width, height]", (f"annotation {_name_of(a)}" for a in broken))
    if broken or not annotations:
        return
    boxes = np.array([a["bbox"] for a in annotations], dtype=np.float64)
    sizes = np.array([[images[a["image_id"]][side] for side in ("width", "height")] for a in annotations])
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]

    def named(which: Any) -> list[str]:
        return [f"annotation {_name_of(annotations[k])}: {annotations[k]['bbox']}" for k in np.flatnonzero(which)]

    negative = (boxes[:, 2:] < 0).any(axis=1)
    flat = (boxes[:, 2:] <= 0).any(axis=1)
    apart = ((high <= 0) | (low >= sizes)).any(axis=1) & ~flat
    out = ((low < -SLACK) | (high > sizes + SLACK)).any(axis=1) & ~flat & ~apart
    report.add("boxes of a negative width or height; they are [x, y, width, height]", named(negative))
    report.add("boxes outside of their image", named(apart))
    report.add("boxes without an area, left out of detection", named(flat & ~negative), harmless=True)
    hint = "; are they [x, y, width, height]?" if out.mean() > 0.1 else ""
    report.add(f"boxes that reach out of their image, cut at its edge{hint}", named(out), harmless=True)


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_masks(report: Report, annotations: list[dict[str, Any]], images: dict[int, dict[str, Any]]) -> None:
    empty, misfits, broken = [], [], []
    for a in annotations:
        mask = select_segmentation(a)
        if mask is None and a.get("segmentation") is not None:
            empty.append(a)
        elif isinstance(mask, dict):
            image = images[a["image_id"]]
            if mask["size"] != [image["height"], image["width"]]:
                misfits.append(a)
            elif not _is_rle(mask):
                broken.append(a)
    report.add("masks whose run lengths cannot be read", (f"annotation {_name_of(a)}" for a in broken))
    report.add("masks of another size than their image", (f"annotation {_name_of(a)}" for a in misfits))
    if any(a.get("segmentation") for a in annotations):  # else they are data with boxes only, and no mask is missed
        names = (f"annotation {_name_of(a)}" for a in empty)
        report.add("empty or degenerate polygons, which give no mask", names, harmless=True)


def _is_rle(mask: dict[str, Any]) -> bool:
    """Whether run lengths, packed or not, fill a mask of their size."""
    from faster_coco_eval.core import mask as rle

    counts, (height, width) = mask["counts"], mask["size"]
    try:
        rle.area(rle.frPyObjects(mask, height, width) if isinstance(counts, list) else mask)
    except Exception:  # its decoder raises several types
        return False
    return not isinstance(counts, list) or sum(counts) == height * width


def select_segmentation(annotation: dict[str, Any]) -> list[list[float]] | dict[str, Any] | None:
    """What of an annotation's segmentation gives a mask, as pycocotools takes it: its sound polygons, or its RLE.

    None where there is nothing. A polygon of two points must not reach pycocotools, which takes it for a box.
    """
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return segmentation if {"counts", "size"} <= segmentation.keys() else None
    if not isinstance(segmentation, list):
        return None
    return [polygon for polygon in segmentation if _is_polygon(polygon)] or None


def _is_polygon(points: Any) -> bool:
    """At least three points, not all of them in one row or column."""
    if not isinstance(points, list) or len(points) < 6 or len(points) % 2:
        return False
    try:
        if not all(map(math.isfinite, points)):
            return False
    except TypeError:  # not all of them are numbers
        return False
    x, y = points[::2], points[1::2]
    return max(x) > min(x) and max(y) > min(y)
