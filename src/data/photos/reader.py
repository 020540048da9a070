"""Read a picture, upright and in the wanted mode, or say in one sentence why it cannot be read.

All rooms read by this file. What Pillow calls the mode of a file decides:

| mode | how it becomes RGB (data.channels=3) or grey (data.channels=1) |
|---|---|
| 1, L, P, RGB, RGBX, CMYK, YCbCr | as Pillow does; of 16-bit colours the high bytes |
| LA, PA, RGBA, and 1, L, P, RGB with a transparent colour | laid on white |
| I;16, I;16B, I;16L, I;16N, and I from 0 to 65535 | 16-bit grey, divided by 257 |
| F, LAB, I beyond 65535, and all others | refused: what is black and white in them is not defined |

EXIF's orientation is applied once (a TIFF's always, by Pillow). Of several frames or pages the first is read. A picture
of more pixels than ``MOST_PIXELS``, or more than ``LONGEST`` times as long as wide, is refused.
"""

import logging
import re
import warnings
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from ...errors import UserError
from .formats import list_formats, list_jpeg_suffixes
from .seal import check_seal, check_sealed_file

try:
    from torchvision.io import ImageReadMode, decode_jpeg
except ImportError:  # deprecated there since 0.29: where it is gone, Pillow reads everything
    decode_jpeg = None

MOST_PIXELS = 178_956_970  # 0.5 GiB as RGB, from where on Pillow suspects a decompression bomb
LONGEST = 100  # times as long as wide: resized to 224 pixels, a longer picture would have millions
PLAIN = {"1", "L", "LA", "P", "PA", "RGB", "RGBX", "RGBA", "CMYK", "YCbCr"}
GREY16 = {"I;16", "I;16B", "I;16L", "I;16N"}
PPM_HEAD = re.compile(rb"P6\n(\d{1,9}) (\d{1,9})\n255\n")

# Pillow warns of oddities (in EXIF, of many pixels) whose pictures it reads
warnings.filterwarnings("ignore", module=r"PIL\.")


class Header(NamedTuple):
    """Hold the size of a picture as it lies in its file [pixels], and whether EXIF turns it."""

    width: int
    height: int
    turned: bool  # by a quarter: upright it is height x width

    @property
    def upright(self) -> tuple[int, int]:
        return (self.height, self.width) if self.turned else (self.width, self.height)


def read_header(path: Path) -> Header:
    """Read the size and the orientation of a picture without its pixels. Raises UserError as ``read_photo`` does."""
    try:
        with Image.open(path, formats=list_formats()) as file:
            check_shape(*file.size)
            check_mode(file.mode)
            turned = file.format != "TIFF" and file.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
            return Header(file.width, file.height, turned)
    except Exception as error:
        raise make_error(path, error) from error


def open_image(path: Path, mode: str, *, upright: bool = True) -> Image.Image:
    """Open an image file in mode "RGB" or "L", as the table above says; where not ``upright``, as it lies in the file.

    Raises whatever Pillow's decoders raise for a damaged file, which is a dozen types; see ``describe_error``.
    """
    check_sealed_file(path)
    with Image.open(path, formats=list_formats()) as file:
        check_shape(*file.size)
        check_mode(file.mode)
        image: Image.Image = ImageOps.exif_transpose(file) if upright else file
        if image.mode in GREY16 | {"I"}:
            image = Image.fromarray(narrow(np.asarray(image)))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert(mode)


