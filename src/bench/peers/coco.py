"""Evaluate boxes as pycocotools' own demonstration does it."""

import contextlib
import io

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ...files import Json


def evaluate(truth: Json, results: list[Json]) -> list[float]:
    """Return the 12 numbers; like pycocotools, add fields to the arguments."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        gt = COCO()
        gt.dataset = truth
        gt.createIndex()
        judgement = COCOeval(gt, gt.loadRes(results), "bbox")
        judgement.evaluate()
        judgement.accumulate()
        judgement.summarize()
    return [float(number) for number in judgement.stats]
