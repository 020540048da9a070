"""Find annotations of other formats in data.root, and write them once as COCO's JSON into a cache. Needs no torch.

Known are Pascal VOC (XML files), YOLO (text files, with boxes or polygons), COCO files as Roboflow exports them
({train,valid,test}/_annotations.coco.json), and a zip of any. Where a set has no split to test on, a test is cut by
data.test_fraction and data.split_seed.
"""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...cli.console import say
from ...config.data import Coco
from ...errors import UserError
from ...files import explain_os_error, write_atomic
from ..cut import hold_out
from ..photos.listing import FOLDERS, MAC
from ..unpack import find_cache, unpack_once
from .boxes import Box, Drawing, index_pictures
from .voc import read_voc
from .yolo import NAMES, find_labels, read_yolo

EXPORTED = "_annotations.coco.json"
VERSION = "1"  # of the conversion: another one converts again

Places = dict[str, tuple[Path, Path]]  # the annotation file of each split, and the folder of its images


def find_converted(config: Coco) -> Places | None:
    """Return the files of a set in another format, converted where that has not been done; None where there is none.

    Raises UserError for whatever is wrong with it.
    """
    top = find_top(unpack_once(config.root, config.cache))
    if not top.is_dir():
        return None
    exported = {
        split: (top / name / EXPORTED, top / name)
        for split, names in FOLDERS.items()
        for name in names
        if (top / name / EXPORTED).is_file()
    }
    if "train" in exported:
        return exported
    files = list_annotations(top)
    kind = "Pascal VOC" if any(path.suffix == ".xml" for path in files) else "YOLO" if has_yolo(top, files) else ""
    if not kind:
        return None
    target = find_cache(config.cache) / "converted" / f"{top.name[:60]}-{identify(config, top, files)}"
    done = {split: target / f"{split}.json" for split in FOLDERS}
    if not done["train"].is_file():
        xml = [path for path in files if path.suffix == ".xml"]
        drawings, names = (read_voc(top, xml), None) if kind == "Pascal VOC" else read_yolo(top)
        write_splits(config, top, target, drawings, names, kind)
    return {split: (path, top) for split, path in done.items() if path.is_file()}


def find_top(root: Path) -> Path:
    """Return the folder that holds the set: a zip often holds its own name once more."""
    for _ in range(4):
        if not root.is_dir():
            break
        inside = [path for path in root.iterdir() if path.name[0] != "." and path.name != MAC]
        if len(inside) != 1 or not inside[0].is_dir():
            break
        root = inside[0]
    return root


def list_annotations(top: Path) -> list[Path]:
    """Return all XML and text files below ``top``, and the lists of names."""
    found = []
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name[0] != "." and name != MAC)
        names = (name for name in sorted(files) if name[0] != ".")
        found += [Path(folder, name) for name in names if name.endswith((".xml", ".txt")) or name in NAMES]
    return found


def has_yolo(top: Path, files: Sequence[Path]) -> bool:
    """Return True where some picture has a label file."""
    texts = {path for path in files if path.suffix == ".txt"}
    return bool(texts) and any(
        find_labels(top, name) in texts for found in index_pictures(top).values() for name in found
    )


def identify(config: Coco, top: Path, files: Sequence[Path]) -> str:
    """Return twelve digits for the annotations, the pictures' names and sizes, and how a test is cut."""
    digest = hashlib.sha256(f"{VERSION} {config.test_fraction} {config.split_seed}\n".encode())
    try:
        for path in files:
            digest.update(f"{path.relative_to(top)}\0".encode(errors="surrogateescape") + path.read_bytes())
        for name in sorted(name for found in index_pictures(top).values() for name in found):
            digest.update(f"{name}\0{os.stat(top / name).st_size}\0".encode(errors="surrogateescape"))
    except OSError as error:
        raise UserError(explain_os_error(error)) from None
    return digest.hexdigest()[:12]


def write_splits(
    config: Coco, top: Path, target: Path, drawings: Sequence[Drawing], names: Sequence[str] | None, kind: str
) -> None:
    """Write the files of all splits, that of train last, and say what was converted."""
    labels = list(names) if names else sorted({box.label for one in drawings for box in one.boxes})
    if not labels:
        raise UserError(f"data.root={config.root}: looks like {kind}, but no picture has an object")
    splits: dict[str, list[Drawing]] = defaultdict(list)
    for one in drawings:
        splits[one.split or "train"].append(one)
    if not splits["train"]:
        raise UserError(f"data.root={config.root}: looks like {kind}, but no picture lies in a folder train")
    cut = ""
    if not splits["test"] and not splits["val"]:
        every = splits["train"]
        kept, held = hold_out(find_rarest(every, labels), config.test_fraction, config.split_seed)
        splits |= {"train": [every[k] for k in kept], "test": [every[k] for k in held]}
        cut = f"; the test is cut from all (data.test_fraction={config.test_fraction:g})"
    try:
        target.mkdir(parents=True, exist_ok=True)
        for split in ("test", "val", "train"):
            if splits[split]:
                content = json.dumps(make_coco(splits[split], labels, kind)).encode()
                write_atomic(target / f"{split}.json", content)
    except OSError as error:
        raise UserError(explain_os_error(error)) from None
    counts = ", ".join(
        f"{split} {len(found):,} pictures and {sum(len(one.boxes) for one in found):,} objects"
        for split, found in splits.items()
        if found
    )
    hard = sum(box.crowd for one in drawings for box in one.boxes)
    said = f"; {hard:,} difficult ones are neither learned from nor counted" if hard else ""
    unnamed = "; their classes have no names, for there is no data.yaml" if kind == "YOLO" and not names else ""
    say(f"Converted {kind} to COCO's format: {counts}{said}{unnamed}{cut}; {target}")


def find_rarest(drawings: Sequence[Drawing], labels: Sequence[str]) -> np.ndarray:
    """Return the number of each picture's rarest class, int64 [N]; that after the last for a picture without any."""
    shown = [{box.label for box in one.boxes} for one in drawings]
    counts = Counter(label for found in shown for label in found)
    number = {label: k for k, label in enumerate(labels)}
    rarest = [min(found, key=lambda label: (counts[label], label), default=None) for found in shown]
    return np.array([len(labels) if label is None else number[label] for label in rarest], dtype=np.int64)


def make_coco(drawings: Sequence[Drawing], labels: Sequence[str], kind: str) -> dict[str, object]:
    """Return the content of a COCO file."""
    number = {label: k for k, label in enumerate(labels, start=1)}
    every = [(k, box) for k, one in enumerate(drawings, start=1) for box in one.boxes]
    return {
        "info": {"description": f"converted from {kind}"},
        "images": [
            {"id": k, "file_name": one.name, "width": one.width, "height": one.height}
            for k, one in enumerate(drawings, start=1)
        ],
        "annotations": [make_annotation(k, image, box, number) for k, (image, box) in enumerate(every, start=1)],
        "categories": [{"id": k, "name": label} for label, k in number.items()],
    }


def make_annotation(k: int, image: int, box: Box, number: dict[str, int]) -> dict[str, object]:
    """Return an annotation of COCO's format, with an outline where the object has one."""
    x, y, w, h = (round(value, 3) for value in (box.x, box.y, box.width, box.height))
    made: dict[str, object] = {"id": k, "image_id": image, "category_id": number[box.label], "bbox": [x, y, w, h]}
    outline = {"segmentation": [list(box.polygon)]} if box.polygon else {}
    return made | {"area": round(w * h, 3), "iscrowd": int(box.crowd)} | outline
