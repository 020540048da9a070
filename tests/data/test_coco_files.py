"""COCO-format files as they really are: photos turned or elsewhere, what is counted, and damage of any kind."""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import coco_set
import mutate
import pytest
from coco_set import config, train_json
from helpers import choose_evenly
from PIL import Image

from src.data.coco.check import select_segmentation
from src.data.coco.index import load_splits
from src.data.coco.masks import compress_mask
from src.data.coco.objects import make_target, select_learnable
from src.errors import UserError
from src.metrics.coco import evaluate_results


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return coco_set.make(tmp_path / "set")


def rename_first(root: Path, name: str) -> None:
    coco_set.edit(train_json(root), lambda content: content["images"][0].update(file_name=name))


def test_photos_lie_in_folders_and_behind_links_inside(root: Path):
    folder = root / "train2017"
    (folder / "deeper").mkdir()
    (folder / "0100.jpg").rename(folder / "deeper" / "0100.jpg")
    (folder / "0102.jpg").rename(folder / "stored.jpg")
    (folder / "0102.jpg").symlink_to("stored.jpg")
    rename_first(root, "deeper/0100.jpg")
    assert load_splits(config(root))["train"].load(0).shape[0] == 3
    rename_first(root, "shallow/0100.jpg")
    with pytest.raises(UserError, match=r"1 images that are not in .*\(shallow/0100.jpg\)"):
        load_splits(config(root))


def test_a_photo_is_turned_as_its_annotations_were_drawn(root: Path):
    """0100: drawn on the turned photo; 0101: as it lies in its file; 0102: of neither size."""
    exif = Image.Exif()
    exif[0x0112] = 6
    names = [root / "train2017" / f"010{k}.jpg" for k in range(4)]
    for path in names[:2]:
        Image.new("RGB", (32, 24), "red").save(path, exif=exif)

    coco_set.edit(train_json(root), lambda content: content["images"][0].update(width=24, height=32))
    index = load_splits(config(root, val_fraction=0.0))["train"]
    assert [image.upright for image in index.images[:3]] == [True, False, True]
    assert [tuple(index.load(i).shape) for i in range(2)] == [(3, 32, 24), (3, 24, 32)]
    Image.new("RGB", (40, 24)).save(names[2], exif=exif)
    Image.new("RGB", (32, 32)).save(names[3])
    with pytest.raises(UserError) as caught:
        load_splits(config(root))
    assert str(caught.value) == (
        f"{names[2]}: is 40x24 pixels (24x40 as EXIF turns it), but {train_json(root)} says 24x24, "
        "and 1 more photos are of other sizes than it says; annotate the photos as they are now"
    )
    names[2].write_bytes(b"no photo")
    with pytest.raises(UserError, match=r"0102.jpg: cannot be read \(cannot identify image file\)"):
        load_splits(config(root))


