"""Photos in COCO's format for multi-label classification: a label for each category that an annotation names.

Photos without any, and crowd regions, count as in src/data/coco/index.py. A photo is squeezed into a square, so that
what is to be named stays in sight (the presets "square…" of src/data/transforms.py).
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...config.data import Coco
from ...errors import UserError
from ..base import check_parts
from ..info import DatasetInfo
from ..normalization import IMAGENET_MEAN, IMAGENET_STD, choose_normalization
from ..photos.module import StreamedImages
from ..photos.sizes import choose_sides
from ..raw import Split
from ..transforms import PHOTOS, find_photo_preset
from ..workers import count_workers
from .index import CocoIndex, load_splits


def build_multilabel_data(
    config: Coco, *, seed: int, accumulate: int, devices: int, normalization: dict[str, Any] | None
) -> "MultilabelData":
    """``src.data.build.build_data`` for task=multilabel: the index and its splits; nothing is decoded yet.

    Raises UserError for everything that is wrong with the files or these settings.
    """
    check_settings(config)
    check_parts(config.batch_size, devices, accumulate)
    indices = load_splits(config)
    train = indices["train"]
    if config.batch_size > len(train):
        raise UserError(
            f"data.batch_size={config.batch_size} is larger than the {len(train)} training images; "
            "lower it, for no batch would be full"
        )
    preset = find_photo_preset(config.augment)
    train_sizes, test_size = choose_sides(config, preset)
    info = DatasetInfo(config.name, train.classes, 3, test_size, IMAGENET_MEAN, IMAGENET_STD)
    return MultilabelData(
        info,
        {name: make_split(index) for name, index in indices.items()},
        image_ids={name: np.array([image.id for image in index.images]) for name, index in indices.items()},
        root=Path(),  # the paths are whole
        normalization=choose_normalization(config, info, normalization),
        preset=preset,
        mixup=0.0,
        cutmix=0.0,
        train_sizes=train_sizes,
        ramp=config.train_sizes_ramp,
        resize=None,
        seed=seed,
        batch_size=config.batch_size,
        eval_batch_size=config.eval_batch_size,
        accumulate=accumulate,
        workers=count_workers(config.workers, devices),
    )


def check_settings(config: Coco) -> None:
    """Raise UserError for settings that multi-label photos have not."""
    if not find_photo_preset(config.augment).square:
        known = ", ".join(name for name, preset in PHOTOS.items() if preset.square)
        raise UserError(f"data.augment={config.augment}: may cut off what is to be named; for multilabel: {known}")
    if config.channels == 1:
        raise UserError("data.channels=1: data=coco are photos in colour")


def make_split(index: CocoIndex) -> Split:
    """The paths of an index' photos, and their targets (0 or 1) float32 [N, C]."""
    return Split(np.array([os.fsencode(image.path) for image in index.images]), index.presence.float().numpy())


class MultilabelData(StreamedImages):
    """Streamed photos that have an id in their annotation file: ``image_ids``, by split int64 [N]."""

    def __init__(self, *arguments: Any, image_ids: dict[str, NDArray[np.int64]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.image_ids = image_ids
