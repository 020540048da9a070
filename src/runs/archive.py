"""Archives of tensors: sealed with a checksum, written completely or not at all, and read without running code.

The seal is the comment of the zip archive that torch.save writes, so that any torch reads the file, and so that content
and checksum reach their name in one rename. A file without a seal is of an earlier version or of another program.
"""

import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import write_atomic

if TYPE_CHECKING:
    from torch import Tensor

SEAL = re.compile(rb"sha256:[0-9a-f]{64}")
SEAL_LENGTH = 71
BEGIN, END = b"PK\3\4", b"PK\5\6"  # of a zip archive, and of its last record of 22 bytes


class DamagedError(UserError):
    """A file that is not as it was written."""


def write_archive(path: Path, content: object) -> None:
    """Write tensors and plain values, sealed, completely or not at all."""
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(-2, io.SEEK_END)
    buffer.write(struct.pack("<H", SEAL_LENGTH))  # of the comment that follows
    with buffer.getbuffer() as written:
        digest = hashlib.sha256(written).hexdigest()
    buffer.write(b"sha256:" + digest.encode())
    with buffer.getbuffer() as written:
        write_atomic(path, written)


def read_archive(path: Path, *, safe: Sequence[type] = ()) -> object:
    """Read a file that torch.save has written, and no code from it but that of the `safe` types.

    Raises DamagedError where its seal is broken, and where it would unfold to more than the file holds. What torch
    cannot read raises as torch chooses, from EOFError to RuntimeError.
    """
    import torch

    check_seal(path)
    with torch.serialization.safe_globals([*safe]):
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    size = path.stat().st_size
    for value in find_tensors(content):
        if value.numel() * value.element_size() > size:
            raise DamagedError(f"{path}: damaged (a tensor of {value.numel():,} values in a file of {size:,} bytes)")
    return content


def check_seal(path: Path) -> None:
    """Raise DamagedError where the file's checksum is another than its seal says, or where a zip archive is cut."""
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = file.read(4)
        file.seek(max(0, size - SEAL_LENGTH))
        end = file.read()
        if SEAL.fullmatch(end):
            file.seek(0)
            digest, left = hashlib.sha256(), size - SEAL_LENGTH
            while left and (chunk := file.read(min(left, 1 << 20))):
                digest.update(chunk)
                left -= len(chunk)
            if digest.hexdigest().encode() != end[7:]:
                raise DamagedError(f"{path}: damaged (it is not what was written: its checksum differs)")
        elif size == 0 or (begin == BEGIN and not (end[-22:].startswith(END) and end.endswith(b"\0\0"))):
            raise DamagedError(f"{path}: damaged ({'it is empty' if size == 0 else 'its end is missing'})")
    if begin == BEGIN:
        check_unfolded_size(path, size)


def check_unfolded_size(path: Path, size: int) -> None:
    """Raise DamagedError for a compressed archive: torch.save never compresses, and a few bytes can mean a terabyte."""
    try:
        with zipfile.ZipFile(path) as archive:
            unfolded = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError, ValueError, struct.error):
        raise DamagedError(f"{path}: damaged (no zip archive can be read in it)") from None
    if unfolded > size:
        raise DamagedError(f"{path}: damaged (it would unfold to {unfolded:,} bytes, and has {size:,})")


def find_tensors(content: object) -> "list[Tensor]":
    """Return all tensors in nested dictionaries and lists, also in those that hold themselves."""
    import torch

    found, seen, waiting = [], set(), [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return found
