"""Check the annotations of a COCO-format set before training starts."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files import Json

SHOWN = 3  # examples of each kind
SLACK = 1.0  # how far a box may reach out of its image without a warning, for annotators round [pixels]


@dataclass
class Report:
    """Collect problems: each line is a kind of problem with its number of cases and the first of them."""

    fatal: list[str] = field(default_factory=list)
    harmless: list[str] = field(default_factory=list)
    missing: set[int] = field(default_factory=set)  # ids of images that are not there

    def add(self, what: str, cases: Iterable[object], *, harmless: bool = False) -> None:
        """Add a kind of problem, unless it has no cases."""
        found = list(cases)
        if found:
            examples = ", ".join(map(str, found[:SHOWN])) + (", …" if len(found) > SHOWN else "")
            (self.harmless if harmless else self.fatal).append(f"{len(found):,} {what} ({examples})")


def refuse_broken(content: Json, *, source: Path, folder: Path, skip_missing: bool) -> set[int]:
    """Refuse annotations that cannot be trained on, and warn of harmless oddities; return the ids of missing images.

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
    return report.missing


def check_annotations(content: Json, *, folder: Path) -> Report:
    """Check the lists of an annotation file (see ``read_annotations``); ``folder`` holds the images."""
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
    if report.fatal:  # the other checks need ids and sizes
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


def _find_unsound(entries: list[Json], is_sound: Callable[[Json], bool]) -> list[str]:
    return [f"number {k} in its list" for k, entry in enumerate(entries, 1) if not is_sound(entry)]


def _is_image(entry: Json) -> bool:
    sizes = entry.get("width"), entry.get("height")
    return (
        isinstance(entry.get("id"), int)
        and isinstance(entry.get("file_name"), str)
        and all(isinstance(size, int) and size > 0 for size in sizes)
    )


def _is_category(entry: Json) -> bool:
    return isinstance(entry.get("id"), int) and isinstance(entry.get("name"), str)


def _is_annotation(entry: Json) -> bool:
    return isinstance(entry.get("id"), int) and isinstance(entry.get("image_id"), int)


def _name_of(annotation: Json) -> str:
    return str(annotation.get("id", "without id"))


def _find_absent(images: list[Json], folder: Path) -> list[Json]:
    """Return the images that are not in the folder, after listing it once instead of asking for each image."""
    there = {path.name for path in folder.iterdir()}

    def is_there(name: str) -> bool:
        return name in there or ("/" in name and (folder / name).is_file())

    return [image for image in images if not is_there(image["file_name"])]


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
    flat = (boxes[:, 2:] <= 0).any(axis=1)
    outside = ((high <= 0) | (low >= sizes)).any(axis=1) & ~flat
    sticks_out = ((low < -SLACK) | (high > sizes + SLACK)).any(axis=1) & ~flat & ~outside
    report.add("boxes of a negative width or height; they are [x, y, width, height]", describe(negative))
    report.add("boxes outside of their image", describe(outside))
    report.add("boxes without an area, left out of detection", describe(flat & ~negative), harmless=True)
    hint = "; are they [x, y, width, height]?" if sticks_out.mean() > 0.1 else ""
    report.add(f"boxes that reach out of their image, cut at its edge{hint}", describe(sticks_out), harmless=True)


def _is_box(box: object) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_masks(report: Report, annotations: list[Json], images: dict[int, Json]) -> None:
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
    if any(a.get("segmentation") for a in annotations):  # else the set has boxes only, and no mask is missing
        names = (f"annotation {_name_of(a)}" for a in empty)
        report.add("empty or degenerate polygons, which give no mask", names, harmless=True)


def _is_rle(mask: Json) -> bool:
    """Return True where run lengths, packed or not, fill a mask of their size."""
    from faster_coco_eval.core import mask as rle

    counts, (height, width) = mask["counts"], mask["size"]
    try:
        rle.area(rle.frPyObjects(mask, height, width) if isinstance(counts, list) else mask)
    except Exception:  # its decoder raises several types
        return False
    return not isinstance(counts, list) or sum(counts) == height * width


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
    """Return True for at least three points that are not all in one row or column."""
    if not isinstance(points, list) or len(points) < 6 or len(points) % 2:
        return False
    try:
        if not all(map(math.isfinite, points)):
            return False
    except TypeError:  # not all of them are numbers
        return False
    x, y = points[::2], points[1::2]
    return max(x) > min(x) and max(y) > min(y)
