"""Predict a stream of images: decode ahead in threads, compute in batches, and write each batch before the next.

Memory holds the names of all images and the pixels of a few batches, however many images there are.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from torch import Tensor
from tqdm import tqdm

from ..data.photos.loader import CROPS
from ..data.photos.reader import describe_error
from ..errors import UserError
from ..metrics.coco import make_results
from .network import Predictor
from .records import Record, format_line
from .sources import Images, Item

AHEAD = 2  # batches that are decoded while one is computed
WHOLE = 4  # most photos of a batch that are kept in their own size, of a detector


@dataclass(frozen=True)
class Unreadable:
    """Say why an image cannot be read."""

    reason: str


def predict_images(
    predictor: Predictor, images: Images, items: Sequence[Item], file: TextIO, *, top: int, batch_size: int, known: int
) -> None:
    """Predict these images and write a line for each, batch by batch; `known` of the source are predicted already."""
    with tqdm(
        desc="predicting", total=known + len(items), initial=known, unit=" images", disable=None, delay=1, leave=False
    ) as bar:
        for batch in read_batches(predictor, images, items, limit_batch(predictor, batch_size)):
            file.writelines(map(format_line, predict_batch(predictor, batch, top)))
            file.flush()
            bar.update(len(batch))


def limit_batch(predictor: Predictor, batch_size: int) -> int:
    """Return how many images are read as one batch: fewer where a detector keeps them large, or one has ten crops."""
    if predictor.detects:
        return min(batch_size, WHOLE)
    return max(1, batch_size // CROPS) if getattr(predictor.config.data, "ten_crop", False) else batch_size


def read_batches(
    predictor: Predictor, images: Images, items: Sequence[Item], size: int
) -> Iterator[list[tuple[Item, Tensor | Unreadable]]]:
    """Yield the images in their order, `size` at a time, read ahead by threads: decoding runs outside of the lock."""

    def read(item: Item) -> Tensor | Unreadable:
        try:
            with images.open(item) as path:
                return predictor.read(path)
        except Exception as error:  # Pillow's decoders and zipfile raise a dozen types
            return Unreadable(describe_error(error.__cause__ or error, item.path or Path(item.name)))

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        waiting: deque[tuple[Item, Future[Tensor | Unreadable]]] = deque()
        coming = iter(items)

        def submit(count: int) -> None:
            waiting.extend((item, pool.submit(read, item)) for item in islice(coming, count))

        submit(AHEAD * size)
        try:
            while waiting:
                batch = [waiting.popleft() for _ in range(min(size, len(waiting)))]
                submit(size)
                yield [(item, future.result()) for item, future in batch]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def predict_batch(
    predictor: Predictor, batch: Sequence[tuple[Item, Tensor | Unreadable]], top: int
) -> Iterable[Record]:
    """Return the records of some images, in their order."""
    readable = [image for _, image in batch if isinstance(image, Tensor)]
    if predictor.detects:
        predicted = iter([find_objects(predictor, image) for image in readable])
    else:
        predicted = iter(name_images(predictor, readable, top) if readable else ())
    for item, image in batch:
        head = {"image": item.name, "stamp": item.stamp}
        yield head | ({"error": image.reason} if isinstance(image, Unreadable) else next(predicted))


def name_images(predictor: Predictor, images: Sequence[Tensor], top: int) -> list[Record]:
    """Return the likeliest classes of some images, with their probabilities, and the labels of a multi-label run."""
    logits = predictor.compute_logits(images)
    if not logits.isfinite().all():
        raise UserError(f"{predictor.path}: its network gives numbers that are not finite, so it can predict nothing")
    values, numbers = predictor.compute_probabilities(logits).topk(min(top, len(predictor.classes)), dim=1)
    records: list[Record] = [
        {"classes": [predictor.classes[k] for k in row], "probabilities": [round(p, 6) for p in ranked]}
        for row, ranked in zip(numbers.tolist(), values.tolist(), strict=True)
    ]
    if predictor.has_labels:
        for record, chosen in zip(records, predictor.choose_labels(logits).tolist(), strict=True):
            record["labels"] = [name for name, has in zip(predictor.classes, chosen, strict=True) if has]
    return records


def find_objects(predictor: Predictor, image: Tensor) -> Record:
    """Return the objects of an image, as in COCO's results, by class name."""
    names = predictor.classes
    results = make_results(predictor.find_objects(image), image_id=0, category_ids=range(len(names)))
    objects = []
    for result in results:
        found = {"class": names[result["category_id"]], "score": round(result["score"], 6)}
        found["bbox"] = [round(value, 3) for value in result["bbox"]]
        objects.append(found | {key: result[key] for key in ("segmentation",) if key in result})
    return {"width": image.shape[2], "height": image.shape[1], "objects": objects}
