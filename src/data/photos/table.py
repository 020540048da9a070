"""Read a table of pictures: a CSV or parquet file with a column of paths, one of labels, perhaps one of splits."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import UserError
from ...files import explain_os_error

PATHS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img", "image_id", "id")
LABELS = ("label", "class", "category", "target", "diagnosis", "dx", "species", "breed", "y")
SPLIT_COLUMNS = ("split", "set", "subset", "partition")
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class Row(NamedTuple):
    """Hold a line of a table: a picture's path, its label, and its split and group, "" where it has none."""

    path: str
    label: str
    split: str
    group: str


def read_table(
    path: Path, *, path_column: str | None = None, label_column: str | None = None, group: str | None = None
) -> list[Row]:
    """Read the rows of a table. Raises UserError where it cannot be read, or lacks a column or a value."""
    head, lines = read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else read_delimited(path)
    if not lines:
        raise UserError(f"{path}: has no rows below its head")

    def find(setting: str, named: str | None, usual: Sequence[str]) -> int:
        lower = [name.strip().lower() for name in head]
        if named is not None:
            if named not in head:
                raise UserError(f"{setting}={named}: {path} has no such column; it has: {', '.join(head)}")
            return head.index(named)
        found = [name for name in usual if name in lower]
        if not found:
            raise UserError(f"{path}: none of its columns ({', '.join(head)}) is called {usual[0]}; set {setting}=…")
        return lower.index(found[0])

    at_path, at_label = find("data.path_column", path_column, PATHS), find("data.label_column", label_column, LABELS)
    at_group = find("data.group", group, ()) if group is not None else None
    at_split = next((k for k, name in enumerate(head) if name.strip().lower() in SPLIT_COLUMNS), None)
    if at_split in (at_label, at_group):
        at_split = None
    rows = []
    for number, line in enumerate(lines, start=2):
        if len(line) != len(head):
            raise UserError(f"{path}: line {number} has {len(line)} values, not {len(head)}")
        split = "" if at_split is None else line[at_split].strip().lower()
        if split and split not in SPLIT_NAMES:
            raise UserError(f"{path}: line {number}: {head[at_split or 0]}={split}: train, val or test is needed")
        row = Row(
            line[at_path].strip(),
            line[at_label].strip(),
            SPLIT_NAMES.get(split, ""),
            "" if at_group is None else line[at_group].strip(),
        )
        if not row.path or not row.label or (at_group is not None and not row.group):
            what = head[at_path] if not row.path else head[at_label] if not row.label else group
            raise UserError(f"{path}: line {number} has no {what}; fill it in, or delete the line")
        rows.append(row)
    if at_split is not None and len({bool(row.split) for row in rows}) > 1:
        number = next(k for k, row in enumerate(rows, start=2) if not row.split)
        raise UserError(f"{path}: line {number} has no {head[at_split]}; fill it in, or delete that column")
    return rows


def read_delimited(path: Path) -> tuple[list[str], list[list[str]]]:
    """Read a head and the lines below it, separated by commas, semicolons or tabs, whichever the head has most of."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.split("\n", 1)[0]
        separator = max(",;\t", key=first.count)
        lines = [line for line in csv.reader(text.splitlines(), delimiter=separator) if any(line)]
    except OSError as error:
        raise UserError(explain_os_error(error, path)) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is no CSV file in UTF-8 ({error})") from None
    if not lines:
        raise UserError(f"{path}: is empty; its first line names the columns, such as path,label")
    return lines[0], lines[1:]


def read_parquet(path: Path) -> tuple[list[str], list[list[str]]]:
    """Read a parquet file as text. Raises UserError where pandas and pyarrow are not installed."""
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{path}: parquet needs pandas and pyarrow ({error.name} is missing): pip install pandas pyarrow; or save "
            "it as CSV"
        ) from None
    try:
        frame = pandas.read_parquet(path)
    except OSError as error:
        raise UserError(explain_os_error(error, path)) from None
    except Exception as error:  # pyarrow raises its own types for a damaged file
        raise UserError(f"{path}: is no parquet file ({str(error)[:100]})") from None
    text = [
        ["" if value is None or value != value else str(value) for value in row]
        for row in frame.itertuples(index=False)
    ]
    return [str(name) for name in frame.columns], text
