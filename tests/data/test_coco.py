"""The index of COCO-format sets: labels, splits, what its preflight finds, and a sentence for every wrong input."""

import json
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coco_set
import pytest
import torch
from coco_set import config, train_json
from helpers import SHARED_DATA

from src.data.coco.check import check_annotations, select_segmentation
from src.data.coco.files import hash_content, locate_files, read_annotations
from src.data.coco.index import CocoIndex, find_rarest_labels, load_splits
from src.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return coco_set.make(tmp_path / "set")


def test_categories_become_labels_in_the_order_of_their_ids(root: Path):
    index = load_splits(config(root, val_fraction=0.0))["train"]
    assert (index.category_ids, index.classes) == ((2, 7, 11), ("square", "disc", "night sky"))
    assert [image.id for image in index.images] == list(range(100, 112)), "images without objects are kept"
    assert index.images[1] == (101, root / "train2017" / "0101.jpg", 32, 24, True)
    assert index.annotations(0) == []
    file = json.loads(train_json(root).read_text())
    for i, image in enumerate(index.images):
        own = [a for a in file["annotations"] if a["image_id"] == image.id]
        assert index.annotations(i) == [a | {"label": {2: 0, 7: 1, 11: 2}[a["category_id"]]} for a in own]
        assert index.presence[i].nonzero().flatten().tolist() == sorted({a["label"] for a in index.annotations(i)})
    crowd = index.annotations(3)
    assert [a["iscrowd"] for a in crowd] == [0, 1]
    assert index.presence[3].tolist() == [True, True, False], "a crowd is present"
    pixels = index.load(1)
    assert (pixels.shape, pixels.dtype) == ((3, 24, 32), torch.uint8)
    assert pixels[0, 5, 5] > 200 and pixels[1, 5, 5] < 100
    index.require_boxes()
    index.require_masks()


def test_the_published_val_is_the_test_set_and_validation_is_cut_from_train(root: Path):
    splits = load_splits(config(root))
    ids = {split: [image.id for image in index.images] for split, index in splits.items()}
    assert ids["test"] == list(range(500, 506))
    assert len(ids["val"]) == 3 and sorted(ids["val"] + ids["train"]) == list(range(100, 112))
    assert {split: [i.id for i in index.images] for split, index in load_splits(config(root)).items()} == ids
    assert [i.id for i in load_splits(config(root, split_seed=1))["val"].images] != ids["val"]
    smaller = load_splits(config(root, limit_train=4.0))["train"]
    assert len(smaller) == 4 and {image.id for image in smaller.images} < set(ids["train"])
    assert smaller.annotations(0) == splits["train"].annotations(ids["train"].index(smaller.images[0].id))
    with pytest.raises(UserError, match="data.limit_train=50 asks for 50 of 9 training images"):
        load_splits(config(root, limit_train=50.0))


def test_each_image_belongs_to_the_stratum_of_its_rarest_label():
    presence = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0], [1, 1, 0]], dtype=torch.bool)
    assert find_rarest_labels(presence).tolist() == [0, 1, 2, 3, 1]


def test_data_classes_selects_categories_by_name_or_id(root: Path):
    splits = load_splits(config(root, classes=["night sky", "2"]))
    assert splits["train"].category_ids == (11, 2)
    assert sum(map(len, splits.values())) == 18, "images that hold none of them are kept"
    labels = {a["label"] for index in splits.values() for i in range(len(index)) for a in index.annotations(i)}
    assert labels == {1}
    with pytest.raises(UserError, match="'night' is no name or id of the 3 categories; did you mean night sky"):
        load_splits(config(root, classes=["night", "square"]))
    with pytest.raises(UserError, match="'3' is no name or id of the 3 categories; they begin with disc, square"):
        load_splits(config(root, classes=["3", "square"]))
    with pytest.raises(UserError, match="data.classes=2,square: a category is named twice"):
        load_splits(config(root, classes=["2", "square"]))
    for split in ("train", "val"):
        file = root / "annotations" / f"instances_{split}2017.json"
        coco_set.edit(file, lambda c: first(c, "categories", name="square"))
    with pytest.raises(UserError, match=r"data.classes: 'square' names 2 categories; choose by id: \[7, 2\]"):
        load_splits(config(root, classes=["square"]))
    assert load_splits(config(root, classes=["2", "7"]))["train"].classes == ("square", "square")


