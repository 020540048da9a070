"""Find the images that a person means: a file, a folder, a pattern, a zip archive, or what comes from stdin.

Nothing is trusted: an archive is never unpacked as a whole, no name in it becomes a path, and a member or file of more
than ``MOST_BYTES`` is refused before it is read; src/data/photos/reader.py refuses too many pixels.
"""

import contextlib
import glob
import hashlib
import io
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from ..data.photos.formats import list_formats, list_suffixes
from ..errors import UserError
from ..files import explain_os_error, is_file_name

MOST_BYTES = 1 << 28  # of an image file: 256 MiB
MOST_MEMBERS = 1_000_000  # of an archive
MOST_NAMES = 1 << 27  # bytes of a list of paths from stdin
STDIN = "-"
PLAIN_PICTURE = re.compile(rb"P[1-7][\s]")  # formats that may be written as text
CHUNK = 1 << 20


@dataclass(frozen=True)
class Item:
    """An image by the name that a person knows it by, and where it lies: a file, or a member of the archive."""

    name: str
    path: Path | None

    @property
    def stamp(self) -> str:
        """Return what changes with the content of a file, its size and time; "" where nothing can change."""
        try:
            found = os.stat(self.path) if self.path else None
        except OSError:
            return ""
        return f"{found.st_size}-{found.st_mtime_ns}" if found else ""


class Images:
    """Hold the images of one source, in the order of their names; a context manager, which closes the archive."""

    def __init__(self, items: Sequence[Item], *, archive: zipfile.ZipFile | None = None, content: str = "") -> None:
        self.items = list(items)
        self.archive = archive
        self.content = content  # names what came from stdin
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> "Images":
        return self

    def __exit__(self, *error: object) -> None:
        if self.archive is not None:
            self.archive.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def keep(self, content: bytes, name: str) -> Path:
        """Write what came from stdin into a file that lives as long as this object."""
        self._scratch = self._scratch or tempfile.TemporaryDirectory(prefix="images-")
        path = Path(self._scratch.name, name)
        path.write_bytes(content)
        return path

    @contextlib.contextmanager
    def open(self, item: Item) -> Iterator[Path]:
        """Yield the path of an image; a member of an archive is unpacked into a file of its own meanwhile.

        Raises UserError for what is missing or too large, and whatever zipfile raises for a damaged member.
        """
        if item.path is not None:
            check_size(os.stat(item.path).st_size)
            if not item.path.is_file():
                raise UserError("is no file")
            yield item.path
            return
        assert self.archive is not None
        member = self.archive.getinfo(item.name)
        check_size(member.file_size)
        with tempfile.NamedTemporaryFile(suffix=Path(item.name).suffix.lower()) as file:
            with self.archive.open(member) as packed:
                copy_at_most(packed, file, MOST_BYTES)
            file.flush()
            yield Path(file.name)


def check_size(size: int) -> None:
    """Raise UserError for an image file that is too large to be one."""
    if size > MOST_BYTES:
        raise UserError(f"has {size:,} bytes, more than {MOST_BYTES:,}")


def copy_at_most(source: object, target: object, most: int) -> None:
    """Copy a file, whatever size its archive states; raise UserError where it goes on after ``most`` bytes."""
    copied = 0
    while chunk := source.read(CHUNK):  # type: ignore[attr-defined]
        copied += len(chunk)
        check_size(copied if copied > most else 0)
        target.write(chunk)  # type: ignore[attr-defined]


def find_images(source: str, stdin: BinaryIO | None = None) -> Images:
    """Return the images that images=<source> means. Raises UserError where there are none."""
    if source == STDIN:
        return read_stdin(stdin or sys.stdin.buffer)
    if not source or not is_file_name(source):
        raise UserError(f"images={source[:80]!r}: name a file, a folder, a pattern such as 'photos/*.jpg', or -")
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            return Images(list_folder(path))
        if path.is_file():
            packed = not is_picture(path.name) and zipfile.is_zipfile(path)
            return open_archive(path) if packed else Images([Item(source, path)])
        if glob.has_magic(source):
            return Images(match_pattern(source))
    except OSError as error:
        raise UserError(f"images={explain_os_error(error, path)}") from None
    raise UserError(f"images={source}: no such file or folder")


