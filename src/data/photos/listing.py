"""Find the pictures in class folders, and hash the listing of them.

Read is every file with a suffix of a format that Pillow reads (src/data/photos/formats.py), at any depth of its class
folder. Left out, counted and named are: hidden files and folders (``.name``, ``__MACOSX``), links to folders and links
that lead out of ``data.root``, and files that are no pictures. A class folder may be a link inside of ``data.root``;
``data.root`` and its split folders may be links to anywhere.
"""

import hashlib
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ...errors import UserError
from ...files import Json, is_file_name, read_json
from .formats import list_suffixes

SPLITS = ("train", "val", "test")
FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}  # of the splits
PACK_NOTE = "pack.json"  # in a folder that src.pack has made: its source, and whether it is whole

# kinds of what is left out
HIDDEN, LINKS = "hidden", "links that lead nowhere, out of data.root or to a folder"
OTHERS, LOOSE = "files that are no pictures", "files beside the class folders"
EMPTY = "folders without pictures"
MAC = "__MACOSX"
SHOWN = 6  # names or suffixes of each kind


def describe_left_out(left_out: Mapping[str, list[str]], below: str = "") -> str:
    """Return "left out: 3 hidden (.thumbnails), 4 files that are no pictures (.txt .mov)" or so; "" for nothing."""
    parts = []
    for kind, paths in left_out.items():
        found = [path for path in paths if path.startswith(below)]
        names = Counter(os.path.basename(path) if kind == HIDDEN else path for path in found)
        if kind == OTHERS:
            names = Counter(os.path.splitext(path)[1].lower() or os.path.basename(path) for path in found)
        shown = " ".join(name if name.isprintable() else repr(name) for name, _ in names.most_common(SHOWN))
        if found:
            parts.append(f"{len(found):,} {kind} ({shown}{' …' if len(names) > SHOWN else ''})")
    return f"left out: {', '.join(parts)}" if parts else ""


@dataclass(frozen=True)
class Listing:
    """List the image files by split (train, test, perhaps val) and class, in sorted order, relative to ``root``.

    Text rather than Path objects, for there may be millions. Where the set has no folders of splits, ``base`` comes
    before each picture's name in a run's record; ``groups`` are those of data.group, by path; ``extra`` is a digest of
    what else makes the set, such as a table; ``notes`` are sentences for a person.
    """

    BASE: ClassVar[str] = "data"

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, dict[str, list[str]]]
    left_out: str = ""
    base: str = ""
    groups: dict[str, str] = field(default_factory=dict)
    extra: str = ""
    notes: tuple[str, ...] = ()

    def files(self, split: str) -> list[tuple[str, int]]:
        """Return each image of a split with its class number."""
        found = self.splits[split]
        return [(path, k) for k, name in enumerate(self.classes) for path in found.get(name, ())]

    def warn_of_left_out(self) -> None:
        """Log what lies under the root and is not read, if there is anything."""
        if self.left_out:
            logging.getLogger(__name__).warning("%s: %s", self.root, self.left_out)

    def paths(self) -> list[str]:
        """Return all images, whatever their split."""
        return [path for split in self.splits.values() for images in split.values() for path in images]

    def names(self) -> list[str]:
        """Return the names of all images in a run's record (src/data/photos/manifest.py)."""
        return [f"{self.base}/{path}" if self.base else path for split in self.splits for path, _ in self.files(split)]

    def content(self) -> str:
        """Return the sha256 of the sorted (relative path, size) of all images; the folder may lie anywhere."""
        lines = sorted(f"{path}\t{os.lstat(self.root / path).st_size}\n" for path in self.paths())
        lines += [self.extra] if self.extra else []
        return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def scan(root: str, splits: tuple[str, ...] = SPLITS, *, typed: str | None = None, needs_test: bool = True) -> Listing:
    """List the images under ``root``, in those of the splits that have a folder; ``typed`` is what a person named.

    Raises UserError where the folder or its ``train`` is missing, where a class has no images or a name that is no
    text, where val or test have a class that train has not, where there is nothing to test on but ``needs_test`` is
    set, and where a copy of src.pack is not finished.
    """
    top, typed = Path(root).expanduser(), typed or root
    if not top.is_dir():
        raise UserError(f"data.root={typed}: no such folder; it should hold images as train/<class>/<image>")
    folders = find_split_folders(top)
    if "train" not in folders:
        raise UserError(f"data.root={typed}: has no folder train; put the images into train/<class>/")
    check_pack(top, typed)
    left_out: dict[str, list[str]] = defaultdict(list)
    found = {split: Walk(top, folders[split], left_out).find_images() for split in splits if split in folders}
    classes = tuple(found["train"])
    if len(classes) < 2:
        raise UserError(f"{top / 'train'}: holds {len(classes)} class folders; at least two are needed")
    for split in found:
        strange = [name for name in found[split] if name not in found["train"]]
        if strange:
            raise UserError(f"{top / folders[split] / strange[0]}: no class of {top / 'train'} has this name")
    if "test" not in found and "val" in found:
        found["test"] = found.pop("val")
    if "test" not in found and needs_test:
        raise UserError(f"data.root={typed}: has no folder test (nor val); put images to test on into test/<class>/")
    return Listing(top, classes, found, describe_left_out(left_out))


def find_split_folders(top: Path) -> dict[str, str]:
    """Return the folder of each split that has one. Raises UserError where a split has two."""
    folders = {}
    for split, names in FOLDERS.items():
        found = [name for name in names if (top / name).is_dir()]
        if len(found) > 1:
            raise UserError(f"{top}: {' and '.join(found)} are both folders for validation; keep one of them")
        if found:
            folders[split] = found[0]
    return folders


