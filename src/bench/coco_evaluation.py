"""Compare g: COCO's twelve numbers by faster-coco-eval against pycocotools, on made boxes."""

import time

import numpy as np

from ..metrics import coco
from .peers import coco as reference
from .peers.coco import Json
from .rounds import Comparison
from .settings import Settings

OBJECTS, FOUND, CATEGORIES = 7, 30, 80  # of each image, as in COCO


def compare_coco_evaluation(settings: Settings) -> list[Comparison]:
    """g. Compare the time of COCO's twelve numbers of the same boxes."""
    truth, results = make_detections(max(settings.images // 8, 50))
    last: dict[str, list[float]] = {}

    def time_ours() -> float:
        began = time.perf_counter()
        last["ours"] = list(coco.evaluate_results(truth, results).numbers.values())
        return time.perf_counter() - began

    def time_theirs() -> float:
        own = truth | {"annotations": [dict(a) for a in truth["annotations"]]}, [dict(r) for r in results]
        began = time.perf_counter()
        last["theirs"] = reference.evaluate(*own)
        return time.perf_counter() - began

    def time_without_collection() -> float:  # as ours runs
        with coco.pause_garbage_collection():
            return time_theirs()

    time_ours()
    time_theirs()
    difference = max(abs(a - b) for a, b in zip(last["ours"], last["theirs"], strict=True))
    return [
        Comparison(
            f"g. COCO's evaluation of {len(results):,} boxes on {len(truth['images']):,} made images",
            "s",
            {
                "faster-coco-eval": time_ours,
                "pycocotools": time_theirs,
                "pycocotools, no garbage collection": time_without_collection,
            },
            {"pycocotools": 11.0, "pycocotools, no garbage collection": None},
            lower_is_better=True,
            notes=[f"mAP {last['ours'][0]:.3f}; the largest difference of the 12 numbers: {difference:.1e}"],
        )
    ]


def make_detections(images: int) -> tuple[Json, list[Json]]:
    """Make an annotation file's content, and what a middling detector might find: true boxes, moved, and false ones."""
    random = np.random.RandomState(0)
    truth: Json = {
        "images": [{"id": i, "width": 640, "height": 480, "file_name": f"{i}.jpg"} for i in range(1, images + 1)],
        "categories": [{"id": k, "name": str(k)} for k in range(1, CATEGORIES + 1)],
        "annotations": [],
    }
    results = []
    for image in truth["images"]:
        for number in range(FOUND):
            x, y = random.uniform(0, 500), random.uniform(0, 380)
            width, height = np.exp(random.uniform(np.log(8), np.log(300), size=2))
            box, category = np.array([x, y, width, height]), int(random.randint(1, CATEGORIES + 1))
            if number < OBJECTS:
                annotation = {"id": len(truth["annotations"]) + 1, "image_id": image["id"], "category_id": category}
                annotation |= {
                    "bbox": box.tolist(),
                    "area": float(width * height),
                    "iscrowd": int(random.rand() < 0.01),
                }
                truth["annotations"].append(annotation)
                box[:2] += random.normal(0, 0.08, 2) * box[2:]
                box[2:] *= np.exp(random.normal(0, 0.08, 2))
            score = float(random.beta(4, 2) if number < OBJECTS else random.beta(1, 4))
            results.append({"image_id": image["id"], "category_id": category, "bbox": box.tolist(), "score": score})
    return truth, results
