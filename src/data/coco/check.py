"""Check the annotations of a COCO-format set before training starts."""

import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files import Json, is_file_name, is_text
from ..photos.reader import MOST_PIXELS
from .masks import decode_runs
from .photos import find_lost

SHOWN, LONGEST = 3, 80  # examples of each kind, and their letters
SLACK = 1.0  # how far a box may reach out of its image, for annotators round [pixels]
THINNEST = 0.1  # boxes that are thinner inside their image are left out [pixels]
LARGEST = 1e9  # of a coordinate or an area: larger numbers overflow where they are multiplied
KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation")
FARTHEST = 1e5  # of a polygon's points: outlines are walked pixel by pixel


@dataclass
class Report:
    """Collect problems: each line is a kind of problem with its number of cases and the first of them.

    What the harmless ones say is done by ``repair``.
    """

    fatal: list[str] = field(default_factory=list)
    harmless: list[str] = field(default_factory=list)
    missing: set[int] = field(default_factory=set)  # ids of images that are not there
    flat: set[int] = field(default_factory=set)  # ids of annotations whose boxes have no area
    cut: dict[int, list[float]] = field(default_factory=dict)  # ids of annotations, and their boxes inside the image
    maskless: set[int] = field(default_factory=set)  # ids of annotations whose masks have no pixels

    def add(self, what: str, cases: Iterable[object], *, harmless: bool = False) -> None:
        """Add a kind of problem, unless it has no cases."""
        found = list(cases)
        if found:
            examples = ", ".join(shorten(str(case)) for case in found[:SHOWN])
            examples += ", …" if len(found) > SHOWN else ""
            (self.harmless if harmless else self.fatal).append(f"{len(found):,} {what} ({examples})")

    def repair(self, annotation: Json) -> Json | None:
        """Return an annotation as it is learned from and counted, without what nothing reads; None where it is not."""
        number = annotation["id"]
        if number in self.flat:
            return None
        kept = {key: annotation[key] for key in KEYS if key in annotation}
        if number in self.cut:
            kept["bbox"] = self.cut[number]
        if "segmentation" in kept:
            kept["segmentation"] = [] if number in self.maskless else select_segmentation(annotation)
        if "iscrowd" in kept:
            kept["iscrowd"] = int(kept["iscrowd"])  # some write true and false
        return kept