def test_any_files_in_any_place(tmp_path: Path):
    mine = tmp_path / "mine"
    coco_set.write(mine / "photos" / "list.json", mine / "photos", 4)
    coco_set.write(mine / "check.json", mine / "check", 4, first=50)
    given = {"train_json": str(mine / "photos" / "list.json"), "val_json": str(mine / "check.json")}
    given["val_images"] = str(mine / "check")
    splits = load_splits(config(tmp_path, **given))
    assert {split: len(index) for split, index in splits.items()} == {"train": 3, "val": 1, "test": 4}
    coco_set.write(mine / "final.json", mine, 2, first=90)
    splits = load_splits(config(tmp_path, **given, test_json=str(mine / "final.json")))
    assert {split: len(index) for split, index in splits.items()} == {"train": 4, "val": 4, "test": 2}
    assert set(load_splits(config(tmp_path, **given, test_json=str(mine / "final.json"), val_fraction=0.0))) == {
        "train",
        "test",
    }
    with pytest.raises(UserError, match="data.val_images=elsewhere: and its annotations"):
        locate_files(config(tmp_path, train_json="x", val_images="elsewhere"))
    with pytest.raises(UserError, match=r"data.val_json is missing: .* to test on"):
        locate_files(config(tmp_path, train_json="x"))
    with pytest.raises(UserError, match="data.train_json is missing"):
        locate_files(config(tmp_path, val_json="x"))


def test_the_content_is_the_annotations_wherever_they_lie(root: Path, tmp_path: Path):
    before = hash_content(config(root))
    moved = root.rename(tmp_path / "coco")
    assert hash_content(config(moved)) == hash_content(config(tmp_path)) == before
    own = {f"{split}_json": str(moved / "annotations" / f"instances_{split}2017.json") for split in ("train", "val")}
    own |= {f"{split}_images": str(moved / f"{split}2017") for split in ("train", "val")}
    assert hash_content(config(tmp_path, **own)) == before
    coco_set.edit(train_json(moved), lambda c: c["annotations"].pop())
    assert hash_content(config(moved)) != before


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_an_index_pickles_and_becomes_pycocotools(root: Path):
    index = load_splits(config(root))["train"]
    copy: CocoIndex = pickle.loads(pickle.dumps(index))
    assert [copy.annotations(i) for i in range(9)] == [index.annotations(i) for i in range(9)]
    coco = index.to_coco()
    assert sorted(coco.getImgIds()) == sorted(image.id for image in index.images)
    some = next(i for i in range(9) if len(index.annotations(i)) == 2)
    crowd = index.annotations(some)[1]
    mask = coco.annToMask(coco.anns[crowd["id"]])
    assert mask.sum() == 8 and mask[:4, :2].all()
    assert "label" not in coco.anns[crowd["id"]]


def first(content: dict[str, Any], key: str, **changes: Any) -> None:
    content[key][0] |= changes


def run_lengths(counts: Any) -> dict[str, Any]:
    """A mask for the second image of a set, the first one that has any."""
    return {"counts": counts, "size": [24, 32]}


