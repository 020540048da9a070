"""Find image files in class folders, and hash the listing of them."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Listing:
    """List the image files by split (train, test, perhaps val) and class, in sorted order, relative to ``root``.

    Text rather than Path objects, for there may be millions.
    """

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, dict[str, list[str]]]

    def files(self, split: str) -> list[tuple[str, int]]:
        """Return each image of a split with its class number."""
        found = self.splits[split]
        return [(path, k) for k, name in enumerate(self.classes) for path in found.get(name, ())]

    def content(self) -> str:
        """Return the sha256 of the sorted (relative path, size) of all images; the folder may lie anywhere."""
        paths = [path for split in self.splits.values() for images in split.values() for path in images]
        lines = sorted(f"{path}\t{os.lstat(self.root / path).st_size}\n" for path in paths)
        return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def scan(root: str, splits: tuple[str, ...] = SPLITS) -> Listing:
    """List the images under ``root``, in those of the splits that have a folder.

    Raises UserError where the folder or its ``train`` is missing, where a class has no images, where val or
    test have a class that train has not, and where there is nothing to test on.
    """
    top = Path(root).expanduser()
    if not top.is_dir():
        raise UserError(f"data.root={root}: no such folder; it should hold images as train/<class>/<image>")
    if not (top / "train").is_dir():
        raise UserError(f"data.root={root}: has no folder train; put the images into train/<class>/")
    found = {split: _find_images(top, split) for split in splits if (top / split).is_dir()}
    classes = tuple(found["train"])
    if len(classes) < 2:
        raise UserError(f"{top / 'train'}: holds {len(classes)} class folders; at least two are needed")
    for split in found:
        strange = [name for name in found[split] if name not in found["train"]]
        if strange:
            raise UserError(f"{top / split / strange[0]}: no class of {top / 'train'} has this name")
    if "test" not in found:
        if "val" not in found:
            raise UserError(f"data.root={root}: has no folder test (nor val); put images to test on into test/<class>/")
        found["test"] = found.pop("val")
    return Listing(top, classes, found)


def list_class_folders(folder: Path) -> list[str]:
    """Return the names of the class folders, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")


def _find_images(top: Path, split: str) -> dict[str, list[str]]:
    folder, names = top / split, list_class_folders(top / split)
    if not names:
        raise UserError(f"{folder}: holds no class folders; put the images into {split}/<class>/")
    found = {name: sorted(_walk_images(top, f"{split}/{name}"), key=lambda path: path.split("/")) for name in names}
    for name, images in found.items():
        if not images:
            raise UserError(f"{folder / name}: this class has no images ({', '.join(sorted(SUFFIXES))})")
    return found


def _walk_images(top: Path, folder: str) -> Iterator[str]:
    with os.scandir(top / folder) as entries:
        for entry in entries:
            path = f"{folder}/{entry.name}"
            if entry.is_dir():
                if not entry.is_symlink():
                    yield from _walk_images(top, path)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and not entry.name.startswith("."):
                yield path


def find_photos(root: str) -> Listing:
    """List the photos under ``root``, in ImageNet's layout.

    Raises UserError for another layout, with advice where it is ImageNet's as downloaded.
    """
    top = Path(root).expanduser()
    if not (top / "train").is_dir() and (nested := top / "ILSVRC" / "Data" / "CLS-LOC").is_dir():
        raise UserError(f"data.root={root}: the photos lie deeper: data.root={nested}")
    if (top / "train").is_dir() and (top / "val").is_dir() and not list_class_folders(top / "val"):
        raise UserError(
            f"{top / 'val'}: holds no class folders; move its photos into val/<wnid>/ (as LOC_val_solution.csv says)"
        )
    # ImageNet's own test photos have no labels, and lie in no class folders
    unlabelled = (top / "test").is_dir() and not list_class_folders(top / "test")
    return scan(root, tuple(split for split in SPLITS if not (unlabelled and split == "test")))