def list_folder(folder: Path) -> list[Item]:
    """List the pictures in a folder at any depth, by their path below it; hidden ones are left out."""
    found = []

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if is_shown(name)]
        below = os.path.relpath(place, folder)
        for name in names:
            if is_shown(name) and is_picture(name):
                found.append(Item(name if below == "." else f"{below}/{name}", Path(place, name)))
    if not found:
        raise UserError(f"images={folder}: holds no pictures (their names end in .jpg, .png and so on)")
    return sorted(found, key=lambda item: item.name.split("/"))


def match_pattern(pattern: str) -> list[Item]:
    """List the pictures that a pattern matches; `**` matches folders at any depth."""
    matched = sorted(glob.glob(os.path.expanduser(pattern), recursive=True))
    found = [Item(name, Path(name)) for name in matched if is_picture(name) and os.path.isfile(name)]
    if not found:
        what = f"the {len(matched)} files that match are no pictures" if matched else "no file matches"
        raise UserError(f"images={pattern}: {what}")
    return found


def open_archive(path: Path) -> Images:
    """List the pictures in a zip archive, by their names in it. Raises UserError where there are none."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise UserError(f"images={path}: is no whole zip archive ({error})") from None
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise UserError(f"images={path}: has {len(members):,} members, more than {MOST_MEMBERS:,}")
    names = {m.filename for m in members if not m.is_dir() and is_picture(m.filename)}
    shown = sorted(name for name in names if all(map(is_shown, name.split("/"))))
    if not shown:
        raise UserError(f"images={path}: holds no pictures (their names end in .jpg, .png and so on)")
    return Images([Item(name, None) for name in shown], archive=archive)


def is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in list_suffixes()


def is_shown(name: str) -> bool:
    return name[:1] != "." and name != "__MACOSX"


def read_stdin(stdin: BinaryIO) -> Images:
    """Return the image that comes from stdin, or those whose paths come from it, one a line."""
    if stdin.isatty():
        raise UserError("images=-: nothing comes from stdin; pipe an image, or paths with one a line")
    content = stdin.read(MOST_BYTES + 1)
    if not content.strip():
        raise UserError("images=-: nothing came from stdin; pipe an image, or paths with one a line")
    if len(content) > MOST_BYTES:
        raise UserError(f"images=-: more than {MOST_BYTES:,} bytes came from stdin")
    digest = hashlib.sha256(content).hexdigest()
    if (paths := read_paths(content)) is not None:
        return Images([Item(name, Path(name).expanduser()) for name in dict.fromkeys(paths)], content="paths")
    images = Images([], content=digest)
    suffix = find_suffix(content)
    images.items.append(Item("stdin", images.keep(content, f"stdin{suffix}")))
    return images


def read_paths(content: bytes) -> list[str] | None:
    """Return the lines of a list of paths; None for the content of an image."""
    if b"\0" in content or PLAIN_PICTURE.match(content) or len(content) > MOST_NAMES:
        return None
    try:
        lines = [line.strip("\r") for line in content.decode().split("\n")]
    except UnicodeDecodeError:
        return None
    return [line for line in lines if line.strip()]


def find_suffix(content: bytes) -> str:
    """Return the suffix of the format that an image has, by which its decoder is chosen; "" where it is unknown."""
    try:
        with Image.open(io.BytesIO(content), formats=list_formats()) as image:
            return {"JPEG": ".jpg"}.get(image.format or "", "")
    except Exception:  # Pillow's decoders raise a dozen types; the reader says what is wrong
        return ""
