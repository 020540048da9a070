"""Read a photo in the wanted mode and upright, or say why it cannot be read."""

import logging
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from ...errors import UserError

try:
    from torchvision.io import ImageReadMode, decode_jpeg
except ImportError:  # deprecated there since 0.29: where it is gone, Pillow reads everything
    decode_jpeg = None

JPEG = {".jpg", ".jpeg", ".jpe"}


def open_image(path: Path, mode: str) -> Image.Image:
    """Open an image file in mode "RGB" or "L", turned as EXIF says; alpha is laid on white, 16-bit grey made 8-bit.

    Raises whatever Pillow's decoders raise for a damaged file, which is a dozen types; see ``describe_error``.
    """
    with Image.open(path) as file:
        image: Image.Image = ImageOps.exif_transpose(file)
        if image.mode == "I" or image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert(mode)


def describe_error(error: BaseException, path: Path) -> str:
    """Return why an image cannot be read, without repeating its path."""
    return (str(error) or type(error).__name__).replace(f" {str(path)!r}", "").replace(f": '{path}'", "")


def report_problems(problems: list[str], root: Path, skip: bool) -> None:
    """Raise UserError with the first ten problems, or only warn where they are to be skipped."""
    if problems and skip:
        logging.getLogger(__name__).warning("%s: %d unreadable images are left out", root, len(problems))
    elif problems:
        head = f"{root}: {len(problems)} unreadable images (data.skip_unreadable=true leaves them out):"
        rest = [f"and {len(problems) - 10} more"] if len(problems) > 10 else []
        raise UserError("\n  ".join([head, *problems[:10], *rest]))


def read_photo(path: Path, channels: int = 3) -> Tensor:
    """Read a photo as uint8 [C, H, W], channels last in memory, turned as EXIF says.

    torchvision decodes a JPEG 1.7 times as fast as Pillow. Raises UserError where the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in JPEG and decode_jpeg is not None:
        mode = ImageReadMode.RGB if channels == 3 else ImageReadMode.GRAY
        try:
            return decode_jpeg(torch.from_numpy(np.fromfile(path, np.uint8)), mode, apply_exif_orientation=True)
        except (OSError, RuntimeError):
            pass  # missing, damaged, or no JPEG in spite of its name
    elif suffix == ".ppm" and channels == 3 and (pixels := map_ppm(path)) is not None:
        return torch.from_numpy(pixels).permute(2, 0, 1)
    try:
        image = np.array(open_image(path, "RGB" if channels == 3 else "L"))
    except Exception as error:
        raise UserError(
            f"{path}: cannot be read ({describe_error(error, path)}); repair or delete it, or leave such files out: "
            "data.skip_unreadable=true"
        ) from error
    return torch.from_numpy(image).view(*image.shape[:2], channels).permute(2, 0, 1)


def map_ppm(path: Path) -> NDArray[np.uint8] | None:
    """Map the pixels [H, W, 3] of an 8-bit PPM file as `src.pack` writes it; return None for another file.

    A crop of mapped memory reads only its own rows.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64).split(b"\n", 3)
        kind, sides, largest, _ = head
        width, height = map(int, sides.split())
        if (kind, largest) != (b"P6", b"255"):
            return None
        offset = len(kind) + len(sides) + len(largest) + 3
        return np.memmap(path, np.uint8, "c", offset, (height, width, 3))
    except (OSError, ValueError):
        return None


def find_readable(root: Path, paths: list[str]) -> NDArray[np.bool_]:
    """Return which of these files can be read [N], after reading each; warn of how many cannot."""

    def problem(path: str) -> str | None:
        try:
            read_photo(root / path)
        except UserError as error:
            return f"{path}: {describe_error(error.__cause__ or error, root / path)}"
        return None

    with ThreadPool() as pool:  # decoding runs outside of the interpreter's lock
        read = pool.imap(problem, paths, chunksize=8)
        problems = list(tqdm(read, "trying all images", len(paths), disable=None, delay=2, leave=False))
    report_problems([found for found in problems if found], root, skip=True)
    return np.array([found is None for found in problems], dtype=bool)
