"""A COCO-format set of a few pixels, made by the tests: two splits, three categories with gaps between their ids."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from src.config.data import Coco

CATEGORIES = [{"id": 7, "name": "disc"}, {"id": 2, "name": "square"}, {"id": 11, "name": "night sky"}]
SIDE = 24


def make(root: Path, *, train: int = 12, val: int = 6) -> Path:
    """COCO's own layout under ``root``: annotations and photos. Returns ``root``."""
    for split, count, first in (("train", train, 100), ("val", val, 500)):
        write(root / "annotations" / f"instances_{split}2017.json", root / f"{split}2017", count, first)
    return root


def config(root: Path, **changes: Any) -> Coco:
    return Coco(**{"root": str(root), "val_fraction": 0.25} | changes)


def train_json(root: Path) -> Path:
    return root / "annotations" / "instances_train2017.json"


def write(path: Path, folder: Path, count: int, first: int = 1) -> dict[str, Any]:
    """An annotation file and its images: each fourth one is empty, each third one has a disc that is a crowd."""
    folder.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    random = np.random.RandomState(first)
    for k in range(count):
        width, height = SIDE + 8 * (k % 2), SIDE
        pixels = random.randint(60, size=(height, width, 3), dtype=np.uint8)
        image = {"id": first + k, "file_name": f"{first + k:04d}.jpg", "width": width, "height": height}
        images.append(image)
        if k % 4:
            x, y = 2 + k % 5, 3 + k % 7
            pixels[y : y + 10, x : x + 10, 0] = 250
            annotations.append(polygon(1000 + len(annotations), image, 2, [x, y, 10, 10]))
        if k % 4 and k % 3 == 0:
            pixels[:4, :6, 1] = 250
            counts = [0, 4, height - 4, 4, height * width - height - 4]  # two columns of four pixels
            annotations.append(
                {
                    "id": 1000 + len(annotations),
                    "image_id": image["id"],
                    "category_id": 7,
                    "bbox": [0, 0, 2, 4],
                    "area": 8,
                    "iscrowd": 1,
                    "segmentation": {"counts": counts, "size": [height, width]},
                }
            )
        Image.fromarray(pixels).save(folder / image["file_name"], quality=95)
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    path.write_text(json.dumps(content))
    return content


def polygon(number: int, image: dict[str, Any], category: int, box: list[float]) -> dict[str, Any]:
    """An annotation whose mask is its box."""
    x, y, w, h = box
    outline = [x, y, x + w, y, x + w, y + h, x, y + h]
    place = {"id": number, "image_id": image["id"], "category_id": category, "iscrowd": 0}
    return place | {"bbox": box, "area": w * h, "segmentation": [outline]}


def edit(path: Path, change: Any) -> None:
    """Let ``change`` alter the content of an annotation file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
