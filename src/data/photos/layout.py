"""Find your own pictures in the layouts that people have, and cut what has no split of its own. Needs no torch.

| what lies in data.root | what becomes of it |
|---|---|
| ``train/<class>/*``, with ``val``, ``valid`` or ``validation``, and ``test`` | the splits as they are |
| the same without ``test`` | ``val`` is the test set; without it, too, a test is cut from ``train`` |
| ``<class>/*`` | a test is cut from all |
| any pictures, and ``data.table`` | the table's splits, or a test is cut from all |
| one folder with one of these inside, or a zip of one of these | as if that folder was named |

A cut takes data.test_fraction, stratified by class, in the order of data.split_seed; with data.group it takes whole
groups. Validation is cut from the training split later (src/data/cut.py).
"""

import hashlib
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...config.data import Folder
from ...errors import UserError
from ...files import is_file_name, resolve_inside
from ..cut import hold_out, hold_out_groups
from ..unpack import unpack_once
from .formats import list_suffixes
from .listing import (
    Listing,
    Walk,
    check_pack,
    describe_left_out,
    find_split_folders,
    has_classes,
    list_visible,
    scan,
)
from .table import Row, read_table

GUESSED = (".jpg", ".jpeg", ".png")  # suffixes of pictures that a table names without


@dataclass(frozen=True)
class Place:
    """Say where the pictures lie: the folder, and its folders of splits, {} for class folders or a table."""

    top: Path
    folders: dict[str, str]  # "val": "valid"


def locate_pictures(config: Folder) -> Place:
    """Find the folder that holds the pictures: unpacked, or deeper where ``data.root`` holds a single folder.

    Raises UserError where there is none.
    """
    top = unpack_once(config.root, config.cache)
    if not top.is_dir():
        raise UserError(f"data.root={config.root}: no such folder; it should hold images as train/<class>/<image>")
    if config.table is not None:
        return Place(top, {})
    for _ in range(4):  # a zip often holds its own name once more
        inside, _ = list_visible(top)
        if len(inside) != 1 or find_split_folders(top) or not list_visible(top / inside[0])[0]:
            break
        top = top / inside[0]
    folders = find_split_folders(top)
    if "train" in folders and not has_classes(top, folders["train"]) and len(list_visible(top)[0]) > len(folders):
        folders = {}  # a class that is called train
    return Place(top, folders)


def list_pictures(config: Folder) -> Listing:
    """List the pictures by split and class. Raises UserError for whatever is wrong with their layout."""
    place = locate_pictures(config)
    check_pack(place.top, config.root)
    if config.table is not None:
        listing = scan_table(config, place.top)
    elif place.folders:
        listing = scan(str(place.top), typed=config.root, needs_test=False)
    else:
        listing = scan_classes(config.root, place.top)
    grouped = find_groups(config, listing)
    return cut_test(config, grouped) if "test" not in grouped.splits else grouped


def find_bases(config: Folder) -> dict[str, Path]:
    """Return the folders that the names of pictures begin with, in a run's record of them."""
    place = locate_pictures(config)
    if not place.folders:
        return {Listing.BASE: place.top}
    return {folder: place.top / folder for folder in place.folders.values()}


def scan_classes(root: str, top: Path) -> Listing:
    """List class folders without splits. Raises UserError where there are fewer than two with pictures."""
    left_out: dict[str, list[str]] = defaultdict(list)
    found = Walk(top, "", left_out).find_images(skip_empty=True)
    if len(found) < 2:
        held = f"{len(found)} class folders with pictures" if found else "no class folders with pictures"
        told = describe_left_out(left_out)
        raise UserError(
            f"data.root={root}: holds {held}, and no folder train; put the images into <class>/ or train/<class>/, two "
            f"classes at least{f' ({told})' if told else ''}"
        )
    return Listing(top, tuple(found), {"train": found}, describe_left_out(left_out), base=Listing.BASE)


def find_table(config: Folder, top: Path) -> Path:
    """Return the path of the table, as it is named from here or inside of ``data.root``."""
    path = Path(str(config.table)).expanduser()
    places = (path, top / path)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(f"data.table={config.table}: no such file, neither from here nor in {top}")
    return found