WRONG: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda c: c.pop("images"), r"train2017.json: has no list of images, .* it has: annotations, categories"),
    (lambda c: c.update(images=[]), "its list of images is empty"),
    (lambda c: c.update(annotations={}), "has no list of annotations"),
    (lambda c: first(c, "annotations", category_id=99), r"1 annotations of a category .*annotation 1000: category 99"),
    (lambda c: c["annotations"].append(c["annotations"][0]), r"1 annotation ids that occur twice \(1000\)"),
    (lambda c: c["images"].extend(c["images"][:2]), r"2 image ids that occur twice \(100, 101\)"),
    (lambda c: c["categories"].append(c["categories"][0]), r"1 category ids that occur twice \(7\)"),
    (lambda c: first(c, "images", width="wide"), r"1 images without an id, .* \(number 1 in its list\)"),
    (lambda c: first(c, "annotations", bbox=[30, 30, 4, 4]), r"1 boxes outside of their image \(annotation 1000"),
    (lambda c: first(c, "annotations", bbox=[1, 2, None, 4]), r"1 boxes that are not four numbers"),
    (
        lambda c: first(c, "annotations", segmentation={"counts": [4], "size": [2, 2]}),
        "1 masks of another size than their image",
    ),
    (
        lambda c: first(c, "images", file_name="lost.jpg"),
        r"1 images that are not in .*train2017; data.skip_unreadable=true .*\(lost.jpg\)",
    ),
    (
        lambda c: first(c, "categories", name="ring"),
        r"its categories are not those of .*\(it lacks ring \(id 7\); only it has disc \(id 7\)\)",
    ),
    (lambda c: c["annotations"].clear(), "train2017.json: no annotation names one of the 3 categories .* to learn"),
    (lambda c: first(c, "annotations", category_id=[7]), r"not listed \(annotation 1000: category \[7\]\)"),
    (lambda c: first(c, "annotations", category_id="7"), r"not listed \(annotation 1000: category '7'\)"),
    (lambda c: first(c, "annotations", image_id=[7]), r"1 annotations without an id and an image_id .*number 1"),
    (lambda c: first(c, "annotations", id=None), r"1 annotations without an id and an image_id .*number 1"),
    (lambda c: first(c, "annotations", area=None), r"1 annotations whose area is no number, .* \(1000\)"),
    (lambda c: first(c, "annotations", iscrowd="no"), r"iscrowd neither 0 nor 1 \(1000\)"),
    (lambda c: first(c, "annotations", bbox=[9, 9, -4, 4]), r"1 boxes of a negative width .*1000: \[9, 9, -4, 4\]"),
    (
        lambda c: first(c, "annotations", segmentation=run_lengths("!!!")),
        r"1 masks whose run lengths .*annotation 1000",
    ),
    (lambda c: first(c, "annotations", segmentation=run_lengths([1, 2])), "1 masks whose run lengths"),
    (lambda c: first(c, "annotations", segmentation=run_lengths([1, 10**6])), "1 masks whose run lengths"),
    (lambda c: first(c, "annotations", segmentation=run_lengths(["a"])), "1 masks whose run lengths"),
    *(
        (lambda c, runs=runs: first(c, "annotations", segmentation=run_lengths(runs)), "1 masks whose run lengths")
        for runs in (
            [0, -5, 773],
            [True, 767],
            [0.5],
            [10**400],
            None,
            "",
            "PPPPPPPP",
            "oooooooooo",
            "\u00e9",
            "0" * 5000,
        )
    ),
    *(
        (lambda c, box=box: first(c, "annotations", bbox=box), "1 boxes that are not four numbers")
        for box in ("1234", ["1", "2", "3", "4"], [True] * 4, [1, 2, float("nan"), 4], [1, 2, 1e308, 4], [10**400] * 4)
    ),
    *(
        (lambda c, k=k: first(c, "annotations", id=k), r"1 annotations without an id and an image_id .*number 1")
        for k in (5.0, True, "7" * 9999, 2**63, [1])
    ),
    *(
        (
            lambda c, name=name: first(c, "images", file_name=name),
            r"1 images without an id, .* \(number 1 in its list\)",
        )
        for name in ("\ud800.jpg", "a\0.jpg", "", "x" * 300, 7)
    ),
    *(
        (lambda c, side=side: first(c, "images", width=side), r"1 images without an id, .* \(number 1 in its list\)")
        for side in (0, -24, 24.0, True, 10**12, float("inf"))
    ),
    *(
        (lambda c, name=name: first(c, "categories", name=name), r"1 categories without an id and a name .*number 1")
        for name in ("\ud800", "two\nlines", None)
    ),
    *(
        (
            lambda c, name=name: first(c, "images", file_name=name),
            r"1 photos whose names or links lead out of .*train2017 \(",
        )
        for name in ("/etc/passwd", "../val2017/0500.jpg", "link.jpg", "a/../../annotations/instances_val2017.json")
    ),
    (lambda c: first(c, "images", file_name="./0101.jpg"), r"1 photos that are listed twice \(0101.jpg\)"),
    (lambda c: c.update(categories=None), "has no list of categories"),
    (lambda c: first(c, "annotations", category_id="x" * 5000), "1 annotations of a category that is not listed"),
    (lambda c: c["images"].append([[]]), "has no list of images"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG)
