"""Keep a report in one file: a page that opens by itself, with the files that its tables are made from.

The page ends with a script element that no browser runs (it is of type application/json): the files of each run,
packed, with their hashes, and the hashes of all tables. The last line seals every byte before it. In reading, no name
becomes a path: runs are numbered, and their files have the names below.
"""

import base64
import binascii
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ..errors import UserError
from ..files import Json, explain_os_error, format_rows, write_atomic
from ..runs.identity import compute_code_hash
from ..text import natural_sort_key
from .groups import Collected

NAMED = ("results.json", "run.json", "config.yaml")  # of runs that no row or claim of the study is about
SHOWN = (*NAMED, "metrics.csv", "confusion_matrix.csv", "per_class.csv", "test_predictions.npz", "trust.json")
LEFT_OUT = (*NAMED, "metrics.csv")
FORMAT = 1
MOST_BYTES = 1 << 29  # of a bundle; larger pages open in no browser
MOST_UNPACKED = 1 << 31  # bytes of all its files
BEGIN, END = b'<script type="application/json" id="bundle">\n', b"\n</script>\n"
SEAL = re.compile(rb"<!-- sha256:([0-9a-f]{64}) -->\n")
SEAL_LENGTH = 81


@dataclass(frozen=True)
class Packed:
    """A file of a bundle: its name, its hash, its size, and its content in base64 of zlib."""

    name: str
    sha256: str
    size: int
    content: str

    @property
    def kib(self) -> str:
        return f"{self.size / 1024:,.1f} KiB"


@dataclass(frozen=True)
class PackedRun:
    """A run of a bundle: the directory that it was read from, as a text, and its files."""

    place: str
    files: Sequence[Packed]


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds beside the page. `tables` are the hashes of the tables by their names."""

    study: str | None
    labels: Packed | None
    runs: Sequence[PackedRun]
    tables: Mapping[str, str]
    code_hash: str

    def unpack(self, folder: Path) -> "Places":
        """Write the runs below a new folder, numbered in their order; return how their old places are named."""
        for number, run in enumerate(self.runs):
            (place := folder / f"{number:06d}").mkdir(parents=True)
            for file in run.files:
                (place / file.name).write_bytes(unpack_file(file))
        return Places(folder, [run.place for run in self.runs])


@dataclass(frozen=True)
class Places:
    """Name the directories of unpacked runs as they were named where the bundle was made."""

    folder: Path
    names: Sequence[str]

    def rename(self, text: str) -> str:
        return self._replace(str(self.folder), self.names, text)

    def rename_in_html(self, text: str) -> str:
        return self._replace(escape(str(self.folder)), [escape(name) for name in self.names], text)

    def _replace(self, folder: str, names: Sequence[str], text: str) -> str:
        found = re.compile(re.escape(folder) + r"/(\d{6})")
        return found.sub(lambda place: names[int(place[1])], text) if names else text


AS_THEY_ARE = Places(Path(), ())


def pack_runs(everything: Collected, shown: Collected) -> list[PackedRun]:
    """Pack all runs that were found, in the order in which a report reads them.

    Those that are shown have their curves and predictions; the others say only what they are, for groups are named by
    what tells them apart.
    """
    wanted: dict[Path, Sequence[str]] = {path: LEFT_OUT for path, _ in everything.left_out}
    wanted |= {run.path: NAMED for run in everything.runs} | {run.path: SHOWN for run in shown.runs}
    places = sorted(wanted, key=lambda path: natural_sort_key(str(path)))
    return [PackedRun(name_place(path), list(pack_files(path, wanted[path]))) for path in places]


def name_place(path: Path) -> str:
    """Return a path as a text that UTF-8 can write."""
    return os.fsencode(path).decode(errors="replace")


def pack_files(path: Path, names: Iterable[str]) -> Iterator[Packed]:
    """Pack those of the files of a run directory that are there and can be read."""
    for name in names:
        try:
            yield pack_file(path / name)
        except OSError:  # why a run is left out may be such a file
            continue


def pack_file(path: Path) -> Packed:
    """Pack a file. Raises UserError for one that is too large, and OSError."""
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise UserError(f"{path}: has {size:,} bytes, too many for one page; leave bundle= out")
    content = path.read_bytes()
    packed = base64.b64encode(zlib.compress(content, 9)).decode()
    return Packed(path.name, hashlib.sha256(content).hexdigest(), len(content), packed)


def unpack_file(file: Packed) -> bytes:
    """Return the content of a packed file, never more than its stated size; UserError where it is damaged."""
    try:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(base64.b64decode(file.content, validate=True), file.size + 1)
    except (binascii.Error, ValueError, zlib.error):
        raise UserError(f"{file.name} cannot be unpacked") from None
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise UserError(f"the hash of {file.name} differs")
    return content


def pack_rows(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as an address that holds them as a CSV file, for a link of the page."""
    return "data:text/csv;base64," + base64.b64encode(format_rows(rows)).decode()


