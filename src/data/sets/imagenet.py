"""Find ImageNet and sets laid out like it: ``data.root``/{train,val}/<wnid>/*, any number of classes, any size.

The published val photos are the test set and validation is held out from train, unless there is a test folder with
classes. The photos are decoded while training, so they may be more than the memory holds.
"""

from pathlib import Path

from ...config.data import ImageNet
from ...errors import UserError
from ..base import check_parts
from ..info import Normalization
from ..normalization import choose_normalization
from ..photos.listing import find_photos
from ..photos.module import StreamedImages, build_streamed, list_photos
from ..photos.sizes import choose_sides
from ..raw import Raw
from ..transforms import find_photo_preset


def build_imagenet(
    config: ImageNet, *, seed: int, accumulate: int, devices: int, normalization: Normalization | None
) -> StreamedImages:
    """Build the data module: find the photos, choose classes and split; nothing is decoded yet.

    Raises UserError for everything that is wrong with the folder or these settings.
    """
    preset = find_photo_preset(config.augment)
    train_sizes, test_size = choose_sides(config, preset)
    check_parts(config.batch_size, devices, accumulate)
    try:
        raw = find_splits(config)
    except OSError as error:
        raise UserError(f"data={config.name}: {error}") from error
    return build_streamed(
        config,
        raw,
        root=Path(config.root).expanduser(),
        preset=preset,
        normalization=choose_normalization(config, raw.info, normalization),
        train_sizes=train_sizes,
        test_size=test_size,
        ramp=config.train_sizes_ramp,
        mixup=config.mixup,
        cutmix=config.cutmix,
        ten_crop=config.ten_crop,
        workers=config.workers,
        seed=seed,
        accumulate=accumulate,
        devices=devices,
    )


def find_splits(config: ImageNet) -> Raw:
    """List the photos by split; leave out those that cannot be read where data.skip_unreadable says so."""
    found = find_photos(config.root)
    return list_photos(found, config.channels or 3, name=config.name, skip_unreadable=config.skip_unreadable)
