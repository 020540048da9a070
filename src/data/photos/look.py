"""Look once at every photo that a run will read, before its first step: its header, and how the file ends."""

import os
from collections.abc import Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from ...errors import UserError
from ..raw import PhotoFiles
from .manifest import Photo, digest_file, name_file
from .reader import check_mode, check_shape, list_formats
from .seal import check_sealed_file

TAIL = 64  # bytes at the end of a file that hold its end marker
THIN = 50  # a photo so many times as long as wide may be too thin to crop
MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND", "GIF": b"\x3b"}  # what a complete file ends with


def look_at_photos(
    splits: Mapping[str, PhotoFiles], bases: Mapping[str, Path], known: Sequence[Photo] = ()
) -> list[Photo]:
    """Return a record of each photo, after its header was read; one whose header is doubtful is decoded.

    A photo that is among the ``known`` ones, with its size and time, is not opened again. Raises UserError with the
    first ten that cannot be read.
    """
    before = {photo.name: photo for photo in known}
    problems: list[str] = []

    def look(place: tuple[str, int]) -> Photo:
        split, k = place
        files = splits[split]
        path = files.paths[k]
        name = name_file(path, bases)
        photo = before.get(name)
        try:
            now = os.stat(path)
            if photo is not None and photo[2:4] == (now.st_size, now.st_mtime_ns) and photo.digest:
                return photo._replace(split=split)
            if path.endswith(".ppm"):
                check_sealed_file(Path(path))
            if files.read is not None and is_doubtful(path, files.sizes[k] if files.sizes is not None else None):
                files.read(k)
            return Photo(split, name, now.st_size, now.st_mtime_ns, digest_file(path))
        except ValueError as error:
            problems.append(f"{path}: {error}")
        except UserError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
        return Photo(split, name)

    places = [(split, k) for split, files in splits.items() for k in range(len(files.paths))]
    with ThreadPool() as pool:
        found = pool.imap(look, places, chunksize=64)
        photos = list(tqdm(found, "looking at all photos", len(places), disable=None, delay=2, leave=False))
    if problems:
        more = [f"and {len(problems) - 10:,} more"] if len(problems) > 10 else []
        head = [f"{len(problems):,} photos cannot be used:"] if len(problems) > 1 else []
        raise UserError("\n  ".join([*head, *sorted(problems)[:10], *more]))
    return photos


def is_doubtful(path: str, size: tuple[int, int] | None) -> bool:
    """Return True where only decoding a photo tells that it is whole, and of the ``size`` that it should have."""
    try:
        with open(path, "rb") as file, Image.open(file, formats=list_formats()) as image:
            check_shape(*image.size)
            check_mode(image.mode)
            file.seek(-min(TAIL, os.fstat(file.fileno()).st_size), os.SEEK_END)
            marker = MARKERS.get(str(image.format))
            odd = (size is not None and image.size != size) or max(image.size) > THIN * min(image.size)
            return marker is None or marker not in file.read() or odd
    except Exception:  # Pillow raises a dozen types for a damaged file
        return True
