"""ImageNet's layout: where the photos lie, and what names their content; needs no torch."""

from pathlib import Path

from src.data.files import SPLITS, Listing, class_folders, scan
from src.errors import UserError


def listing(root: str) -> Listing:
    """The photos under ``root``; UserError for another layout, with advice where it is ImageNet's as downloaded."""
    top = Path(root).expanduser()
    if not (top / "train").is_dir() and (nested := top / "ILSVRC" / "Data" / "CLS-LOC").is_dir():
        raise UserError(f"data.root={root}: the photos lie deeper: data.root={nested}")
    if (top / "train").is_dir() and (top / "val").is_dir() and not class_folders(top / "val"):
        raise UserError(
            f"{top / 'val'}: holds no class folders; move its photos into val/<wnid>/ (as LOC_val_solution.csv says)"
        )
    # ImageNet's own test photos have no labels, and lie in no class folders
    unlabelled = (top / "test").is_dir() and not class_folders(top / "test")
    return scan(root, tuple(split for split in SPLITS if not (unlabelled and split == "test")))
