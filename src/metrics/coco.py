"""Evaluate boxes and masks as COCO does: its 12 numbers, AP by category, and its format of results.

A result is {"image_id", "category_id", "bbox": [x, y, width, height], "score"} and, for masks, "segmentation" as RLE,
with the ids of the annotation file. faster-coco-eval gives pycocotools' numbers in a twelfth of the time.
"""

import gc
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval.core import mask as rle
from numpy.typing import NDArray
from torch import Tensor

from ..data.coco.check import select_segmentation
from ..data.coco.masks import compress_mask, encode_masks
from ..files import Json

SIZES = ("small", "medium", "large")
NUMBERS = ("map", "map_50", "map_75", *(f"map_{size}" for size in SIZES))
NUMBERS += ("mar_1", "mar_10", "mar_100", *(f"mar_{size}" for size in SIZES))


class Scores(NamedTuple):
    """Hold COCO's numbers by name, and AP and AP50 by category id; -1 where there is nothing to find."""

    numbers: dict[str, float]
    by_category: dict[int, tuple[float, float]]


def make_results(output: Mapping[str, Tensor], *, image_id: int, category_ids: Sequence[int]) -> list[Json]:
    """Convert a detector's output for an image to COCO's results; label 0 is the background, 1 the first category."""
    boxes = output["boxes"].double().cpu()
    boxes[:, 2:] -= boxes[:, :2]
    labels, scores = output["labels"].tolist(), output["scores"].tolist()
    found: list[Json] = [
        {"image_id": image_id, "category_id": category_ids[label - 1], "bbox": box, "score": score}
        for box, label, score in zip(boxes.tolist(), labels, scores, strict=True)
    ]
    if "masks" in output:
        for result, mask in zip(found, encode_masks(output["masks"][:, 0] > 0.5), strict=True):
            result["segmentation"] = mask
    return found


def evaluate_results(
    truth: Json,
    results: Sequence[Json],
    *,
    masks: bool = False,
    images: Collection[int] | None = None,
    evaluator: str = "faster_coco_eval",
) -> Scores:
    """Evaluate results against the content of an annotation file, by their boxes or by their ``masks``.

    ``images`` restricts both to the images of these ids.
    """
    load, evaluator_class = load_backend(evaluator)
    numbers_of = {name: number_entries(truth[name]) for name in ("images", "categories")}
    completed = renumber(complete_annotations(truth, masks=masks), numbers_of)
    other = "bbox" if masks else "segmentation"  # a result with both would be sized by its box
    found = [
        {key: value for key, value in result.items() if key != other} | refer(result, numbers_of) for result in results
    ]
    with redirect_stdout(io.StringIO()), pause_garbage_collection():  # pycocotools prints its progress
        gt = load(completed)
        dt = gt.loadRes(found) if found else load(completed | {"annotations": []})
        evaluation = evaluator_class(gt, dt, "segm" if masks else "bbox")
        chosen = numbers_of["images"] if images is None else images
        evaluation.params.imgIds = sorted(numbers_of["images"][image] for image in chosen)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = dict(zip(NUMBERS, map(float, evaluation.stats[:12]), strict=True))
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]  # [IoU, recall, category], all sizes, 100
    by_category = {
        category: (average_measured(precision[..., number - 1]), average_measured(precision[0, :, number - 1]))
        for category, number in numbers_of["categories"].items()
    }
    return Scores(numbers, by_category)


def number_entries(entries: Sequence[Json]) -> dict[int, int]:
    """Return a number from 1 for the id of each entry, in the order of the ids.

    Evaluators must not get a file's own ids: 0 means "no match" to them, and above 2^53 they round.
    """
    return {k: number for number, k in enumerate(sorted(entry["id"] for entry in entries), 1)}


def refer(entry: Json, numbers_of: Mapping[str, Mapping[int, int]]) -> Json:
    """Return the numbers of the image and the category that an annotation or a result refers to."""
    return {
        "image_id": numbers_of["images"][entry["image_id"]],
        "category_id": numbers_of["categories"][entry["category_id"]],
    }


def renumber(truth: Json, numbers_of: Mapping[str, Mapping[int, int]]) -> Json:
    """Return the content of an annotation file with these numbers for its ids, and annotations numbered from 1."""
    renumbered = {name: [e | {"id": numbers_of[name][e["id"]]} for e in truth[name]] for name in numbers_of}
    annotations = [a | {"id": k} | refer(a, numbers_of) for k, a in enumerate(truth["annotations"], 1)]
    return truth | renumbered | {"annotations": annotations}


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Pause Python's search for cycles, which hundreds of thousands of small dicts that stay would start in vain."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def load_backend(evaluator: str) -> tuple[Any, Any]:
    """Return the evaluator's classes (or functions) that load annotations and that evaluate them."""
    if evaluator == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        def load(content: Json) -> COCO:
            coco = COCO()
            coco.dataset = content
            coco.createIndex()
            return coco

        return load, COCOeval
    import faster_coco_eval

    return faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster


def complete_annotations(truth: Json, *, masks: bool) -> Json:
    """Add to the annotations what the evaluators need and a set of one's own may lack: area and iscrowd.

    For masks, objects without one are left out.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    annotations = []
    for annotation in truth["annotations"]:
        mask = select_segmentation(annotation)
        if masks and mask is None:
            continue
        filled = {"iscrowd": 0, **annotation} | ({"segmentation": mask} if masks else {})
        if "area" not in filled:
            box = filled.get("bbox", (0, 0, 0, 0))
            size = sizes[filled["image_id"]]
            filled["area"] = float(rle.area(compress_mask(mask, *size))) if mask is not None else box[2] * box[3]
        annotations.append(filled)
    return {"info": {}, **truth, "annotations": annotations}


def average_measured(precision: NDArray[np.float64]) -> float:
    """Return the mean over what could be measured; -1 where nothing could."""
    measured = precision[precision > -1]
    return float(measured.mean()) if measured.size else -1.0
