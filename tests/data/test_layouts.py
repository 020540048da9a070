"""Your own pictures in the layouts that people have: class folders, named splits, tables, zips; groups stay whole."""

import csv
import logging
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.config.data import Folder
from src.data.build import build_data, describe_data_changes, find_photo_folders, fingerprint, list_photo_names
from src.data.cut import hold_out_groups
from src.data.photos.layout import list_pictures
from src.data.photos.look import look_at_photos
from src.errors import UserError


def save(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), (value % 256, 2 * value % 256, 255 - value % 256)).save(path)


def config(root: Path, **options) -> Folder:
    return Folder(**{"root": str(root), "batch_size": 4, "image_size": 8} | options)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Two classes of 20 pictures of four patients each, without splits."""
    for k, name in enumerate(("cat", "dog")):
        for i in range(20):
            save(tmp_path / "set" / name / f"p{i // 5}_{i}.png", 10 * i + k)
    return tmp_path / "set"


def names_of(root: Path, **options) -> dict[str, set[str]]:
    listing = list_pictures(config(root, **options))
    return {split: {path for path, _ in listing.files(split)} for split in listing.splits}


def test_class_folders_are_cut_by_class_and_seed(flat: Path, caplog: pytest.LogCaptureFixture) -> None:
    (flat / "__MACOSX").mkdir()
    (flat / ".cache").mkdir()
    (flat / "docs").mkdir()
    (flat / "labels.csv").write_text("x")
    with caplog.at_level(logging.WARNING):
        data = build_data(config(flat), seed=0)
    assert data.sizes == {"train": 29, "val": 3, "test": 8}
    for named in ("__MACOSX", ".cache", "docs", "labels.csv"):
        assert named in caplog.text
    splits = names_of(flat)
    assert not splits["train"] & splits["test"]
    assert sorted(path.split("/")[0] for path in splits["test"]) == ["cat"] * 4 + ["dog"] * 4
    assert names_of(flat) == splits and names_of(flat, split_seed=1) != splits
    assert len(names_of(flat, test_fraction=0.5)["test"]) == 20


def test_the_cut_leaves_the_fingerprint_and_the_record_names_each_picture(flat: Path) -> None:
    one = config(flat)
    data = build_data(one, seed=0)
    photos = look_at_photos(data.list_photos(), find_photo_folders(one))
    assert {photo.name for photo in photos} == set(list_photo_names(one) or ())
    before = fingerprint(one)
    save(flat / "cat" / "p9_99.png")
    assert fingerprint(one) != before
    told = describe_data_changes(one, photos, before=before, now=fingerprint(one))
    assert told == "photos: 1 added, the first data/cat/p9_99.png"


@pytest.mark.parametrize("valid", ["valid", "validation", "val"])
@pytest.mark.parametrize("test", [True, False])
def test_split_folders_have_the_usual_names(flat: Path, valid: str, test: bool) -> None:
    for k, name in enumerate(["train", valid, *["test"] * test]):
        shutil.copytree(flat, flat.parent / "split" / name)
        for extra in sorted((flat.parent / "split" / name).rglob("*.png"))[: 3 * k]:
            extra.unlink()
    data = build_data(config(flat.parent / "split"), seed=0)
    assert data.sizes == ({"train": 40, "val": 37, "test": 34} if test else {"train": 36, "val": 4, "test": 37})
    assert find_photo_folders(config(flat.parent / "split"))[valid] == flat.parent / "split" / valid


def test_a_class_may_be_called_train(flat: Path) -> None:
    (flat / "dog").rename(flat / "train")
    assert list_pictures(config(flat)).classes == ("cat", "train")


def test_one_folder_inside_another_is_found(flat: Path) -> None:
    outer = flat.parent / "outer"
    (outer / "download").mkdir(parents=True)
    shutil.move(flat, outer / "download" / "pets")
    assert list_pictures(config(outer)).root == outer / "download" / "pets"


def write_table(path: Path, rows: list[tuple[str, ...]], separator: str = ",") -> str:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    return str(path)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_names_paths_labels_and_groups(flat: Path, separator: str) -> None:
    rows = [("image_id", "diagnosis", "patient")]
    for path in sorted(flat.rglob("*.png")):
        name = path.relative_to(flat).with_suffix("").as_posix()
        rows.append((name, "ill" if "cat" in name else "well", name.split("/")[0] + name.split("/")[1].split("_")[0]))
    one = config(flat, table=write_table(flat.parent / "t.csv", rows, separator), group="patient", test_fraction=0.25)
    listing = list_pictures(one)
    assert listing.classes == ("ill", "well")
    patients = {split: {listing.groups[path] for path, _ in listing.files(split)} for split in listing.splits}
    assert len(patients["test"]) == 2 and not patients["test"] & patients["train"]
    data = build_data(one, seed=0)
    assert sum(data.sizes.values()) == 40
    before = fingerprint(one)
    rows[1] = (rows[1][0], "well", rows[1][2])
    write_table(flat.parent / "t.csv", rows, separator)
    assert fingerprint(one) != before, "another label is another set"


def test_a_table_may_name_the_splits(flat: Path) -> None:
    rows = [("path", "label", "split")]
    for i, path in enumerate(sorted(flat.rglob("*.png"))):
        rows.append((path.relative_to(flat).as_posix(), path.parent.name, ("train", "valid", "test")[i % 3]))
    one = config(flat, table=write_table(flat / "t.csv", rows))
    assert build_data(one, seed=0).sizes == {"train": 14, "val": 13, "test": 13}


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([("path", "label"), ("cat/p0_0.png", "a"), ("no.png", "b")], {}, "no.png: no such picture"),
        ([("path", "label"), ("../x.png", "a"), ("cat/p0_0.png", "b")], {}, "leads out of"),
        ([("path", "label"), ("cat/p0_0.png", "a"), ("cat/p0_0.png", "b")], {}, "twice"),
        ([("path", "label"), ("cat/p0_0.png", "a")], {}, "has 1 label"),
        ([("path", "label"), ("cat/p0_0.png", "")], {}, "line 2 has no label"),
        ([("path", "label"), ("cat/p0_0.png",)], {}, "line 2 has 1 values, not 2"),
        ([("path", "x"), ("cat/p0_0.png", "a")], {}, "none of its columns .path, x. is called label"),
        ([("path", "label"), ("cat/p0_0.png", "a")], {"label_column": "kind"}, "no such column; it has: path, label"),
        ([("path", "label"), ("cat/p0_0.png", "a")], {"group": "patient"}, "data.group=patient: .* no such column"),
        ([("path", "label", "split"), ("cat/p0_0.png", "a", "1")], {}, "train, val or test is needed"),
        ([("path", "label")], {}, "no rows"),
    ],
)
def test_a_wrong_table_is_one_sentence(flat: Path, rows, options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        list_pictures(config(flat, table=write_table(flat / "t.csv", rows), **options))
    assert "\n" not in str(error.value)


def test_parquet_is_read_where_it_can_be(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UserError, match="parquet needs pandas and pyarrow"):
        list_pictures(config(flat, table=write_table(flat / "t.parquet", [("x",)])))


def test_groups_by_a_pattern_stay_in_one_split(flat: Path) -> None:
    one = config(flat, group=r"(p\d+)_", test_fraction=0.3, val_fraction=0.3)
    data = build_data(one, seed=0)
    photos = {
        split: {Path(path).name.split("_")[0] for path in files.paths} for split, files in data.list_photos().items()
    }
    assert all(photos.values()) and len(photos["train"] | photos["val"] | photos["test"]) == 4
    assert sum(map(len, photos.values())) == 4, "no patient is in two splits"
    with pytest.raises(UserError, match="does not match the path cat/p0_0"):
        list_pictures(config(flat, group="patient"))
    with pytest.raises(UserError, match="no regular expression"):
        config(flat, group="(")
    with pytest.raises(UserError, match="too few, or too large"):
        list_pictures(config(flat, group="/p"))
    shutil.copytree(flat, flat.parent / "own" / "train")
    shutil.copytree(flat, flat.parent / "own" / "test")
    with pytest.raises(UserError, match="the group 'p0' lies in train and in test"):
        list_pictures(config(flat.parent / "own", group=r"(p\d+)_"))


def test_groups_of_any_size_are_cut_near_the_fraction() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), random.integers(1, 30, 60))
    labels = (groups % 3).astype(np.int64)
    kept, held = hold_out_groups(labels, groups.tolist(), 0.2, 0)
    assert not set(groups[kept]) & set(groups[held])
    assert abs(len(held) / len(labels) - 0.2) < 0.03
    shares = np.bincount(labels[held]) / np.bincount(labels)
    assert (abs(shares - 0.2) < 0.1).all()


def pack(folder: Path, target: Path, extra: dict[str, bytes] | None = None) -> str:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, f"pets/{path.relative_to(folder)}")
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return str(target)


def test_a_zip_is_unpacked_once(flat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = pack(flat, tmp_path / "pets.zip", {"__MACOSX/pets/._x.png": b"x"})
    one = config(Path(root), cache=str(tmp_path / "cache"))
    assert build_data(one, seed=0).sizes == {"train": 29, "val": 3, "test": 8}
    said = capsys.readouterr().err
    assert said.count("Unpacking") == 1 and "left out: 1 hidden (__MACOSX/pets/._x.png)" in said
    assert fingerprint(one) == fingerprint(config(flat)), "packed or not, it is the same set"
    assert [path.name.startswith("pets-") for path in (tmp_path / "cache").iterdir()] == [True]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"../out.png": b"x"}, "leads out of it"),
        ({"/abs.png": b"x"}, "leads out of it"),
        ({"C:/x.png": b"x"}, "leads out of it"),
        ({"zeros.png": b"\0" * (1 << 24)}, "as no pictures do"),
    ],
)
def test_an_unsafe_zip_is_refused(flat: Path, tmp_path: Path, monkeypatch, spoil: dict, words: str) -> None:
    monkeypatch.setattr("src.data.unpack.FREE_GROWTH", 1 << 20)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in spoil.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match=words):
        list_pictures(config(tmp_path / "x.zip", cache=str(tmp_path / "cache")))
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())


def test_a_damaged_zip_and_one_with_links_are_refused(flat: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    whole = Path(pack(flat, tmp_path / "whole.zip")).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[200] ^= 255
    (tmp_path / "flipped.zip").write_bytes(bytes(flipped))
    for name in ("cut.zip", "flipped.zip"):
        with pytest.raises(UserError, match="cannot be unpacked"):
            list_pictures(config(tmp_path / name, cache=cache))
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        link = zipfile.ZipInfo("a.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="is a link"):
        list_pictures(config(tmp_path / "link.zip", cache=cache))
    assert not list(Path(cache).glob("*"))


def test_wrong_class_folders_are_one_sentence(flat: Path) -> None:
    shutil.rmtree(flat / "dog")
    with pytest.raises(UserError, match="1 class folders with pictures, and no folder train"):
        list_pictures(config(flat))
    save(flat / "rat" / "0.png")
    with pytest.raises(UserError, match="no picture of rat is left to train on"):
        list_pictures(config(flat, test_fraction=0.6))


def test_many_pictures_are_decoded_while_training(flat: Path) -> None:
    streamed = build_data(config(flat, decode="while_training", augment="imagenet_v1", workers=0), seed=0)
    assert streamed.sizes == {"train": 29, "val": 3, "test": 8}
    images, _ = next(iter(streamed.train_loader()))
    assert images.shape == (4, 3, 8, 8)
    grey = build_data(config(flat, decode="while_training", augment="none", channels=1, workers=0), seed=0)
    assert next(iter(grey.eval_loader("test")))[0].shape == (8, 1, 8, 8)


@pytest.mark.parametrize("decode", ["once", "while_training"])
def test_the_sampler_evens_the_classes(flat: Path, decode: str) -> None:
    for path in sorted((flat / "dog").iterdir())[:15]:
        path.unlink()
    augment = "none"
    options = {"decode": decode, "augment": augment, "batch_size": 10, "workers": 0}
    for balance, fewest in (("none", 0.0), ("sampler", 0.35)):
        data = build_data(config(flat, balance=balance, **options), seed=0)
        labels = np.concatenate([batch[1].numpy() for epoch in range(40) for batch in data.train_loader(epoch=epoch)])
        assert (labels.mean() > fewest) and (balance == "sampler" or labels.mean() < 0.3)
