"""Read Pascal VOC's annotations: an XML file a picture, with the corners of its boxes, counted from 1. No torch."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path

from ...errors import UserError
from ...files import explain_os_error, is_file_name
from .boxes import Box, Drawing, find_split, index_pictures, read_size

LARGEST_XML = 4 << 20  # bytes
PARTS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}


def parse_xml(path: Path) -> ET.Element:
    """Parse an XML file of annotations. Raises UserError for a damaged one, and for one that defines entities.

    Entities are what makes XML dangerous (they grow without end, or name other files), and annotations have none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(explain_os_error(error, path)) from None
    upper = content.upper()
    if len(content) > LARGEST_XML or b"\0" in content or b"<!DOCTYPE" in upper or b"<!ENTITY" in upper:
        raise UserError(f"{path}: is no annotation (it is too large, not UTF-8, or has a DOCTYPE); delete or repair it")
    try:
        return ET.fromstring(content)
    except (ET.ParseError, ValueError, LookupError, RecursionError) as error:
        raise UserError(f"{path}: is no XML file ({error}); delete or repair it") from None


def read_voc(top: Path, files: Iterable[Path]) -> list[Drawing]:
    """Return what the annotation files say. Raises UserError for a picture that is missing, and for wrong numbers."""
    pictures = index_pictures(top)
    listed = read_image_sets(top)
    drawings = []
    for path in sorted(files):
        root = parse_xml(path)
        stated = (root.findtext("filename") or "").strip().replace("\\", "/").rpartition("/")[2]
        stem = Path(stated).stem if stated and is_file_name(stated) else path.stem
        found = pictures.get(stem, []) or pictures.get(path.stem, [])
        beside = [name for name in found if (top / name).parent == path.parent]
        if not found:
            raise UserError(f"{path}: its picture {stated or stem} is not in {top}")
        if len(found) > 1 and len(beside) != 1:
            raise UserError(f"{path}: {found[0]} and {found[1]} could both be its picture; keep one of them")
        name = (beside or found)[0]
        split = listed.get(path.stem, "") if listed else find_split(path.relative_to(top))
        if listed and not split:
            continue
        boxes = [read_object(path, one) for one in root.iter("object")]
        drawings.append(Drawing(name, split, *read_size(top / name), boxes))
    return drawings


def read_object(path: Path, one: ET.Element) -> Box:
    """Return an object's box; raise UserError for one without a name, or with corners that are no numbers."""
    label, corners = (one.findtext("name") or "").strip(), one.find("bndbox")
    try:
        left, top, right, bottom = (float((corners.findtext(key) if corners is not None else None) or "") for key in
                                    ("xmin", "ymin", "xmax", "ymax"))  # fmt: skip
    except ValueError:
        raise UserError(f"{path}: an object ({label or 'without a name'}) has no box of four numbers") from None
    if not label:
        raise UserError(f"{path}: an object has no name")
    hard = (one.findtext("difficult") or "0").strip() == "1"
    return Box(label, left - 1, top - 1, right - left + 1, bottom - top + 1, crowd=hard)


def read_image_sets(top: Path) -> dict[str, str]:
    """Return the split of each picture in ImageSets/Main/{train,val,test}.txt; {} where there are no such lists."""
    folder = top / "ImageSets" / "Main"
    found: dict[str, str] = {}
    for split, names in PARTS.items():
        lists = [folder / f"{name}.txt" for name in names if (folder / f"{name}.txt").is_file()]
        if split == "train" and not lists and (folder / "trainval.txt").is_file():
            lists = [folder / "trainval.txt"]
        for path in lists:
            for line in path.read_text(errors="replace").splitlines():
                if words := line.split():
                    found.setdefault(words[0], split)
    return found
