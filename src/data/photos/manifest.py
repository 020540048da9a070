"""Record the photos that a run uses, and find what has changed in them since; needs no torch.

A photo's name begins with the folder that it lies in (train, val or test), wherever that folder is now. Its content
is known by a digest. To see that a photo is unchanged, its size and time are enough; it is read again only where they
differ, for a copied folder has other times.
"""

import csv
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

from ...errors import UserError
from ...files import write_atomic

MANIFEST = "data.csv.gz"  # in a run directory
COMPRESSED = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF")  # how JPEG, PNG, GIF and WebP files begin
ENDS = 4096  # bytes that are read at the beginning and at the end of these


class Photo(NamedTuple):
    """Describe a photo; where no split has it, the split, the digest and both numbers are empty."""

    split: str
    name: str  # train/cat/1.jpg
    size: int = 0  # [bytes]
    time: int = 0  # of its last change [ns]
    digest: str = ""


class Changes(NamedTuple):
    """Name the photos that differ from those of a run."""

    added: list[str]
    removed: list[str]
    changed: list[str]

    def describe(self) -> str:
        """Return "photos: 3 added, 1 removed, the first train/cat/1.jpg"; "" where nothing differs."""
        counts = {"added": len(self.added), "removed": len(self.removed), "changed": len(self.changed)}
        told = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        return told and f"photos: {told}, the first {[*self.added, *self.removed, *self.changed][0]}"


def digest_file(path: str) -> str:
    """Return 16 hexadecimal digits of a file's content.

    Of a compressed picture only the size and both ends are read: whatever changes in it moves the bits behind. Any
    other file is read as a whole, for the middle of raw pixels may change alone.
    """
    with open(path, "rb", buffering=0) as file:
        size, head = os.fstat(file.fileno()).st_size, file.read(ENDS)
        digest = hashlib.sha256(b"%d\0" % size + head)
        if head.startswith(COMPRESSED):
            file.seek(max(ENDS, size - ENDS))
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()[:16]


def find_file(name: str, bases: Mapping[str, Path]) -> str:
    """Return the path of a photo by its name; ``bases`` are the folders that names begin with."""
    base, _, rest = name.partition("/")
    return os.path.join(bases[base], rest) if base in bases else name


def name_file(path: str, bases: Mapping[str, Path]) -> str:
    """Return the name of a photo by its path: the path itself where it lies in none of the folders."""
    for base, folder in bases.items():
        inside = os.path.join(folder, "")
        if path.startswith(inside):
            return f"{base}/{path[len(inside) :]}"
    return path


def write_manifest(path: Path, photos: Iterable[Photo]) -> None:
    """Write a run's photos, atomically."""
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb", mtime=0) as packed:
        text = io.TextIOWrapper(packed, encoding="utf-8", errors="surrogateescape", newline="")
        csv.writer(text).writerows([Photo._fields, *photos])
        text.flush()
        text.detach()
    write_atomic(path, content.getbuffer())


def read_manifest(path: Path) -> list[Photo]:
    """Read a run's photos; return [] where there is no such file. Raises UserError for a damaged one."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file)
            next(rows)
            return [Photo(split, name, int(size), int(time), digest) for split, name, size, time, digest in rows]
    except FileNotFoundError:
        return []
    except (OSError, EOFError, ValueError, StopIteration, csv.Error, zlib.error) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); delete it, and the run's data are no longer checked"
        ) from None


def find_others(before: Sequence[Photo], now: Iterable[Photo], split: str) -> tuple[list[str], list[str]]:
    """Return the photos of ``split`` ``now`` that a run's own split has not, and those among them that it learned from.

    Both are empty where there is no record of ``before``.
    """
    own, learned = ({photo.digest for photo in before if photo.split == name} for name in (split, "train"))
    others = [photo for photo in now if learned and photo.digest not in own]
    return [photo.name for photo in others], [photo.name for photo in others if photo.digest in learned]


def find_changes(photos: Sequence[Photo], bases: Mapping[str, Path], listed: Iterable[str] | None = None) -> Changes:
    """Return what differs from a run's ``photos``, read anew where size or time do.

    ``listed`` are the names of all photos that there are now, where their number may have changed.
    """

    def compare(photo: Photo) -> str:
        path = find_file(photo.name, bases)
        try:
            now = os.stat(path)
            same = now.st_size == photo.size and (now.st_mtime_ns == photo.time or digest_file(path) == photo.digest)
        except OSError:
            return "removed"
        return "" if same else "changed"

    used = [photo for photo in photos if photo.split]
    with ThreadPool() as pool:
        found = pool.map(compare, used, chunksize=256)
    removed, changed = (
        [photo.name for photo, state in zip(used, found, strict=True) if state == what]
        for what in ("removed", "changed")
    )
    if listed is None:
        return Changes([], removed, changed)
    known, there = {photo.name for photo in photos}, set(listed)
    gone = [photo.name for photo in photos if not photo.split and photo.name not in there]
    return Changes(sorted(there - known), sorted({*removed, *gone}), changed)