def list_visible(top: Path) -> tuple[list[str], list[str]]:
    """Return the names of the folders and files in a folder that are not hidden, sorted."""
    with os.scandir(top) as entries:
        visible = [(entry.name, entry.is_dir()) for entry in entries if entry.name[0] != "." and entry.name != MAC]
    return tuple(sorted(name for name, is_folder in visible if is_folder is kind) for kind in (True, False))  # type: ignore[return-value]


def check_pack(top: Path, typed: str) -> None:
    """Raise UserError where a folder is a copy that src.pack has not finished."""
    note = read_pack_note(top)
    if note is not None and not note.get("whole"):
        raise UserError(f"data.root={typed}: is a copy that src.pack has not finished; type its command again")


def read_pack_note(folder: Path) -> Json | None:
    """Read the note of src.pack in a folder that it has made; return None for any other folder.

    Raises UserError for a damaged note.
    """
    damaged = UserError(f"{folder / PACK_NOTE}: is damaged; pack the set again, into a new folder")
    try:
        note = read_json(folder / PACK_NOTE)
    except UserError:
        raise damaged from None
    if note is None or not {"source", "format"} <= note.keys():
        return None
    if note.get("whole") and any(type(note.get(name)) is not int for name in ("files", "bytes_before", "bytes")):
        raise damaged
    return note


def has_classes(top: Path, split: str) -> bool:
    """Return True where the folder of a split holds class folders, or links in their place."""
    walk = Walk(top, split, defaultdict(list))
    return bool(walk.list_classes() or walk.left_out[LINKS])


class Walk:
    """Walk over the class folders of a split's folder, or of ``top`` itself where ``split`` is "".

    ``left_out`` collects what is not read, by kind.
    """

    def __init__(self, top: Path, split: str, left_out: dict[str, list[str]]) -> None:
        self.top, self.split, self.left_out = top, split, left_out
        self.roots = [os.path.join(os.path.realpath(folder), "") for folder in (top, top / split)]
        self.prefix = f"{split}/" if split else ""

    def list_classes(self) -> list[str]:
        """Return the names of the class folders, sorted."""
        names = []
        with os.scandir(self.top / self.split) as entries:
            for entry in entries:
                path = self.prefix + entry.name
                if entry.name[0] == "." or entry.name == MAC:
                    self.left_out[HIDDEN].append(path)
                elif entry.is_symlink() and not self._stays_inside(entry.path):
                    self.left_out[LINKS].append(path)
                elif entry.is_dir():
                    names.append(entry.name)
                else:
                    self.left_out[LOOSE].append(path)
        if strange := [name for name in names if not is_file_name(name)]:
            raise UserError(
                f"{self.top / self.split}: the name of the class folder {strange[0]!r} is no UTF-8; rename it"
            )
        return sorted(names)

    def find_images(self, *, skip_empty: bool = False) -> dict[str, list[str]]:
        """Return the images of each class.

        Raises UserError where there are no classes, or one has no images; ``skip_empty`` leaves such folders out.
        """
        folder, names = self.top / self.split, self.list_classes()
        if not names and not skip_empty:
            advice = f"put the images into {self.split}/<class>/{self._explain(self.split)}"
            raise UserError(f"{folder}: holds no class folders; {advice}")
        found = {}
        for name in names:
            found[name] = sorted(self._walk(self.prefix + name), key=lambda path: path.split("/"))
            if not found[name] and not skip_empty:
                raise UserError(f"{folder / name}: this class has no images{self._explain(self.prefix + name)}")
        self.left_out[EMPTY] += [self.prefix + name for name in names if not found[name]]
        return {name: images for name, images in found.items() if images}

    def _walk(self, folder: str) -> Iterator[str]:
        with os.scandir(self.top / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}"
                if entry.name[0] == "." or entry.name == MAC:
                    self.left_out[HIDDEN].append(path)
                elif entry.is_symlink() and (entry.is_dir() or not self._stays_inside(entry.path)):
                    self.left_out[LINKS].append(path)
                elif entry.is_dir():
                    yield from self._walk(path)
                elif os.path.splitext(entry.name)[1].lower() in list_suffixes() and entry.is_file():
                    yield path
                else:
                    self.left_out[OTHERS].append(path)

    def _explain(self, folder: str) -> str:
        left_out = describe_left_out(self.left_out, f"{folder}/")
        return f" ({left_out})" if left_out else ""

    def _stays_inside(self, link: str) -> bool:
        """Return True for a link into the root that leads to something below it, not to a folder that holds it."""
        target = os.path.realpath(link)
        holds = os.path.join(os.path.realpath(os.path.dirname(link)), "").startswith(os.path.join(target, ""))
        return os.path.exists(target) and not holds and any(target.startswith(root) for root in self.roots)


def find_photos(root: str) -> Listing:
    """List the photos under ``root``, in ImageNet's layout.

    Raises UserError for another layout, with advice where it is ImageNet's as downloaded.
    """
    top = Path(root).expanduser()
    if not (top / "train").is_dir() and (nested := top / "ILSVRC" / "Data" / "CLS-LOC").is_dir():
        raise UserError(f"data.root={root}: the photos lie deeper: data.root={nested}")
    if (top / "train").is_dir() and (top / "val").is_dir() and not has_classes(top, "val"):
        raise UserError(
            f"{top / 'val'}: holds no class folders; move its photos into val/<wnid>/ (as LOC_val_solution.csv says)"
        )
    # ImageNet's own test photos have no labels, and lie in no class folders
    unlabelled = (top / "test").is_dir() and not has_classes(top, "test")
    return scan(root, tuple(split for split in SPLITS if not (unlabelled and split == "test")))
