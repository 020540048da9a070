"""Load photos in COCO's format for multi-label classification: a label for each category that an annotation names.

Photos without any, and crowd regions, count as in src/data/coco/index.py. A photo is squeezed into a square, so that
everything that is to be named stays in sight (the presets "square…" of src/data/transforms.py).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...config.data import Coco
from ...errors import UserError
from ..base import CommonSettings, check_batch_size, check_parts
from ..info import DatasetInfo, Normalization
from ..normalization import IMAGENET_MEAN, IMAGENET_STD, choose_normalization
from ..photos.module import StreamedImages
from ..photos.sizes import choose_sides
from ..raw import PhotoFiles, Split
from ..transforms import PHOTOS, Photos, find_photo_preset
from ..workers import count_workers
from .index import CocoIndex, load_splits
from .objects import list_photo_files

if TYPE_CHECKING:
    from typing_extensions import Unpack


def build_multilabel_data(
    config: Coco, *, seed: int, accumulate: int, devices: int, normalization: Normalization | None
) -> "MultilabelData":
    """Build the data module of task=multilabel: index the photos and split them; nothing is decoded yet.

    Raises UserError for everything that is wrong with the files or these settings.
    """
    check_settings(config)
    check_parts(config.batch_size, devices, accumulate)
    indices = load_splits(config)
    train = indices["train"]
    check_batch_size(config.batch_size, len(train))
    preset = find_photo_preset(config.augment)
    train_sizes, test_size = choose_sides(config, preset)
    info = DatasetInfo(config.name, train.classes, 3, test_size, IMAGENET_MEAN, IMAGENET_STD)
    return MultilabelData(
        info,
        {name: make_split(index) for name, index in indices.items()},
        image_ids={name: np.array([image.id for image in index.images]) for name, index in indices.items()},
        photos={name: list_photo_files(index) for name, index in indices.items()},
        normalization=choose_normalization(config, info, normalization),
        preset=preset,
        train_sizes=train_sizes,
        ramp=config.train_sizes_ramp,
        seed=seed,
        batch_size=config.batch_size,
        eval_batch_size=config.eval_batch_size,
        accumulate=accumulate,
        workers=count_workers(config.workers, devices),
    )


def check_settings(config: Coco) -> None:
    """Raise UserError for settings that do not suit multi-label photos."""
    if not find_photo_preset(config.augment).square:
        known = ", ".join(name for name, preset in PHOTOS.items() if preset.square)
        raise UserError(f"data.augment={config.augment}: may cut off what is to be named; for multilabel: {known}")
    if config.channels == 1:
        raise UserError("data.channels=1: data=coco are photos in colour")


def make_split(index: CocoIndex) -> Split:
    """Make a split of the paths of an index' photos and their targets (0 or 1) float32 [N, C]."""
    return Split(np.array([os.fsencode(image.path) for image in index.images]), index.presence.float().numpy())


class MultilabelData(StreamedImages):
    """Hold streamed photos with their ids in the annotation file: ``image_ids``, by split int64 [N]."""

    def __init__(
        self,
        info: DatasetInfo,
        splits: dict[str, Split],
        *,
        image_ids: dict[str, NDArray[np.int64]],
        photos: dict[str, PhotoFiles],
        preset: Photos,
        train_sizes: Sequence[int],
        ramp: Sequence[float],
        workers: int,
        **common: "Unpack[CommonSettings]",
    ) -> None:
        super().__init__(
            info,
            splits,
            root=Path(),  # the paths are whole
            preset=preset,
            mixup=0.0,
            cutmix=0.0,
            train_sizes=train_sizes,
            ramp=ramp,
            resize=None,  # squeezed, not cropped
            workers=workers,
            **common,
        )
        self.image_ids, self.photos = image_ids, photos

    def list_photos(self) -> dict[str, PhotoFiles]:
        return self.photos
