"""Load your own pictures (src/data/photos/layout.py says from which layouts): into memory, or decoded while training.

Where the set has no validation of its own, it is held out from train; with ``data.val_fraction=0`` there is none.
"""

import os
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm

from ...config.data import Folder
from ...errors import UserError
from ...machine.memory import measure_free_memory
from ..info import DatasetInfo, Normalization
from ..normalization import choose_normalization
from ..photos.layout import list_pictures
from ..photos.listing import Listing
from ..photos.module import StreamedImages, build_streamed, list_photos
from ..photos.reader import describe_error, open_image, report_problems
from ..raw import Raw, Split
from ..transforms import find_photo_preset

IMAGE_SIZE = 64  # where data.image_size names none [pixels]


def load_folder(config: Folder) -> Raw:
    """Decode all images to squares of ``data.image_size`` pixels; their mean and deviation are measured later.

    Raises UserError for a wrong folder (see ``list_pictures``), for unreadable files, and for too little memory.
    """
    listing = list_pictures(config)
    listing.warn_of_left_out()
    size, channels = config.image_size or IMAGE_SIZE, config.channels or 3
    files = [(split, *file) for split in listing.splits for file in listing.files(split)]
    _check_memory(len(files), size, channels)
    images = np.empty((len(files), size, size, channels), dtype=np.uint8)

    def decode_into(k: int) -> str | None:
        path = listing.root / files[k][1]
        try:
            images[k] = decode_image(path, size, channels)
        except Exception as error:
            return f"{files[k][1]}: {describe_error(error, path)}"
        return None

    with ThreadPool() as pool:  # Pillow decodes outside of the interpreter's lock
        read = pool.imap(decode_into, range(len(files)), chunksize=8)
        problems = list(tqdm(read, "reading images", len(files), disable=None, delay=2, leave=False))
    report_problems([problem for problem in problems if problem], listing.root, config.skip_unreadable)

    def split(name: str) -> Split:
        kept = [k for k, file in enumerate(files) if file[0] == name and not problems[k]]
        if not kept:
            raise UserError(f"{listing.root / name}: none of its images can be read")
        paths = np.array([os.fsencode(listing.root / files[k][1]) for k in kept])
        labels = np.array([files[k][2] for k in kept], dtype=np.int64)
        return Split(images[kept], labels, paths, find_groups(listing, [files[k][1] for k in kept]))

    info = DatasetInfo("folder", listing.classes, channels, size, mean=(), std=())
    return Raw(info, split("train"), split("test"), split("val") if "val" in listing.splits else None)


def find_groups(listing: Listing, paths: Sequence[str]) -> NDArray[np.str_] | None:
    """Return the groups of these pictures, or None where data.group asks for none."""
    return np.array([listing.groups[path] for path in paths]) if listing.groups else None


def build_streamed_folder(
    config: Folder, *, seed: int, accumulate: int, devices: int, normalization: Normalization | None
) -> StreamedImages:
    """Build the data module of pictures that are decoded while training.

    Raises UserError for everything that is wrong with the folder or these settings.
    """
    preset = find_photo_preset(config.augment)
    size = config.image_size or preset.test_size
    listing = list_pictures(config)
    raw = list_photos(listing, config.channels or 3, name=config.name, skip_unreadable=config.skip_unreadable)
    return build_streamed(
        config,
        raw,
        root=listing.root,
        preset=preset,
        normalization=choose_normalization(config, raw.info, normalization),
        train_sizes=[size],
        test_size=size,
        workers=config.workers,
        seed=seed,
        accumulate=accumulate,
        devices=devices,
        balanced=config.balance == "sampler",
    )


def decode_image(path: Path, size: int, channels: int) -> NDArray[np.uint8]:
    """Decode an image file as uint8 [size, size, channels]: resize by its shorter side, then crop the centre.

    Antialiased bicubic; see photos/reader.py for turned, transparent and 16-bit images.
    """
    image = ImageOps.fit(open_image(path, "L" if channels == 1 else "RGB"), (size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(size, size, channels)


def _check_memory(n: int, size: int, channels: int) -> None:
    need, have = n * size * size * channels, measure_free_memory("cpu")
    if need > have / 2:
        raise UserError(
            f"{n} images of {size}x{size} pixels need {need / 2**30:.1f} GiB, more than half of the "
            f"{have / 2**30:.1f} GiB of free memory; lower data.image_size={size}"
        )
