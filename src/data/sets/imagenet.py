"""Find ImageNet and sets laid out like it: ``data.root``/{train,val}/<wnid>/*, any number of classes, any size.

The published val photos are the test set and validation is held out from train, unless there is a test folder with
classes. The photos are decoded while training, so they may be more than the memory holds.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...config.data import ImageNet
from ...errors import UserError
from ..adapt import select_classes
from ..base import check_batch_size, check_parts
from ..cut import make_splits
from ..info import DatasetInfo, Normalization
from ..normalization import IMAGENET_MEAN, IMAGENET_STD, choose_normalization
from ..photos.listing import find_photos
from ..photos.module import StreamedImages
from ..photos.reader import find_readable
from ..photos.sizes import choose_sides
from ..raw import Raw, Split
from ..transforms import find_photo_preset
from ..workers import count_workers


def build_imagenet(
    config: ImageNet, *, seed: int, accumulate: int, devices: int, normalization: Normalization | None
) -> StreamedImages:
    """Build the data module: find the photos, choose classes and split; nothing is decoded yet.

    Raises UserError for everything that is wrong with the folder or these settings.
    """
    preset = find_photo_preset(config.augment)
    check_parts(config.batch_size, devices, accumulate)
    try:
        raw = find_splits(config)
    except OSError as error:
        raise UserError(f"data={config.name}: {error}") from error
    if config.classes:
        raw = select_classes(raw, config.classes)
    splits = make_splits(raw, config)
    check_batch_size(config.batch_size, len(splits["train"]))
    train_sizes, test_size = choose_sides(config, preset)
    info = replace(raw.info, image_size=test_size)
    return StreamedImages(
        info,
        splits,
        root=Path(config.root).expanduser(),
        normalization=choose_normalization(config, info, normalization),
        preset=preset,
        mixup=preset.mixup if config.mixup is None else config.mixup,
        cutmix=preset.cutmix if config.cutmix is None else config.cutmix,
        train_sizes=train_sizes,
        ramp=config.train_sizes_ramp,
        resize=None if preset.square else round(test_size * preset.resize),
        ten_crop=config.ten_crop,
        seed=seed,
        batch_size=config.batch_size,
        eval_batch_size=config.eval_batch_size,
        accumulate=accumulate,
        workers=count_workers(config.workers, devices),
    )


def find_splits(config: ImageNet) -> Raw:
    """List the photos by split; leave out those that cannot be read where data.skip_unreadable says so."""
    found = find_photos(config.root)
    found.warn_of_left_out()

    def split(name: str) -> Split:
        files = found.files(name)
        paths = np.array([os.fsencode(path) for path, _ in files])
        labels = np.array([label for _, label in files], dtype=np.int64)
        if not config.skip_unreadable:
            return Split(paths, labels)
        kept = np.flatnonzero(find_readable(found.root, [path for path, _ in files]))
        return Split(paths, labels).take(kept)

    channels = config.channels or 3
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else (_average(IMAGENET_MEAN), _average(IMAGENET_STD))
    info = DatasetInfo(config.name, found.classes, channels, 224, mean, std)
    return Raw(info, split("train"), split("test"), split("val") if "val" in found.splits else None)


def _average(values: tuple[float, ...]) -> tuple[float, ...]:
    return (sum(values) / len(values),)