def shorten(text: str) -> str:
    """Return a text of a file in printable letters, and its beginning where it is long."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in text[:LONGEST])
    return shown + ("…" if len(text) > LONGEST else "")


def refuse_broken(content: Json, *, source: Path, folder: Path, skip_missing: bool) -> Report:
    """Refuse annotations that cannot be trained on, warn of harmless oddities, and return the report on both.

    Raises UserError with everything that is fatal, which a missing image is unless ``skip_missing``.
    """
    report = check_annotations(content, folder=folder)
    if report.missing and not skip_missing:
        names = [image["file_name"] for image in content["images"] if image.get("id") in report.missing]
        report.add(f"images that are not in {folder}; data.skip_unreadable=true leaves them out", names)
    if report.fatal:
        raise UserError(f"{source}: {'; '.join(report.fatal)}")
    if report.harmless:
        logging.getLogger(__name__).warning("%s: %s", source, "; ".join(report.harmless))
    return report


def check_annotations(content: Json, *, folder: Path) -> Report:
    """Check the lists of an annotation file (see ``read_annotations``); ``folder`` holds the images."""
    report = Report()
    images, categories, annotations = content["images"], content["categories"], content["annotations"]
    whole = "(ids and sizes are whole numbers, names are text)"
    report.add(f"images without an id, a file_name, a width and a height {whole}", _find_unsound(images, _is_image))
    report.add(f"categories without an id and a name {whole}", _find_unsound(categories, _is_category))
    report.add(f"annotations without an id and an image_id {whole}", _find_unsound(annotations, _is_annotation))
    for name, entries in (("image", images), ("category", categories), ("annotation", annotations)):
        counts = Counter(entry["id"] for entry in entries if _is_id(entry.get("id")))
        report.add(f"{name} ids that occur twice", (k for k, count in counts.items() if count > 1))
    known = {category["id"] for category in categories if _is_id(category.get("id"))}
    strange = [a for a in annotations if not _is_id(a.get("category_id")) or a["category_id"] not in known]
    report.add(
        "annotations of a category that is not listed",
        (f"annotation {_name_of(a)}: category {a.get('category_id')!r}" for a in strange),
    )
    if report.fatal:  # the other checks need ids and sizes
        return report
    names = Counter(category["name"] for category in categories)
    report.add("names that several categories have", (k for k, count in names.items() if count > 1), harmless=True)
    _check_files(report, images, folder)
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


def _find_unsound(entries: list[Json], is_sound: Callable[[Json], bool]) -> list[str]:
    return [f"number {k} in its list" for k, entry in enumerate(entries, 1) if not is_sound(entry)]


def _is_image(entry: Json) -> bool:
    width, height = entry.get("width"), entry.get("height")
    return (
        _is_id(entry.get("id"))
        and isinstance(entry.get("file_name"), str)
        and is_file_name(entry["file_name"])
        and all(type(side) is int and 0 < side <= MOST_PIXELS for side in (width, height))
    )


def _is_category(entry: Json) -> bool:
    name = entry.get("name")
    return _is_id(entry.get("id")) and isinstance(name, str) and is_text(name) and not any(c < " " for c in name)


def _is_annotation(entry: Json) -> bool:
    return _is_id(entry.get("id")) and _is_id(entry.get("image_id"))


def _is_id(value: object) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63  # True is an int, too


def _name_of(annotation: Json) -> str:
    return str(annotation.get("id", "without id"))


def _check_files(report: Report, images: list[Json], folder: Path) -> None:
    names = Counter(os.path.normpath(image["file_name"]) for image in images)
    report.add("photos that are listed twice", (name for name, count in names.items() if count > 1))
    absent, strays = find_lost((image["file_name"] for image in images), folder)
    report.add(f"photos whose names or links lead out of {folder}", sorted(strays))
    report.missing = {image["id"] for image in images if image["file_name"] in absent}


def _check_boxes(report: Report, annotations: list[Json], images: dict[int, Json]) -> None:
    broken = [a for a in annotations if not _is_box(a["bbox"])]
    report.add("boxes that are not four numbers [x, y, width, height]", (f"annotation {_name_of(a)}" for a in broken))
    if broken or not annotations:
        return
    boxes = np.array([a["bbox"] for a in annotations], dtype=np.float64)
    sizes = np.array([[images[a["image_id"]][side] for side in ("width", "height")] for a in annotations])
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]

    def describe(which: NDArray[np.bool_] | np.bool_) -> list[str]:
        return [f"annotation {_name_of(annotations[k])}: {annotations[k]['bbox']}" for k in np.flatnonzero(which)]

    negative = (boxes[:, 2:] < 0).any(axis=1)
    outside = ((high <= 0) | (low >= sizes)).any(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    inner = np.concatenate([low.clip(0), np.minimum(high, sizes) - low.clip(0)], axis=1)
    flat = (inner[:, 2:] < THINNEST).any(axis=1) & ~outside & ~negative
    sticks_out = ((low < -SLACK) | (high > sizes + SLACK)).any(axis=1) & ~(flat | outside | negative)
    report.flat = {annotations[k]["id"] for k in np.flatnonzero(flat)}
    report.cut = {annotations[k]["id"]: inner[k].tolist() for k in np.flatnonzero(sticks_out)}
    report.add("boxes of a negative width or height; they are [x, y, width, height]", describe(negative))
    report.add("boxes outside of their image", describe(outside))
    report.add("boxes without an area, left out", describe(flat), harmless=True)
    hint = "; are they [x, y, width, height]?" if sticks_out.mean() > 0.1 else ""
    report.add(f"boxes that reach out of their image, cut at its edge{hint}", describe(sticks_out), harmless=True)


def _is_box(box: object) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST  # no nan


def _check_masks(report: Report, annotations: list[Json], images: dict[int, Json]) -> None:
    empty, partial, misfits, broken = [], [], [], []
    for a in annotations:
        mask, given = select_segmentation(a), a.get("segmentation")
        if isinstance(mask, dict):
            image = images[a["image_id"]]
            runs = decode_runs(mask["counts"])
            if mask["size"] != [image["height"], image["width"]]:
                misfits.append(a)
            elif runs is None or sum(runs) != image["height"] * image["width"]:
                broken.append(a)
            elif not any(runs[1::2]):
                empty.append(a)
        elif mask is None and given is not None:
            empty.append(a)
        elif mask is not None and mask != given:
            partial.append(a)
    report.maskless = {a["id"] for a in empty}
    report.add("masks whose run lengths cannot be read", (f"annotation {_name_of(a)}" for a in broken))
    report.add("masks of another size than their image", (f"annotation {_name_of(a)}" for a in misfits))
    if any(a.get("segmentation") for a in annotations):  # else the set has boxes only, and no mask is missing
        names = (f"annotation {_name_of(a)}" for a in empty)
        report.add("empty or degenerate outlines, which give no mask", names, harmless=True)
        names = (f"annotation {_name_of(a)}" for a in partial)
        report.add("masks of which degenerate polygons are left out", names, harmless=True)


def select_segmentation(annotation: Json) -> list[list[float]] | Json | None:
    """Return the part of an annotation's segmentation that gives a mask: its sound polygons, or its RLE.

    Returns None where there is none. A polygon of two points must not reach pycocotools, which takes it for a box.
    """
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return segmentation if {"counts", "size"} <= segmentation.keys() else None
    if not isinstance(segmentation, list):
        return None
    return [polygon for polygon in segmentation if _is_polygon(polygon)] or None


def _is_polygon(points: object) -> bool:
    """Return True for at least three points that are not all in one row or column, nor far from any photo."""
    if not isinstance(points, list) or len(points) < 6 or len(points) % 2:
        return False
    try:
        if not all(map(math.isfinite, points)):
            return False
    except (TypeError, OverflowError):  # not all of them are numbers, or some too large for any arithmetic
        return False
    x, y = points[::2], points[1::2]
    left, right, top, bottom = min(x), max(x), min(y), max(y)
    return right > left and bottom > top and min(left, top) > -FARTHEST and max(right, bottom) < FARTHEST