def narrow(grey: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return 16-bit grey pixels, or 32-bit ones of this range, as 8-bit ones. Raises ValueError for a larger range."""
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError(f"its values, {grey.min()} to {grey.max()}, exceed 0 to 65535; save it with 8 or 16 bits")
    return (grey // 257).astype(np.uint8)


def check_mode(mode: str) -> None:
    """Raise ValueError for a mode of Pillow whose black and white are not defined."""
    if mode not in PLAIN | GREY16 | {"I"}:
        raise ValueError(f"what is white in Pillow's mode {mode} is not defined; save it with 8 bits a colour")


def check_shape(width: int, height: int) -> None:
    """Raise ValueError for a picture without pixels, with too many, or too long for its width."""
    if width < 1 or height < 1:
        raise ValueError(f"{width}x{height} pixels are no picture")
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width}x{height} are more than {MOST_PIXELS:,} pixels; shrink it")
    if max(width, height) > LONGEST * min(width, height):
        raise ValueError(f"{width}x{height} pixels: more than {LONGEST} times as long as wide; crop it")


def describe_error(error: BaseException, path: Path) -> str:
    """Return in one printable line why an image cannot be read, without repeating its path."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = text.replace(f" {str(path)!r}", "")
    return "".join(sign if sign.isprintable() else " " for sign in text[:200])


def make_error(path: Path, error: Exception) -> UserError:
    """Make the error for an image file that cannot be read."""
    return UserError(
        f"{path}: cannot be read ({describe_error(error, path)}); repair or delete it, or leave such files out: "
        "data.skip_unreadable=true"
    )


def report_problems(problems: list[str], root: Path, skip: bool) -> None:
    """Raise UserError with the first ten problems, or only warn where they are to be skipped."""
    if problems and skip:
        logging.getLogger(__name__).warning("%s: %d unreadable images are left out", root, len(problems))
    elif problems:
        head = f"{root}: {len(problems)} unreadable images (data.skip_unreadable=true leaves them out):"
        rest = [f"and {len(problems) - 10} more"] if len(problems) > 10 else []
        raise UserError("\n  ".join([head, *problems[:10], *rest]))


def read_photo(path: Path, channels: int = 3, *, upright: bool = True) -> Tensor:
    """Read a photo as uint8 [C, H, W], channels last in memory; where not ``upright``, as it lies in its file.

    torchvision decodes a JPEG 1.7 times as fast as Pillow. Raises UserError where the file cannot be read.
    """
    mode = "RGB" if channels == 3 else "L"
    try:
        suffix = path.suffix.lower()
        if suffix in list_jpeg_suffixes() and (photo := _decode_jpeg(path, mode, upright)) is not None:
            return photo
        if suffix == ".ppm" and channels == 3 and (pixels := map_ppm(path)) is not None:
            return torch.from_numpy(pixels).permute(2, 0, 1)
        image = np.array(open_image(path, mode, upright=upright))
    except Exception as error:
        raise make_error(path, error) from error
    return torch.from_numpy(image).view(*image.shape[:2], channels).permute(2, 0, 1)


def _decode_jpeg(path: Path, mode: str, upright: bool) -> Tensor | None:
    """Decode a grey or coloured JPEG of a sound shape; return None for what Pillow shall read, or refuse."""
    content = np.fromfile(path, np.uint8)
    if decode_jpeg is None or (shape := find_jpeg_shape(content.data)) is None or shape[2] not in (1, 3):
        return None
    check_shape(*shape[:2])
    check_seal(content.data)
    kind = ImageReadMode.RGB if mode == "RGB" else ImageReadMode.GRAY
    try:
        return decode_jpeg(torch.from_numpy(content), kind, apply_exif_orientation=upright)
    except RuntimeError:  # damaged
        return None


def find_jpeg_shape(content: memoryview) -> tuple[int, int, int] | None:
    """Find width, height and number of colours in a JPEG's segments; return None where they are not there."""
    at = 2
    while content[:2] == b"\xff\xd8" and at + 10 <= len(content) and content[at] == 0xFF:
        kind = content[at + 1]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):  # a frame; these three are tables
            height, width = (int.from_bytes(content[at + k : at + k + 2], "big") for k in (5, 7))
            return width, height, content[at + 9]
        if kind == 0xFF or kind < 0xC0 or 0xD0 <= kind <= 0xDA:  # filling, or no segment with a length
            return None
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None


def map_ppm(path: Path) -> NDArray[np.uint8] | None:
    """Map the pixels [H, W, 3] of an 8-bit PPM file as `src.pack` writes it; return None for another file.

    A crop of mapped memory reads only its own rows.
    """
    with path.open("rb") as file:
        head = PPM_HEAD.match(file.read(64))
    if head is None:
        return None
    width, height = map(int, head.groups())
    check_shape(width, height)
    if path.stat().st_size < head.end() + height * width * 3:
        return None
    return np.memmap(path, np.uint8, "c", head.end(), (height, width, 3))


def find_readable(root: Path, paths: list[str]) -> NDArray[np.bool_]:
    """Return which of these files can be read [N], after reading each; warn of how many cannot."""

    def problem(path: str) -> str | None:
        try:
            if path.endswith(".ppm"):
                check_sealed_file(root / path)
            read_photo(root / path)
        except (UserError, ValueError) as error:
            return f"{path}: {describe_error(error.__cause__ or error, root / path)}"
        return None

    with ThreadPool() as pool:  # decoding runs outside of the interpreter's lock
        read = pool.imap(problem, paths, chunksize=8)
        problems = list(tqdm(read, "trying all images", len(paths), disable=None, delay=2, leave=False))
    report_problems([found for found in problems if found], root, skip=True)
    return np.array([found is None for found in problems], dtype=bool)