def scan_table(config: Folder, top: Path) -> Listing:
    """List the pictures that a table names. Raises UserError for a path that is missing, leads out, or is twice."""
    table = find_table(config, top)
    rows = read_table(table, path_column=config.path_column, label_column=config.label_column, group=config.group)
    classes = tuple(sorted({row.label for row in rows}))
    if len(classes) < 2:
        raise UserError(f"{table}: has {len(classes)} label; at least two are needed")
    if strange := [name for name in classes if not is_file_name(name.replace("/", "_"))]:
        raise UserError(f"{table}: the label {strange[0]!r} is no UTF-8, or too long")
    splits: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    groups: dict[str, str] = {}
    for row in rows:
        path = find_picture(table, top, row)
        if path in groups:
            raise UserError(f"{table}: names {path} twice")
        groups[path] = row.group
        splits[row.split or "train"][row.label].append(path)
    if "train" not in splits:
        raise UserError(f"{table}: no row is of the split train")
    for split, found in splits.items():
        if strange := [name for name in found if name not in splits["train"]]:
            raise UserError(f"{table}: its {split} has the label {strange[0]}, which its train has not")
    if "val" in splits and "test" not in splits:
        splits["test"] = splits.pop("val")
    lines = sorted(f"{row.path}\t{row.label}\t{row.split}\t{row.group}\n" for row in rows)
    extra = hashlib.sha256("".join(lines).encode()).hexdigest()
    ordered = {split: {name: sorted(found[name]) for name in sorted(found)} for split, found in splits.items()}
    kept = groups if config.group is not None else {}
    return Listing(top, classes, ordered, base=Listing.BASE, groups=kept, extra=extra)


def find_picture(table: Path, top: Path, row: Row) -> str:
    """Return a table's path of a picture, completed by the usual suffixes. Raises UserError where there is none."""
    path = resolve_inside(top, row.path)
    names = [row.path, *(row.path + suffix for suffix in GUESSED)]
    if path.suffix.lower() not in list_suffixes() or not path.is_file():
        found = next((name for name in names[1:] if (top / name).is_file()), None)
        if found is None:
            raise UserError(f"{table}: {row.path}: no such picture in {top}")
        return found
    return row.path


def find_groups(config: Folder, listing: Listing) -> Listing:
    """Return the listing with the group of each picture, where data.group asks for them.

    Raises UserError for a picture without a group, and for a group that lies in two of the set's own splits.
    """
    if config.group is None:
        return listing
    groups = listing.groups
    if config.table is None:
        pattern = re.compile(config.group)
        groups = {}
        for path in listing.paths():
            found = pattern.search(path)
            if found is None:
                raise UserError(f"data.group={config.group}: does not match the path {path}")
            groups[path] = found[1] if pattern.groups and found[1] is not None else found[0]
    where: dict[str, str] = {}
    for split in listing.splits:
        for path, _ in listing.files(split):
            other = where.setdefault(groups[path], split)
            if other != split:
                raise UserError(
                    f"data.group={config.group}: the group {groups[path]!r} lies in {other} and in {split} ({path}), "
                    "but pictures of one group must lie in one split"
                )
    return replace(listing, groups=groups)


def cut_test(config: Folder, listing: Listing) -> Listing:
    """Cut a test set from the training pictures, stratified by class, of whole groups where there are any."""
    files = listing.files("train")
    labels = np.array([label for _, label in files], dtype=np.int64)
    if listing.groups:
        names = [listing.groups[path] for path, _ in files]
        kept, held = hold_out_groups(labels, names, config.test_fraction, config.split_seed)
    else:
        kept, held = hold_out(labels, config.test_fraction, config.split_seed)
    few = Counter(labels[kept].tolist())
    if absent := [name for k, name in enumerate(listing.classes) if not few[k]]:
        raise UserError(
            f"data.root={config.root}: no picture of {absent[0]} is left to train on once a test is cut; lower "
            "data.test_fraction, or add pictures"
        )

    def take(index: np.ndarray) -> dict[str, list[str]]:
        chosen: dict[str, list[str]] = defaultdict(list)
        for k in index.tolist():
            chosen[listing.classes[files[k][1]]].append(files[k][0])
        return dict(chosen)

    note = f"Test: {len(held):,} pictures cut from all {len(files):,} (data.test_fraction={config.test_fraction:g}"
    note += f", data.split_seed={config.split_seed})"
    return replace(listing, splits=listing.splits | {"train": take(kept), "test": take(held)}, notes=(note,))
