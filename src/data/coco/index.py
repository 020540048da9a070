"""Index a COCO-format data set: list its images and keep the annotations of each.

Categories become contiguous labels in ascending order of their ids, or in the order of data.classes. Images without
objects are kept, also where data.classes leaves them without any. A crowd region (iscrowd=1) is an annotation like
any other here: its category is present in the image, though its objects are not separated.
"""

import difflib
import pickle
from collections import defaultdict
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...config.data import Coco
from ...errors import UserError
from ...files import Json
from ..cut import hold_out, limit_samples
from ..photos.reader import read_photo
from .check import refuse_broken, shorten
from .files import Files, locate_files, read_annotations
from .photos import ImageRecord, drop_unreadable, match_sizes

if TYPE_CHECKING:
    from pycocotools.coco import COCO


class CocoIndex:
    """Index one split of a COCO-format set.

    ``classes[k]`` and ``category_ids[k]`` belong to label k; ``presence`` [N, C] says which labels an image has.
    The annotations lie pickled in one tensor, which the worker processes share; of Python objects, each process would
    have its own copy sooner or later.
    """

    def __init__(
        self,
        *,
        source: Path,
        classes: tuple[str, ...],
        category_ids: tuple[int, ...],
        images: list[ImageRecord],
        annotations: Sequence[list[Json]],
    ) -> None:
        """``annotations`` lists those of each image, as ``annotations`` returns them."""
        self.source, self.classes, self.category_ids, self.images = source, classes, category_ids, images
        self.presence = torch.zeros(len(images), len(classes), dtype=torch.bool)
        self._drawable = torch.zeros(len(images), 2, dtype=torch.int64)  # objects, and those with a mask
        self._boxed = True
        parts = []
        for i, objects in enumerate(annotations):
            self.presence[i, [a["label"] for a in objects]] = True
            self._drawable[i, 0] = len(objects)
            self._drawable[i, 1] = sum(bool(a.get("segmentation")) for a in objects)
            self._boxed &= all("bbox" in a for a in objects)
            parts.append(pickle.dumps(objects, protocol=pickle.HIGHEST_PROTOCOL))
        ends = np.cumsum([len(part) for part in parts])
        self._packed = torch.from_numpy(np.frombuffer(b"".join(parts), dtype=np.uint8).copy())
        self._spans = torch.from_numpy(np.stack([ends - [len(part) for part in parts], ends], axis=1))

    def __len__(self) -> int:
        return len(self.images)

    def annotations(self, i: int) -> list[Json]:
        """Return the annotations of image ``i`` in the file's order, each with its contiguous ``label`` added.

        They are those that are learned from and counted, as ``Report.repair`` of src/data/coco/check.py leaves them.
        """
        first, last = self._spans[i].tolist()
        objects: list[Json] = pickle.loads(self._packed[first:last].numpy().tobytes())
        return objects

    def load(self, i: int) -> Tensor:
        """Load image ``i`` as RGB, uint8 [3, H, W], as its annotations are drawn on it.

        Raises UserError where it cannot be read, or has another size.
        """
        record = self.images[i]
        image = read_photo(record.path, upright=record.upright).contiguous()
        height, width = image.shape[1:]
        if (width, height) != (record.width, record.height):
            raise UserError(
                f"{record.path}: is {width}x{height} pixels, but {self.source} says {record.width}x{record.height}"
            )
        return image

    def take(self, chosen: Sequence[int] | NDArray[np.int64]) -> "CocoIndex":
        """Return the index of these images only, in this order; it shares the annotations' memory."""
        part = object.__new__(type(self))
        rows = torch.as_tensor(chosen, dtype=torch.int64)
        part.__dict__ |= self.__dict__
        part.images = [self.images[i] for i in rows.tolist()]
        part.presence, part._drawable, part._spans = self.presence[rows], self._drawable[rows], self._spans[rows]
        return part

    def require_boxes(self) -> None:
        """Raise UserError where annotations have no boxes, which detection learns from."""
        if not self._boxed:
            raise UserError(
                f"{self.source}: has annotations without a bbox, which detection learns from; use task=multilabel"
            )

    def require_masks(self) -> None:
        """Raise UserError where no annotation has a mask, which instance segmentation learns from."""
        objects, masks = self._drawable.sum(dim=0).tolist()
        if objects and not masks:
            raise UserError(
                f"{self.source}: its {objects:,} annotations have boxes only, no segmentation; use task=detection"
            )

    def to_coco(self) -> "COCO":
        """Return the same as pycocotools.COCO, for its evaluator, with the file's own image and category ids."""
        from pycocotools.coco import COCO

        objects = [a for i in range(len(self)) for a in self.annotations(i)]
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [
                {"id": r.id, "file_name": r.path.name, "width": r.width, "height": r.height} for r in self.images
            ],
            "categories": [{"id": k, "name": name} for k, name in zip(self.category_ids, self.classes, strict=True)],
            "annotations": [{key: value for key, value in a.items() if key != "label"} for a in objects],
        }
        with redirect_stdout(StringIO()):  # it prints its progress
            coco.createIndex()
        return coco