def hash_tables(tables: Mapping[str, bytes]) -> dict[str, str]:
    """Return the hash of each table by its name."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in tables.items()}


def make_bundle(
    study: str | None, labels: Path | None, runs: Sequence[PackedRun], tables: Mapping[str, bytes]
) -> Bundle:
    """Put together what a bundle holds beside the page."""
    return Bundle(study, pack_file(labels) if labels else None, runs, hash_tables(tables), compute_code_hash())


def write_bundle(path: Path, page: str, bundle: Bundle) -> None:
    """Write a page and its files as one sealed HTML file. Raises UserError where it would be too large."""
    content: Json = {
        "format": FORMAT,
        "study": bundle.study,
        "labels": vars(bundle.labels) if bundle.labels else None,
        "runs": [{"place": run.place, "files": [vars(file) for file in run.files]} for run in bundle.runs],
        "tables": dict(bundle.tables),
        "code_hash": bundle.code_hash,
    }
    text = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")  # no text ends the element
    whole = page.encode() + b"\n" + BEGIN + text.encode() + END
    if len(whole) > MOST_BYTES:
        raise UserError(f"bundle={path}: would have {len(whole):,} bytes, more than {MOST_BYTES:,}; name fewer runs")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, whole + b"<!-- sha256:" + hashlib.sha256(whole).hexdigest().encode() + b" -->\n")


def read_bundle(path: Path) -> Bundle:
    """Read what a bundle holds beside the page. Raises UserError where there is none, or where it is damaged."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"bundle={path}: is no bundle (it has more than {MOST_BYTES:,} bytes)")
        whole = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"bundle={path}: no such file; with runs= or study= before it, it is written") from None
    except OSError as error:
        raise UserError(f"bundle={explain_os_error(error, path)}") from None
    if BEGIN not in whole:
        raise UserError(f"bundle={path}: is no bundle, or its end is missing")
    seal = SEAL.fullmatch(whole[-SEAL_LENGTH:])
    if not seal or hashlib.sha256(whole[:-SEAL_LENGTH]).hexdigest().encode() != seal[1]:
        raise UserError(f"bundle={path}: damaged (it is not what was written: its checksum differs)")
    try:
        return build_bundle(json.loads(whole[whole.rindex(BEGIN) + len(BEGIN) : -SEAL_LENGTH - len(END)]))
    except UserError as error:
        raise UserError(f"bundle={path}: {error}") from None
    except (ValueError, LookupError, TypeError, RecursionError, AttributeError):
        raise UserError(f"bundle={path}: damaged (its content is none of ours)") from None


def build_bundle(content: Json) -> Bundle:
    """Check the content of a bundle's script; UserError says what is wrong, and other errors that it is none."""
    if content["format"] != FORMAT:
        raise UserError(f"is of format {content['format']!r}, which this version cannot read")
    labels = content["labels"] and build_packed(content["labels"])
    runs = [
        PackedRun(check_text(run["place"]), [build_packed(file, SHOWN) for file in run["files"]])
        for run in content["runs"]
    ]
    total = sum(file.size for run in runs for file in run.files) + (labels.size if labels else 0)
    if total > MOST_UNPACKED:
        raise UserError(f"would unfold to {total:,} bytes, more than {MOST_UNPACKED:,}")
    for file in [file for run in runs for file in run.files] + ([labels] if labels else []):
        unpack_file(file)
    tables = {check_text(name): check_text(digest) for name, digest in content["tables"].items()}
    study = content["study"] and check_text(content["study"])
    return Bundle(study, labels, runs, tables, check_text(content["code_hash"]))


def build_packed(content: Json, names: Sequence[str] = ()) -> Packed:
    """Check an entry of a file; `names` are those that it may have."""
    file = Packed(*(content[key] for key in ("name", "sha256", "size", "content")))
    if names and file.name not in names:
        raise UserError(f"holds {str(file.name)[:40]!r}, which is no file of a run")
    if isinstance(file.size, bool) or not isinstance(file.size, int) or not 0 <= file.size <= MOST_BYTES:
        raise UserError(f"{str(file.name)[:40]} has no possible size")
    for text in (file.name, file.sha256, file.content):
        check_text(text)
    return file


def check_text(value: object) -> str:
    """Return a text; TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError
    return value
