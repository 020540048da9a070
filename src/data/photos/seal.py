"""Seal the copies of src.pack with a checksum behind the picture, where no decoder looks, and find damaged ones by it.

A JPEG is checked whenever it is decoded, a PPM when a run first looks at it: of its pixels only crops are read later.
"""

import re
import zlib
from pathlib import Path

SEAL = re.compile(rb"\nsrc\.pack crc32 ([0-9a-f]{8})\n")
LENGTH = 25  # bytes of a seal


def seal(content: bytes) -> bytes:
    """Return the content of a picture file with its seal."""
    return content + b"\nsrc.pack crc32 %08x\n" % zlib.crc32(content)


def check_seal(content: memoryview) -> None:
    """Raise ValueError where the content of a sealed file has changed; do nothing for one without a seal."""
    found = SEAL.fullmatch(content[-LENGTH:])
    if found and zlib.crc32(content[:-LENGTH]) != int(found[1], 16):
        raise ValueError("it has changed since src.pack wrote it; delete it and pack.json, and pack the set again")


def check_sealed_file(path: Path) -> None:
    """Read a sealed file and raise ValueError where it has changed; of another file read only the end."""
    with path.open("rb") as file:
        file.seek(-min(LENGTH, file.seek(0, 2)), 2)
        if SEAL.fullmatch(file.read()):
            file.seek(0)
            check_seal(memoryview(file.read()))