def load_splits(config: Coco) -> dict[str, CocoIndex]:
    """Load the indices of "train", "test" and, unless data.val_fraction is 0, "val", as the configuration chooses them.

    Validation, where the set has none of its own beside a test set, is held out from train, and data.limit_train takes
    a part of the rest; both are stratified by each image's rarest category. Raises UserError for all that is wrong.
    """
    indices = {
        split: read_index(files, wanted=config.classes, skip_unreadable=config.skip_unreadable)
        for split, files in locate_files(config).items()
    }
    train = indices["train"]
    for index in indices.values():
        if (index.category_ids, index.classes) != (train.category_ids, train.classes):
            raise UserError(
                f"{index.source}: its categories are not those of {train.source}{describe_difference(index, train)}"
            )
    for split in ("train", "test"):
        if not indices[split].presence.any():
            raise UserError(
                f"{indices[split].source}: no annotation names one of the {len(train.classes)} categories in an image, "
                f"so there is nothing to {'learn' if split == 'train' else 'test on'}"
            )
    if config.val_fraction == 0:
        indices.pop("val", None)
    elif "val" not in indices:
        kept, held_out = hold_out(find_rarest_labels(train.presence), config.val_fraction, config.split_seed)
        indices |= {"train": train.take(kept), "val": train.take(held_out)}
    if config.limit_train is not None:
        train = indices["train"]
        indices["train"] = train.take(
            limit_samples(find_rarest_labels(train.presence), config.limit_train, config.split_seed, proportional=True)
        )
    for split, index in indices.items():
        if not len(index):
            raise UserError(f"data={config.name}: no {split} images are left; look at data.val_fraction")
        index.images = match_sizes(index.images, index.source)
    return indices


def describe_difference(index: CocoIndex, other: CocoIndex) -> str:
    """Return the first categories (id and name) that only one of two indices has, in brackets."""
    mine, others = (list(zip(i.category_ids, i.classes, strict=True)) for i in (index, other))
    extra, lacking = [c for c in mine if c not in others], [c for c in others if c not in mine]
    parts = [
        f"{word} {', '.join(f'{shorten(name)} (id {k})' for k, name in found[:3])}{', …' if len(found) > 3 else ''}"
        for word, found in (("it lacks", lacking), ("only it has", extra))
        if found
    ]
    return f" ({'; '.join(parts)})"


def find_rarest_labels(presence: Tensor) -> NDArray[np.int64]:
    """Return each image's rarest label int64 [N] (C for an image without any), from presence bool [N, C]."""
    counts = presence.sum(dim=0).expand_as(presence).masked_fill(~presence, len(presence) + 1)
    rarest = torch.where(presence.any(dim=1), counts.argmin(dim=1), presence.shape[1])
    result: NDArray[np.int64] = rarest.numpy()
    return result


def read_index(files: Files, *, wanted: list[str] | None = None, skip_unreadable: bool = False) -> CocoIndex:
    """Read the annotations of one split, check them, and index them.

    ``wanted`` selects categories by name or id. With ``skip_unreadable`` every image is decoded once, and those that
    are missing or damaged are left out. Raises UserError for annotations that cannot be used.
    """
    try:
        content = read_annotations(files.json)
        report = refuse_broken(content, source=files.json, folder=files.images, skip_missing=skip_unreadable)
    except OSError as error:  # a folder that may not be entered
        raise UserError(f"{error.filename}: {error.strerror}") from error
    names = {category["id"]: category["name"] for category in content["categories"]}
    ids = choose_categories(names, wanted) if wanted else sorted(names)
    images = [
        ImageRecord(image["id"], files.images / image["file_name"], image["width"], image["height"])
        for image in content["images"]
        if image["id"] not in report.missing
    ]
    if skip_unreadable:
        images = drop_unreadable(images, left_out=len(report.missing), source=files.json)
    label = {category: k for k, category in enumerate(ids)}
    objects: dict[int, list[Json]] = defaultdict(list)
    for annotation in content["annotations"]:
        if annotation["category_id"] in label and (kept := report.repair(annotation)) is not None:
            objects[kept["image_id"]].append(kept | {"label": label[kept["category_id"]]})
    del content  # COCO's takes gigabytes
    return CocoIndex(
        source=files.json,
        classes=tuple(names[k] for k in ids),
        category_ids=tuple(ids),
        images=images,
        annotations=[objects[image.id] for image in images],
    )


def choose_categories(names: dict[int, str], wanted: list[str]) -> list[int]:
    """Return the ids of the wanted categories, given by name or id, in this order.

    Raises UserError for a category that is unknown or is named twice.
    """
    by_name = {name: k for k, name in names.items()}
    chosen = []
    for word in map(str, wanted):
        if word not in by_name and not (word.isdecimal() and int(word) in names):
            near = difflib.get_close_matches(word, by_name, n=3)
            known = ", ".join(map(shorten, near or list(by_name)[:10]))
            hint = f"did you mean {known}?" if near else f"they begin with {known}"
            raise UserError(f"data.classes: {word!r} is no name or id of the {len(names)} categories; {hint}")
        same = [k for k, name in names.items() if name == word]
        if len(same) > 1:
            raise UserError(f"data.classes: {word!r} names {len(same)} categories; choose by id: {same}")
        chosen.append(by_name[word] if word in by_name else int(word))
    if len(set(chosen)) < len(chosen):
        raise UserError(f"data.classes={','.join(map(str, wanted))}: a category is named twice")
    return chosen
