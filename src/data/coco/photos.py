"""Find the photos of a COCO-format set, and match their sizes with those that its annotation file states."""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple, TypeVar

from tqdm import tqdm

from ...errors import UserError
from ...files import resolve_inside
from ..photos.reader import read_header, read_photo

T = TypeVar("T")


class ImageRecord(NamedTuple):
    """Hold the facts of an image that its annotation file states."""

    id: int
    path: Path
    width: int
    height: int
    upright: bool = True  # annotated as EXIF turns it; False: as it lies in its file


def find_lost(names: Iterable[str], folder: Path) -> tuple[set[str], set[str]]:
    """Return which of these file names are absent from the folder, and which lead out of it.

    Each folder is listed once, instead of asking for each of a million images.
    """
    listed: dict[str, dict[str, bool]] = {}
    absent, strays = set(), set()
    for name in names:
        head, tail = os.path.split(name)
        try:
            if head not in listed:
                listed[head] = list_files(resolve_inside(folder, head) if head else folder)
            if listed[head].get(tail):
                resolve_inside(folder, name)
        except UserError:
            strays.add(name)
        else:
            if tail not in listed[head]:
                absent.add(name)
    return absent, strays


def list_files(folder: Path) -> dict[str, bool]:
    """Return the names of the files in a folder, and whether each is a link; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_symlink() for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def drop_unreadable(images: list[ImageRecord], *, left_out: int, source: Path) -> list[ImageRecord]:
    """Return the images that can be decoded; warn of the others, counted with the ``left_out`` ones."""

    def readable(image: ImageRecord) -> bool:
        try:
            read_photo(image.path)
        except UserError:
            return False
        return True

    fine = map_images(readable, images, "reading images")
    if left_out := left_out + fine.count(False):
        logging.getLogger(__name__).warning("%s: %d unreadable or missing images are left out", source, left_out)
    return [image for image, is_fine in zip(images, fine, strict=True) if is_fine]


def match_sizes(images: list[ImageRecord], source: Path) -> list[ImageRecord]:
    """Return the images with ``upright`` as their annotations were drawn, which the stated size tells.

    Where both sizes are the same (a square, or upside down), as viewers and most tools for annotations show them.
    Raises UserError for a photo that has neither size, and for one whose head cannot be read.
    """
    headers = map_images(lambda image: read_header(image.path), images, "reading the sizes of images")
    matched, wrong = [], []
    for image, header in zip(images, headers, strict=True):
        stated, stored = (image.width, image.height), (header.width, header.height)
        if stated not in (header.upright, stored):
            turned = f" ({format_size(header.upright)} as EXIF turns it)" if header.turned else ""
            wrong.append(
                f"{image.path}: is {format_size(stored)} pixels{turned}, but {source} says {format_size(stated)}"
            )
        matched.append(image._replace(upright=stated == header.upright))
    if wrong:
        more = f", and {len(wrong) - 1:,} more photos are of other sizes than it says" if len(wrong) > 1 else ""
        raise UserError(f"{wrong[0]}{more}; annotate the photos as they are now")
    return matched


def format_size(size: tuple[int, int]) -> str:
    """Format a size as 640x480."""
    return f"{size[0]}x{size[1]}"


def map_images(work: Callable[[ImageRecord], T], images: Sequence[ImageRecord], title: str) -> list[T]:
    """Apply a function to each image, in threads, with a progress bar where it takes long."""
    with ThreadPool() as pool:  # decoding runs outside of the interpreter's lock
        return list(tqdm(pool.imap(work, images, chunksize=8), title, len(images), disable=None, delay=2, leave=False))
