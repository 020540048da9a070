"""Hold the boxes of other formats on their way to COCO's, and find pictures and their splits. Needs no torch."""

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from PIL import ExifTags, Image

from ...errors import UserError
from ..photos.formats import list_formats, list_suffixes
from ..photos.listing import FOLDERS, MAC

MOST_PIXELS = 178_956_970  # as in photos/reader.py, which needs torch
SPLIT_FOLDERS = {name: split for split, names in FOLDERS.items() for name in names}


@dataclass(frozen=True)
class Box:
    """An object: its class, and its box in pixels; a polygon of x and y where it has one."""

    label: str
    x: float
    y: float
    width: float
    height: float
    crowd: bool = False  # neither learned from nor counted
    polygon: tuple[float, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """A picture, by its path below the set's folder, with its split ("" for none), its size and its objects."""

    name: str
    split: str
    width: int
    height: int
    boxes: list[Box] = field(default_factory=list)


def index_pictures(top: Path) -> dict[str, list[str]]:
    """Return the paths of all pictures below ``top`` by their name without its suffix; hidden ones are left out."""
    found: dict[str, list[str]] = defaultdict(list)
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name[0] != "." and name != MAC)
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            if name[0] != "." and suffix.lower() in list_suffixes():
                found[stem].append(os.path.relpath(os.path.join(folder, name), top))
    return found


def find_split(path: PurePath) -> str:
    """Return the split whose folder a path lies in, "" for none: the first of its folders that is called like one."""
    return next((SPLIT_FOLDERS[part] for part in path.parts[:-1] if part in SPLIT_FOLDERS), "")


def read_size(path: Path) -> tuple[int, int]:
    """Return the size of a picture as people see it, turned by EXIF [pixels]. Raises UserError where it has none."""
    try:
        with Image.open(path, formats=list_formats()) as image:
            width, height = image.size
            if not 0 < width * height <= MOST_PIXELS:
                raise ValueError(f"{width}x{height} pixels")
            turned = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
            return (height, width) if turned else (width, height)
    except Exception as error:
        raise UserError(f"{path}: cannot be read ({str(error)[:100]}); repair or delete it") from None
