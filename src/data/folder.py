"""Your own images in folders: ``data.root``/{train,val,test}/<class>/* (png, jpg, bmp, webp, gif, tif …).

The classes are the folders of ``train``. Without a ``val`` folder, validation is cut from train. Without a
``test`` folder, as in ImageNet's layout, the ``val`` folder is the test set and validation is cut from train.
With ``data.val_fraction=0`` there is no validation at all.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm

from src.data.info import DatasetInfo
from src.data.raw import Raw, Split
from src.errors import UserError

IMAGE_SIZE = 64  # where data.image_size names none [pixels]
SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


@dataclass(frozen=True)
class Listing:
    """The image files found: per split (train, test, perhaps val) and class, in sorted order."""

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, dict[str, list[Path]]]

    def files(self, split: str) -> list[tuple[Path, int]]:
        """Each image of a split with its class number."""
        found = self.splits[split]
        return [(path, k) for k, name in enumerate(self.classes) for path in found.get(name, ())]


def scan(root: str) -> Listing:
    """Find the images under ``root``.

    Raises UserError where the folder or its ``train`` is missing, where a class has no images, where val or
    test have a class that train has not, and where there is nothing to test on.
    """
    top = Path(root).expanduser()
    if not top.is_dir():
        raise UserError(f"data.root={root}: no such folder; it should hold images as train/<class>/<image>")
    if not (top / "train").is_dir():
        raise UserError(f"data.root={root}: has no folder train; images belong into train/<class>/")
    splits = {split: _classes(top / split) for split in ("train", "val", "test") if (top / split).is_dir()}
    classes = tuple(splits["train"])
    if len(classes) < 2:
        raise UserError(f"{top / 'train'}: holds {len(classes)} class folders; at least two are needed")
    for split in splits:
        strange = [name for name in splits[split] if name not in splits["train"]]
        if strange:
            raise UserError(f"{top / split / strange[0]}: no class of {top / 'train'} has this name")
    if "test" not in splits:
        if "val" not in splits:
            raise UserError(f"data.root={root}: has no folder test (nor val) to test on")
        splits["test"] = splits.pop("val")
    return Listing(top, classes, splits)


def _classes(folder: Path) -> dict[str, list[Path]]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    if not names:
        raise UserError(f"{folder}: holds no class folders; images belong into {folder.name}/<class>/")
    found = {name: list(_images(folder / name)) for name in names}
    for name, images in found.items():
        if not images:
            raise UserError(f"{folder / name}: this class has no images ({', '.join(sorted(SUFFIXES))})")
    return found


def _images(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir():
            yield path


def content(root: str) -> str:
    """sha256 of the sorted (relative path, size) of all images; where the folder lies does not matter."""
    listing = scan(root)
    paths = [path for split in listing.splits.values() for images in split.values() for path in images]
    lines = sorted(f"{path.relative_to(listing.root).as_posix()}\t{path.lstat().st_size}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def load(root: str, size: int | None, channels: int | None, skip_unreadable: bool) -> Raw:
    """Decode all images to squares of ``size`` pixels; mean and deviation, still 0 and 1, are to be measured.

    Raises UserError for a wrong folder (see ``scan``), for unreadable files, and for too little memory.
    """
    listing = scan(root)
    size, channels = size or IMAGE_SIZE, channels or 3
    files = [(split, *file) for split in listing.splits for file in listing.files(split)]
    _check_memory(len(files), size, channels)
    images = np.empty((len(files), size, size, channels), dtype=np.uint8)

    def decode_into(k: int) -> str | None:
        try:
            images[k] = decode(files[k][1], size, channels)
        except Exception as error:  # Pillow's decoders raise a dozen types for a damaged file
            reason = (str(error) or type(error).__name__).replace(f" {str(files[k][1])!r}", "")
            return f"{files[k][1].relative_to(listing.root)}: {reason}"
        return None

    with ThreadPool() as pool:  # Pillow decodes outside of the interpreter's lock
        read = pool.imap(decode_into, range(len(files)), chunksize=8)
        problems = list(tqdm(read, "reading images", len(files), disable=None, delay=2, leave=False))
    _report([problem for problem in problems if problem], listing.root, skip_unreadable)

    def split(name: str) -> Split:
        kept = [k for k, file in enumerate(files) if file[0] == name and not problems[k]]
        if not kept:
            raise UserError(f"{listing.root / name}: none of its images can be read")
        return Split(images[kept], np.array([files[k][2] for k in kept], dtype=np.int64))

    info = DatasetInfo("folder", listing.classes, channels, size, (0.0,) * channels, (1.0,) * channels)
    return Raw(info, split("train"), split("test"), split("val") if "val" in listing.splits else None)


def decode(path: Path, size: int, channels: int) -> NDArray[np.uint8]:
    """An image file as uint8 [size, size, channels]: resized by its shorter side, then centre cropped.

    Antialiased bicubic. Turned as EXIF says; alpha is laid on white; 16-bit grey is scaled to 8 bits.
    """
    with Image.open(path) as file:
        image: Image.Image = ImageOps.exif_transpose(file)
        if image.mode == "I" or image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if channels == 1 else "RGB")
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(size, size, channels)


def _report(problems: list[str], root: Path, skip: bool) -> None:
    """Raise UserError with the first ten problems, or only warn where the user wants to go on."""
    if problems and skip:
        logging.getLogger(__name__).warning("%s: %d unreadable images are left out", root, len(problems))
    elif problems:
        head = f"{root}: {len(problems)} unreadable images (data.skip_unreadable=true goes on without them):"
        rest = [f"and {len(problems) - 10} more"] if len(problems) > 10 else []
        raise UserError("\n  ".join([head, *problems[:10], *rest]))


def _check_memory(n: int, size: int, channels: int) -> None:
    need, have = n * size * size * channels, _available_memory()
    if have and need > have / 2:
        raise UserError(
            f"{n} images of {size}x{size} pixels need {need / 2**30:.1f} GiB, more than half of the "
            f"{have / 2**30:.1f} GiB of free memory; lower data.image_size={size}"
        )


def _available_memory() -> int | None:
    """Memory that could be used without swapping [bytes]; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
