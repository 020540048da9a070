"""COCO's evaluation of boxes as pycocotools' own demonstration does it."""

import contextlib
import io
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def evaluate(truth: dict[str, Any], results: list[dict[str, Any]]) -> list[float]:
    """The 12 numbers. Adds fields to what it is given, as pycocotools does."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        gt = COCO()
        gt.dataset = truth
        gt.createIndex()
        judgement = COCOeval(gt, gt.loadRes(results), "bbox")
        judgement.evaluate()
        judgement.accumulate()
        judgement.summarize()
    return [float(number) for number in judgement.stats]
