"""Find, read and hash the annotation files of a COCO-format set; needs no torch.

COCO's own layout is ``data.root``/annotations/instances_{train,val}2017.json beside {train,val}2017/*.jpg. Any other
files are named one by one: data.train_json with data.train_images, likewise val and, if there is one, test. Without a
test file, as in COCO, val is the test set and validation is held out from train. A data.root in another format is
converted (src/data/coco/convert.py).
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ...config.data import Coco
from ...errors import UserError
from ...files import Json
from ..unpack import unpack_once

LISTS = ("images", "annotations", "categories")
HINT = " (set data.root=… for COCO's own layout, else data.train_json=… data.train_images=… data.val_json=…)"


@dataclass(frozen=True)
class Files:
    """Name the annotation file of a split and the folder of its images."""

    json: Path
    images: Path


def locate_files(config: Coco) -> dict[str, Files]:
    """Find the files of the splits "train", "test" and perhaps "val".

    Raises UserError where a file or folder is missing, or is not named.
    """
    named = {split: _find_named(config, split) for split in ("train", "val", "test")}
    if not any(named.values()):
        found = _find_below_root(config)
    else:
        found = {split: files for split, files in named.items() if files is not None}
        if "train" not in found:
            raise UserError("data.train_json is missing: set it to the file of the training annotations too")
        if "test" not in found and "val" not in found:
            raise UserError(
                "data.val_json is missing: set it, or data.test_json, to the file of the annotations to test on"
            )
    if "test" not in found:
        found["test"] = found.pop("val")
    for split, files in found.items():
        if not files.json.is_file():
            raise UserError(f"{files.json}: no such file; it should hold the annotations of {split}{HINT}")
        if not files.images.is_dir():
            raise UserError(f"{files.images}: no such folder; it should hold the images of {split}{HINT}")
    return found


def _find_named(config: Coco, split: str) -> Files | None:
    """Return the files that the user names; without a named folder, images lie beside their annotations."""
    annotations, images = getattr(config, f"{split}_json"), getattr(config, f"{split}_images")
    if annotations is None and images is not None:
        raise UserError(f"data.{split}_images={images}: and its annotations? Set data.{split}_json=… too")
    if annotations is None:
        return None
    path = Path(annotations).expanduser()
    return Files(path, Path(images).expanduser() if images is not None else path.parent)


def _find_below_root(config: Coco) -> dict[str, Files]:
    """Return COCO's own layout below ``data.root``, or what is there in another format, converted."""
    published = _find_published(Path(config.root).expanduser())
    if published["train"].json.is_file() or published["val"].json.is_file():
        return published
    from .convert import find_converted, find_top

    converted = find_converted(config)
    if converted is None:
        inside = find_top(unpack_once(config.root, config.cache))
        return _find_published(inside) if (inside / "annotations").is_dir() else published
    return {split: Files(*places) for split, places in converted.items()}


def _find_published(root: Path) -> dict[str, Files]:
    if not (root / "annotations").is_dir() and (root / "coco" / "annotations").is_dir():
        root = root / "coco"
    return {
        split: Files(root / "annotations" / f"instances_{split}2017.json", root / f"{split}2017")
        for split in ("train", "val")
    }


def hash_content(config: Coco) -> str:
    """Return the sha256 of the splits' names and of their annotation files' sha256, wherever these lie."""
    lines = []
    for split, files in sorted(locate_files(config).items()):
        digest = hashlib.sha256()
        try:
            with open(files.json, "rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        except OSError as error:
            raise UserError(f"{files.json}: {error.strerror}") from error
        lines.append(f"{split}\t{digest.hexdigest()}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_annotations(path: Path) -> Json:
    """Read the lists of images, annotations and categories of an annotation file, whatever is in them.

    Raises UserError where the file is no JSON, or has no such lists.
    """
    try:
        text = path.read_bytes()
        if not text.strip():
            raise UserError(f"{path}: is empty; the annotations of COCO's format are a JSON file")
        found = json.loads(text)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise UserError(f"{path}: no JSON file, so no COCO annotations ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds a list, not COCO's images, annotations and categories; are these results?")
    for name in LISTS:
        entries = found.get(name)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            has = ", ".join(map(str, list(found)[:6])) or "nothing"
            raise UserError(f"{path}: has no list of {name}, which COCO's format needs; it has: {has}")
    for name in ("images", "categories"):
        if not found[name]:
            raise UserError(f"{path}: its list of {name} is empty")
    return found
