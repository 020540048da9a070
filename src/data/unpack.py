"""Unpack a zip of pictures once, into a cache, with all that a hostile or broken archive could do refused. No torch.

The cache folder is named by the archive's list of names, sizes and checksums, so that the same zip is unpacked once,
wherever it lies, and a changed one anew. Members are written into a scratch folder that gets its name when it is whole.
"""

import hashlib
import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from ..cli.console import say
from ..errors import UserError
from ..files import explain_os_error, is_file_name

MOST_FILES = 5_000_000
MOST_GROWTH = 100  # times the archive's own bytes, beyond which it is a bomb: pictures hardly shrink at all
FREE_GROWTH = 1 << 30  # bytes that any archive may have
PART = 1 << 20  # bytes that are written at once


def find_cache(named: str | None) -> Path:
    """Return the folder for what is unpacked or converted: the named one, or that of the user's own cache."""
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "residual"


def unpack_once(root: str, cache: str | None) -> Path:
    """Return the folder ``root``, or the one that the zip ``root`` was unpacked to.

    Raises UserError for a damaged or unsafe archive, and where there is no space for it.
    """
    path = Path(root).expanduser()
    if path.suffix.lower() != ".zip" or not path.is_file():
        return path
    try:
        with zipfile.ZipFile(path) as archive:
            members = list_members(path, archive)
            lines = sorted(f"{one.filename}\t{one.file_size}\t{one.CRC}\n" for one in members)
            digest = hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()[:12]
            target = find_cache(cache) / f"{path.stem[:60]}-{digest}"
            if not target.is_dir():
                write_members(path, archive, members, target)
            return target
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"data.root={root}: cannot be unpacked ({error}); pack or fetch it again") from None
    except OSError as error:
        raise UserError(explain_os_error(error)) from None


def list_members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files of an archive, without hidden ones; raise UserError for what must not be unpacked."""
    members = [one for one in archive.infolist() if not one.is_dir() and not is_hidden(one.filename)]
    if not members:
        raise UserError(f"data.root={path}: holds no files")
    if len(members) > MOST_FILES:
        raise UserError(f"data.root={path}: holds more than {MOST_FILES:,} files; unpack it yourself")
    for one in members:
        name = one.filename
        parts = PurePosixPath(name).parts
        if name.startswith("/") or "\\" in name or ".." in parts or ":" in parts[0] or not is_file_name(name):
            raise UserError(f"data.root={path}: the name {name[:80]!r} leads out of it; unpack it yourself")
        if stat.S_ISLNK(one.external_attr >> 16):
            raise UserError(f"data.root={path}: {name[:80]!r} is a link; unpack it yourself")
        if one.flag_bits & 1:
            raise UserError(f"data.root={path}: is encrypted; unpack it yourself")
    size, packed = sum(one.file_size for one in members), path.stat().st_size
    if size > max(FREE_GROWTH, MOST_GROWTH * packed):
        raise UserError(
            f"data.root={path}: would grow from {packed / 2**20:,.1f} MiB to {size / 2**30:,.1f} GiB, as no pictures "
            "do; unpack it yourself"
        )
    return members


def is_hidden(name: str) -> bool:
    """Return True for what systems add to an archive: __MACOSX, Thumbs.db, and names that begin with a dot."""
    parts = PurePosixPath(name).parts
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in parts) or (
        bool(parts) and parts[-1] in ("Thumbs.db", "desktop.ini")
    )


def write_members(path: Path, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], target: Path) -> None:
    """Write the files of an archive into ``target``, which exists only once all of them are there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    size, free = sum(one.file_size for one in members), shutil.disk_usage(target.parent).free
    if size > 0.9 * free:
        raise UserError(
            f"data.root={path}: needs {size / 2**30:.1f} GiB in {target.parent}, where {free / 2**30:.1f} GiB are "
            "free; name another folder: data.cache=…"
        )
    hidden = sorted({one.filename for one in archive.infolist() if not one.is_dir() and is_hidden(one.filename)})
    told = f"; left out: {len(hidden):,} hidden ({hidden[0]}{' …' if len(hidden) > 1 else ''})" if hidden else ""
    say(f"Unpacking {path} ({len(members):,} files) into {target}, once{told}")
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        for one in tqdm(members, "unpacking", disable=None, delay=2, leave=False):
            place = scratch / one.filename
            place.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(one) as source, place.open("xb") as file:
                left = one.file_size
                while part := source.read(PART):  # its checksum is compared at the end
                    left -= len(part)
                    if left < 0:
                        raise zipfile.BadZipFile(f"{one.filename} is larger than it says")
                    file.write(part)
        try:
            scratch.rename(target)
        except OSError:  # another process was first
            if not target.is_dir():
                raise
    except FileExistsError as error:
        raise UserError(f"data.root={path}: holds {Path(error.filename).name} twice; unpack it yourself") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
