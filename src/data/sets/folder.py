"""Load your own images from folders: ``data.root``/{train,val,test}/<class>/*, any pictures (photos/reader.py).

The classes are the folders of ``train``. Without a ``val`` folder, validation is held out from train.
Without a ``test`` folder, as in ImageNet's layout, the ``val`` folder is the test set and validation is held out from
train. With ``data.val_fraction=0`` there is no validation at all.
"""

import os
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm

from ...errors import UserError
from ...machine.memory import measure_free_memory
from ..info import DatasetInfo
from ..photos.listing import scan
from ..photos.reader import describe_error, open_image, report_problems
from ..raw import Raw, Split

IMAGE_SIZE = 64  # where data.image_size names none [pixels]


def load_folder(root: str, size: int | None, channels: int | None, skip_unreadable: bool) -> Raw:
    """Decode all images to squares of ``size`` pixels; their mean and deviation are measured later.

    Raises UserError for a wrong folder (see ``scan``), for unreadable files, and for too little memory.
    """
    listing = scan(root)
    listing.warn_of_left_out()
    size, channels = size or IMAGE_SIZE, channels or 3
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
    report_problems([problem for problem in problems if problem], listing.root, skip_unreadable)

    def split(name: str) -> Split:
        kept = [k for k, file in enumerate(files) if file[0] == name and not problems[k]]
        if not kept:
            raise UserError(f"{listing.root / name}: none of its images can be read")
        paths = np.array([os.fsencode(listing.root / files[k][1]) for k in kept])
        return Split(images[kept], np.array([files[k][2] for k in kept], dtype=np.int64), paths)

    info = DatasetInfo("folder", listing.classes, channels, size, mean=(), std=())
    return Raw(info, split("train"), split("test"), split("val") if "val" in listing.splits else None)


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