def test_what_is_said_is_what_is_counted(root: Path, caplog: pytest.LogCaptureFixture):
    """A perfect detector, which finds what training shows it, scores 1 whatever else the file holds."""

    def change(content: dict[str, Any]) -> None:
        one, two, three, four, *_ = content["annotations"]
        width = next(i["width"] for i in content["images"] if i["id"] == four["image_id"])
        one["bbox"] = [20, 10, 4, 400]  # its larger part lies outside
        two["bbox"] = [0, 0, 0, 0]
        three["bbox"] = [31.95, 0, 20, 20]  # a twentieth of a pixel lies inside
        four |= {"iscrowd": 0, "segmentation": {"counts": [24 * width], "size": [24, width]}}  # no pixel
        content["annotations"][4]["segmentation"] = [[0, 0, 5, 0, 5, 5], [1, 1, 2, 2]]
        content["annotations"][5]["iscrowd"] = True
        content["annotations"][6] |= {"license": json.loads("[" * 900 + "]" * 900), "bbox": [0, 0, 1e9, 1e9]}

    coco_set.write(root / "annotations" / "instances_val2017.json", root / "val2017", 12, 500)
    coco_set.edit(root / "annotations" / "instances_val2017.json", change)
    with caplog.at_level(logging.WARNING):
        index = load_splits(config(root))["test"]
    for words in (
        "2 boxes without an area, left out",
        "boxes that reach out of their image, cut",
        "1 empty or degenerate",
    ):
        assert words in caplog.text
    assert "1 masks of which degenerate polygons are left out" in caplog.text
    whole = json.loads((root / "annotations" / "instances_val2017.json").read_text())["annotations"]
    kept = [a for i in range(len(index)) for a in index.annotations(i)]
    assert len(kept) == len(whole) - 2 == int(index._drawable[:, 0].sum())
    assert [a["segmentation"] for a in kept if a["id"] == whole[3]["id"]] == [[]]
    for masks in (False, True):
        found = []
        for i, record in enumerate(index.images):
            for a in select_learnable(index, i, masks):
                x1, y1, x2, y2 = a["corners"]
                result = {"bbox": [x1, y1, x2 - x1, y2 - y1], "score": 0.9, "category_id": a["category_id"]}
                if masks:
                    packed = compress_mask(select_segmentation(a), record.height, record.width)
                    result["segmentation"] = {"size": packed["size"], "counts": packed["counts"].decode()}
                found.append(result | {"image_id": record.id})
        truth = index.to_coco().dataset
        assert evaluate_results(truth, found, masks=masks).numbers["map"] == pytest.approx(1), masks
    present = {(i, a["label"]) for i in range(len(index)) for a in index.annotations(i)}
    assert set(map(tuple, index.presence.nonzero().tolist())) == present


def use_as_a_detector_does(root: Path) -> None:
    """Load a set, read its photos and targets, and count what a perfect detector finds."""
    splits = load_splits(config(root))
    for name in ("train", "test"):
        index, found = splits[name], []
        index.require_boxes()
        index.require_masks()
        for i, record in enumerate(index.images):
            assert record.path.resolve().is_relative_to(root.resolve())
            assert index.load(i).shape[1:] == make_target(index, i, masks=True).get("masks", index.load(i)).shape[1:]
            for a in select_learnable(index, i, masks=False):
                x1, y1, x2, y2 = a["corners"]
                assert 0 <= x1 < x2 <= record.width and 0 <= y1 < y2 <= record.height
                result = {"image_id": record.id, "category_id": a["category_id"], "score": 0.9}
                found.append(result | {"bbox": [x1, y1, x2 - x1, y2 - y1]})
        truth, images = index.to_coco().dataset, [record.id for record in index.images]
        assert evaluate_results(truth, found, images=images).numbers["map"] == pytest.approx(1 if found else -1)
        evaluate_results(truth, [], masks=True, images=images)


def use_damaged(root: Path, seeds: Sequence[int]) -> tuple[int, int]:
    """Use sets whose annotations are damaged; return how many were used and how many refused."""
    paths = [root / "annotations" / f"instances_{split}2017.json" for split in ("train", "val")]
    texts, used = [path.read_text() for path in paths], 0
    for seed in seeds:
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        paths[seed % 2].write_bytes(mutate.mutate_json(texts[seed % 2], seed))
        began = time.process_time()
        try:
            use_as_a_detector_does(root)
            used += 1
        except UserError as error:
            said = str(error).partition(".json")[2]
            assert said.isprintable() and len(said) < 2000, (seed, said)
        assert time.process_time() - began < 10, seed
    return used, len(seeds) - used


def test_damaged_annotations_are_used_or_refused_in_a_sentence(root: Path):
    assert min(use_damaged(root, range(60))) > 3


@pytest.mark.slow
def test_five_hundred_damaged_annotations(root: Path):
    assert min(use_damaged(root, choose_evenly(range(60, 560), 150))) > 10
