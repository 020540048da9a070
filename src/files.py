"""Write files completely or not at all, read them, and remove empty directories."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from .errors import UserError

Json: TypeAlias = dict[str, Any]  # an object of a JSON file

LONGEST_NAME = 255  # of a file or folder, on the usual file systems [bytes]


def write_rows(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows as CSV, atomically."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_atomic(path, text.getvalue().encode())


def write_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write a file completely or not at all: into a scratch file beside it, flushed to the disk, then renamed."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself reaches the disk
    finally:
        os.close(folder)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a mapping as JSON, atomically; numbers that JSON lacks (nan, inf) become null."""

    def clean(value: object) -> object:
        if isinstance(value, Mapping):
            return {key: clean(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [clean(inner) for inner in value]
        return None if isinstance(value, float) and not abs(value) < float("inf") else value

    text = json.dumps(clean(content), indent=2, allow_nan=False) + "\n"
    write_atomic(path, text.encode())


def read_json(path: Path) -> Json | None:
    """Read the object in a JSON file; return None where there is no such file.

    Raises UserError for a damaged file.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); repair or delete it, or start over with fresh=true"
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no JSON object; repair or delete it, or start over with fresh=true")
    return content


def resolve_inside(root: Path, name: str) -> Path:
    """Return the path of ``name`` below ``root``, where the name comes from a file or a setting.

    Raises UserError where it leads out of ``root`` (by "/", ".." or a link), or can be no name of a file.
    """
    if not is_file_name(name):
        raise UserError(f"{name[:80]!r}: can be no name of a file; rename it")
    inner, outer = os.path.realpath(root / name), os.path.realpath(root)
    if os.path.isabs(name) or not inner.startswith(os.path.join(outer, "")):
        raise UserError(f"{name!r}: leads out of {root}; a path inside of that folder is needed")
    return root / name


def is_file_name(name: str) -> bool:
    """Return True for a relative or absolute path whose parts a file system can store and UTF-8 can write."""
    if not is_text(name) or "\0" in name:
        return False
    return 0 < max(len(part.encode()) for part in name.split("/")) <= LONGEST_NAME


def is_text(text: str) -> bool:
    """Return True for what UTF-8 can write: no half of a surrogate pair, which stands for a byte that is no UTF-8."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def find_missing_folders(path: Path) -> list[Path]:
    """Return the directories, deepest first, that would have to be made for this one to exist."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def remove_empty(folders: list[Path]) -> None:
    """Remove directories, deepest first, as far as they exist and are empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            if folder.exists():
                folder.rmdir()