def test_what_is_fatal_is_said_in_one_sentence(root: Path, change: Callable[[dict[str, Any]], object], sentence: str):
    (root / "train2017" / "link.jpg").symlink_to("../val2017/0500.jpg")
    coco_set.edit(train_json(root), change)
    with pytest.raises(UserError, match=sentence) as caught:
        load_splits(config(root))
    said = str(caught.value)
    assert said.isprintable() and len(said) < 1000


def test_several_problems_are_counted_with_their_first_examples(root: Path):
    def change(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation["category_id"] = 5
        content["images"].append(content["images"][0])

    coco_set.edit(train_json(root), change)
    with pytest.raises(UserError, match=r"1 image ids .*\(100\); 12 annotations .*1000.*1002: category 5, …\)"):
        load_splits(config(root))


def test_what_is_harmless_is_a_warning(root: Path, caplog: pytest.LogCaptureFixture):
    def change(content: dict[str, Any]) -> None:
        one, two, three, four, *_ = content["annotations"]
        one["bbox"] = [20, 20, 4, 40]
        two["bbox"] = [3, 3, 0, 5]
        three["segmentation"] = [[1, 1, 5, 5]]
        four["image_id"] = 9999

    coco_set.edit(train_json(root), change)
    with caplog.at_level(logging.WARNING):
        index = load_splits(config(root, val_fraction=0.0))["train"]
    (line,) = caplog.messages
    for words in (
        "1 annotations of images that are not listed, ignored (annotation 1003: image 9999)",
        "1 boxes without an area, left out (annotation 1001: [3, 3, 0, 5])",
        "1 boxes that reach out of their image, cut at its edge (annotation 1000",
        "1 empty or degenerate outlines, which give no mask (annotation 1002)",
    ):
        assert words in line
    assert sum(len(index.annotations(i)) for i in range(len(index))) == 10


def test_boxes_by_their_corners_are_suspected(root: Path):
    found = read_annotations(train_json(root))
    for annotation in found["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [x, y, x + w, y + h]
    report = check_annotations(found, folder=root / "train2017")
    assert not report.fatal and "are they [x, y, width, height]?" in report.harmless[0]


def test_no_json_no_folder_no_file(root: Path):
    train_json(root).write_text("not annotations at all")
    with pytest.raises(UserError, match=r"instances_train2017.json: no JSON file, so no COCO annotations"):
        load_splits(config(root))
    train_json(root).write_bytes(b"\xff\xd8\xff\xe0 a photo")
    with pytest.raises(UserError, match="no JSON file"):
        load_splits(config(root))
    train_json(root).write_text(" \n")
    with pytest.raises(UserError, match=r"instances_train2017.json: is empty; the annotations"):
        load_splits(config(root))
    train_json(root).write_text("[" * 200_000)
    with pytest.raises(UserError, match="no JSON file"):
        load_splits(config(root))
    train_json(root).write_text("[]")
    with pytest.raises(UserError, match="holds a list, .* are these results"):
        load_splits(config(root))
    train_json(root).unlink()
    with pytest.raises(UserError, match=r"instances_train2017.json: no such file; .*data.root"):
        hash_content(config(root))
    with pytest.raises(UserError, match=r"absent.*no such file"):
        hash_content(config(root / "absent"))


def test_a_truncated_photo_among_many_is_named_or_skipped(root: Path, caplog: pytest.LogCaptureFixture):
    victim = root / "train2017" / "0102.jpg"
    victim.write_bytes(victim.read_bytes()[:-200])
    (root / "train2017" / "0105.jpg").unlink()
    coco_set.edit(train_json(root), lambda c: c["images"].pop(5))
    index = load_splits(config(root, val_fraction=0.0))["train"]
    with pytest.raises(UserError, match=r"0102.jpg: cannot be read \(.*truncated.*\); .* data.skip_unreadable=true"):
        index.load(2)
    caplog.clear()
    index = load_splits(config(root, val_fraction=0.0, skip_unreadable=True))["train"]
    assert 102 not in [image.id for image in index.images] and len(index) == 10
    assert "1 unreadable or missing images are left out" in caplog.text
    (root / "train2017" / "0101.jpg").unlink()
    assert len(load_splits(config(root, val_fraction=0.0, skip_unreadable=True))["train"]) == 9
    assert "2 unreadable or missing images are left out" in caplog.text


def test_masks_asked_of_data_with_boxes_only(root: Path):
    def change(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation["segmentation"] = []

    coco_set.edit(train_json(root), change)
    index = load_splits(config(root, val_fraction=0.0))["train"]
    index.require_boxes()
    with pytest.raises(UserError, match="its 12 annotations have boxes only, no segmentation; use task=detection"):
        index.require_masks()
    coco_set.edit(train_json(root), lambda c: c["annotations"][0].pop("bbox"))
    with pytest.raises(UserError, match="annotations without a bbox"):
        load_splits(config(root, val_fraction=0.0))["train"].require_boxes()


def test_what_of_a_segmentation_gives_a_mask():
    triangle = [0, 0, 4, 0, 0, 4]
    assert select_segmentation({"segmentation": [triangle, [1, 1, 2, 2], [0, 0, 1, 0, 2, 0]]}) == [triangle]
    assert select_segmentation({"segmentation": {"counts": "x", "size": [3, 3]}}) == {"counts": "x", "size": [3, 3]}
    for nothing in (
        [],
        None,
        [[]],
        [["0"] * 6],
        [[0, 0, 4, 0, 0, float("nan")]],
        [[0, 0, 5, 5]],
        {"counts": "x"},
        "text",
        triangle,
    ):
        assert select_segmentation({"segmentation": nothing}) is None


@pytest.mark.skipif(not SHARED_DATA.exists(), reason=f"the real photos are not at {SHARED_DATA}")
def test_real_photos(tmp_path: Path):
    subprocess.run([sys.executable, SHARED_DATA / "unpack.py", tmp_path, "coco"], check=True, capture_output=True)
    splits = load_splits(config(tmp_path, val_fraction=0.2))
    assert {split: len(index) for split, index in splits.items()} == {"train": 64, "val": 16, "test": 57}
    both = torch.cat([splits["train"].presence, splits["val"].presence])
    assert int(both.any(dim=0).sum()) == 67 and int(splits["test"].presence.any(dim=0).sum()) == 60
    assert splits["train"].category_ids[-1] == 90 and splits["train"].classes[0] == "person"
    objects = [a for index in splits.values() for i in range(len(index)) for a in index.annotations(i)]
    assert (len(objects), sum(a["iscrowd"] for a in objects)) == (770 + 517, 16)
    assert splits["train"].load(0).shape == (3, splits["train"].images[0].height, splits["train"].images[0].width)
    splits["test"].require_masks()
    assert len(splits["test"].to_coco().anns) == 517
