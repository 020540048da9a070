"""Write files completely or not at all, read them, and remove empty directories."""

import contextlib
import csv
import errno
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from .errors import UserError

Json: TypeAlias = dict[str, Any]  # an object of a JSON file

MOST_NODES = 100_000  # of a YAML file, with its aliases written out
MOST_YAML = 1 << 18  # bytes of a stored configuration, which has some thousands
DEEPEST_YAML = 50
LONGEST_ADDED = ".results.json.1234567890.tmp"  # to a name of a folder or file, by ourselves
LONGEST_NAME = 255  # of a file or folder, on the usual file systems [bytes]

ADVICE = {  # what to do after an error of the system
    errno.ENOSPC: "free some space; all files written before are intact",
    errno.EDQUOT: "free some of your quota; all files written before are intact",
    errno.EIO: "the disk or the network reports a fault; all files written before are intact",
    errno.EACCES: "choose another place, or get the permission",
    errno.EPERM: "choose another place, or get the permission",
    errno.EROFS: "choose another place",
    errno.ENOENT: "it is missing, or was deleted or moved meanwhile",
    errno.ESTALE: "it was deleted or moved meanwhile",
    errno.ENOTDIR: "a file lies where a folder is needed; choose another place",
    errno.EEXIST: "a file lies where a folder is needed; choose another place",
    errno.EISDIR: "a folder lies where a file is needed; move it away",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "a link leads back to itself; choose another place",
}


def explain_os_error(error: OSError, path: Path | None = None) -> str:
    """Return the sentence for an error of the system: where it happened, what it is, and what to do."""
    place = path or (os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename)
    reason = error.strerror or str(error) or type(error).__name__
    advice = ADVICE.get(error.errno or 0, "")
    return ": ".join(filter(None, [str(place or ""), reason])) + (f"; {advice}." if advice else ".")


def write_rows(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows as CSV, atomically."""
    write_atomic(path, format_rows(rows))


def format_rows(rows: Iterable[Sequence[object]]) -> bytes:
    """Return rows as the content of a CSV file."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def write_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write a file completely or not at all: into a scratch file beside it, flushed to the disk, then renamed."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        sync_folder(path.parent)
    except OSError as error:  # of a full disk says no name, and others that of the scratch file
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Flush the names in a folder to the disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def keep_second_name(path: Path, other: Path) -> None:
    """Give the content of a file, if there is one, a second name, which outlives the first; it replaces that file."""
    if not path.exists():
        return
    scratch = other.with_name(f".{other.name}.{os.getpid()}.tmp")
    try:
        os.link(path, scratch)
    except OSError:  # some file systems have no links
        write_atomic(other, path.read_bytes())
        return
    try:
        scratch.replace(other)
    finally:
        scratch.unlink(missing_ok=True)  # it stays where both names had the same content already


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


def read_json(path: Path, advice: str = "repair or delete it") -> Json | None:
    """Read the object in a JSON file; return None where there is no such file.

    Raises UserError, with this advice, for a damaged file.
    """
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(explain_os_error(error, path)) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({str(error)[:100]}); {advice}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no JSON object; {advice}")
    return content


def read_csv(path: Path, *, cut: bool = False, foreign: bool = False) -> list[list[str]]:
    """Read the lines of a CSV file that are not empty; [] where there is no such file.

    Raises UserError for a damaged file, also where its end is missing; with `cut` a last line without end is left out.
    In a `foreign` file, which others have written, the last line needs none.
    """
    try:
        with path.open(newline="") as file:
            text = file.read()
        text += "\n" * foreign
        if not cut and not text.endswith("\n"):
            raise UserError(f"{path}: damaged (its end is missing)")
        return [line for line in csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline="")) if line]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(explain_os_error(error, path)) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: damaged ({error})") from None


def read_yaml_text(path: Path) -> str:
    """Return the text of a YAML file that we have written.

    Raises UserError for a file that is no YAML, or is larger than a configuration; see also `walk_yaml`.
    """
    import yaml

    try:
        if path.stat().st_size > MOST_YAML:
            raise UserError(f"{path}: damaged (it has more than {MOST_YAML:,} bytes)")
        text = path.read_text()
        walk_yaml(path, text)
    except OSError as error:
        raise UserError(explain_os_error(error, path)) from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: damaged (no YAML: {' '.join(str(error).split())[:100]})") from None
    return text


def check_yaml(path: Path) -> Path:
    """Return the path of a YAML file that others have written, after `walk_yaml`.

    Raises UserError; whatever else is wrong is left to who reads the file.
    """
    import yaml

    with contextlib.suppress(OSError, yaml.YAMLError):
        content = path.read_bytes()
        if b"*" in content and b"&" in content:
            walk_yaml(path, content)
    return path


def walk_yaml(path: Path, content: str | bytes) -> None:
    """Walk through a YAML text without building anything.

    Raises UserError where it is nested too deeply, or its aliases (*name) make it endless, or far larger than it is.
    """
    import yaml

    nodes, sizes, open_nodes = 0, dict[str, int](), list[tuple[str | None, int]]()
    for event in yaml.parse(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            nodes += sizes.get(event.anchor, MOST_NODES)  # one that is still open holds itself
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, nodes))
        elif isinstance(event, yaml.ScalarEvent) and event.anchor:
            sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = nodes - before + 1
        if len(open_nodes) > DEEPEST_YAML:
            raise UserError(f"{path}: is nested more than {DEEPEST_YAML} times")
        if nodes >= MOST_NODES:
            raise UserError(f"{path}: its aliases (*name) make it endless, or more than {MOST_NODES:,} values")


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


def check_folder_name(what: str, name: str) -> str:
    """Return a name that is to be that of a folder; raise UserError where it is none, or leads elsewhere.

    `what` is the setting that it comes from. Room is left for what is added to it.
    """
    if "/" in name or name in ("", ".", "..") or not is_file_name(name + LONGEST_ADDED):
        longest = LONGEST_NAME - len(LONGEST_ADDED)
        raise UserError(f"{what}={name[:80]}: names a folder, so it has 1 to {longest} bytes, no / and is not . or ..")
    return name


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
    return [folder for folder in (path, *path.parents) if not os.path.exists(folder)]


def remove_empty(folders: list[Path]) -> None:
    """Remove directories, deepest first, as far as they exist and are empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            if os.path.exists(folder):
                folder.rmdir()
