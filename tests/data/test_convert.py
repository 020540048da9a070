"""Boxes in Pascal VOC's and YOLO's formats, and Roboflow's exports, become COCO's; hostile files are refused."""

import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from src.config.data import Coco
from src.data.build import build_data, fingerprint
from src.data.coco.files import locate_files
from src.data.coco.voc import parse_xml
from src.errors import UserError

SIZE = (40, 30)


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, (90, 90, 90)).save(path)
    return path


def config(root: Path, tmp_path: Path, **options) -> Coco:
    return Coco(**{"root": str(root), "cache": str(tmp_path / "cache"), "batch_size": 2, "workers": 0} | options)


def write_xml(path: Path, picture: str, objects: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><filename>{picture}</filename>{objects}</annotation>")


OBJECT = "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>5</xmin><ymin>3</ymin><xmax>14</xmax>"
OBJECT += "<ymax>22</ymax></bndbox></object>"


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "voc"
    for i in range(10):
        save(root / "JPEGImages" / f"{i:03}.png")
        objects = OBJECT.format("cat", 0) + (OBJECT.format("dog", int(i == 1)) if i % 2 else "")
        write_xml(root / "Annotations" / f"{i:03}.xml", f"{i:03}.png", objects)
    return root


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    root = tmp_path / "yolo"
    for split, count in (("train", 6), ("valid", 2), ("test", 3)):
        for i in range(count):
            save(root / split / "images" / f"{split}{i}.png")
            labels = root / split / "labels" / f"{split}{i}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text("1 0.5 0.5 0.25 0.4\n0 0.1 0.1 0.5 0.1 0.5 0.6\n" if i else "")
    (root / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n")
    return root


def read(config: Coco, split: str) -> dict:
    return json.loads(locate_files(config)[split].json.read_text())


def test_pascal_voc_is_cut_and_its_boxes_count_from_zero(
    voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = config(voc, tmp_path)
    content = read(one, "train")
    assert [c["name"] for c in content["categories"]] == ["cat", "dog"]
    assert content["annotations"][0]["bbox"] == [4, 2, 10, 20]
    said = capsys.readouterr().err
    assert "Converted Pascal VOC" in said and "the test is cut from all" in said and "1 difficult" in said
    assert len(content["images"]) + len(read(one, "test")["images"]) == 10
    assert capsys.readouterr().err == "", "once"
    assert build_data(config(voc, tmp_path, val_fraction=0.25), target="boxes", seed=0).sizes == {
        "train": 6,
        "val": 2,
        "test": 2,
    }
    crowds = sum(a["iscrowd"] for split in ("train", "test") for a in read(one, split)["annotations"])
    assert crowds == 1


def test_the_lists_of_pascal_voc_are_its_splits(voc: Path, tmp_path: Path) -> None:
    for name, numbers in (("train", range(5)), ("val", range(5, 7)), ("test", range(7, 9))):
        path = voc / "ImageSets" / "Main" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{i:03}\n" for i in numbers))
    found = {split: len(read(config(voc, tmp_path), split)["images"]) for split in ("train", "val", "test")}
    assert found == {"train": 5, "val": 2, "test": 2}


def test_yolo_has_boxes_polygons_and_empty_pictures(yolo: Path, tmp_path: Path) -> None:
    one = config(yolo, tmp_path)
    content = read(one, "train")
    assert [c["name"] for c in content["categories"]] == ["cat", "dog"]
    assert len(content["images"]) == 6 and len(content["annotations"]) == 10
    box, polygon = content["annotations"][:2]
    assert box["bbox"] == [15, 9, 10, 12] and "segmentation" not in box
    assert polygon["bbox"] == [4, 3, 16, 15] and polygon["segmentation"] == [[4, 3, 20, 3, 20, 18]]
    assert build_data(one, target="boxes", seed=0).sizes == {"train": 5, "val": 2, "test": 3}, "one is empty"


def test_a_change_converts_again_and_a_zip_is_the_same_set(yolo: Path, tmp_path: Path) -> None:
    before = fingerprint(config(yolo, tmp_path))
    with zipfile.ZipFile(tmp_path / "yolo.zip", "w") as archive:
        for path in sorted(yolo.rglob("*")):
            if path.is_file():
                archive.write(path, f"yolo/{path.relative_to(yolo)}")
    assert fingerprint(config(tmp_path / "yolo.zip", tmp_path)) == before
    (yolo / "train" / "labels" / "train1.txt").write_text("0 0.5 0.5 0.25 0.4\n")
    assert fingerprint(config(yolo, tmp_path)) != before


def test_an_export_of_roboflow_is_read_as_it_is(yolo: Path, tmp_path: Path) -> None:
    found = locate_files(config(yolo, tmp_path))
    root = tmp_path / "export"
    for split, name in (("train", "train"), ("val", "valid")):
        content = json.loads(found[split].json.read_text())
        for image in content["images"]:
            save(root / name / Path(image["file_name"]).name)
            image["file_name"] = Path(image["file_name"]).name
        (root / name / "_annotations.coco.json").write_text(json.dumps(content))
    assert set(locate_files(config(root, tmp_path))) == {"train", "test"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x 0.5 0.5 0.2 0.2", "not numbers"),
        ("0 0.5 0.5 0.2", "four fractions, or a polygon"),
        ("2 0.5 0.5 0.2 0.2", "class 2, but there are 2 names"),
        ("0.5 0.5 0.5 0.2 0.2", "four fractions"),
        ("0 20 15 10 12", "no fractions of a picture"),
        ("0 nan 0.5 0.2 0.2", "four fractions"),
    ],
)
def test_a_wrong_line_of_yolo_is_one_sentence(yolo: Path, tmp_path: Path, line: str, words: str) -> None:
    (yolo / "train" / "labels" / "train1.txt").write_text(f"{line}\n")
    with pytest.raises(UserError, match=f"train1.txt: line 1.*{words}") as error:
        locate_files(config(yolo, tmp_path))
    assert "\n" not in str(error.value)


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BOMB.encode(), "has a DOCTYPE"),
        (BOMB.encode("utf-16"), "not UTF-8"),
        (b'<!doctype x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>', "has a DOCTYPE"),
        (b"<annotation><object>", "is no XML file"),
        (b"<annotation>" + b" " * (5 << 20) + b"</annotation>", "too large"),
    ],
)
def test_hostile_xml_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.xml").write_bytes(content)
    with pytest.raises(UserError, match=words):
        parse_xml(tmp_path / "x.xml")


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ("<object><name>cat</name></object>", "no box of four numbers"),
        (OBJECT.format("", 0), "an object has no name"),
        (OBJECT.format("cat", 0).replace("<xmin>5", "<xmin>left"), "no box of four numbers"),
    ],
)
def test_a_wrong_object_of_pascal_voc_is_one_sentence(voc: Path, tmp_path: Path, objects: str, words: str) -> None:
    write_xml(voc / "Annotations" / "000.xml", "000.png", objects)
    with pytest.raises(UserError, match=words):
        locate_files(config(voc, tmp_path))


def test_a_picture_that_is_missing_is_named(voc: Path, tmp_path: Path) -> None:
    (voc / "JPEGImages" / "003.png").unlink()
    with pytest.raises(UserError, match="003.xml: its picture 003.png is not in"):
        locate_files(config(voc, tmp_path))


def test_a_folder_of_nothing_known_keeps_its_sentence(tmp_path: Path) -> None:
    save(tmp_path / "set" / "a.png")
    with pytest.raises(UserError, match="instances_train2017.json: no such file"):
        locate_files(config(tmp_path / "set", tmp_path))
