"""What a walk over class folders reads, what it leaves out and says so, and which names it refuses."""

import logging
import os
from pathlib import Path

import pytest
from PIL import Image

from src import pack
from src.config.data import Folder, ImageNet
from src.data.photos.formats import list_suffixes
from src.data.photos.listing import scan
from src.data.sets.folder import load_folder
from src.data.sets.imagenet import find_splits
from src.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes with two images each in train and in test."""
    for split in ("train", "test"):
        for k, name in enumerate(("cat", "dog")):
            for i in range(2):
                path = tmp_path / "set" / split / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (100 * k, 50 * i, 0)).save(path)
    return tmp_path / "set"


def test_any_suffix_of_a_picture_is_read(root: Path) -> None:
    folder = root / "train" / "cat"
    for suffix, form in ((".jfif", "JPEG"), (".JP2", "JPEG2000"), (".tga", "TGA"), (".pnm", "PPM"), (".apng", "PNG")):
        Image.new("RGB", (8, 8)).save(folder / f"more{suffix}", form)
    listing = scan(str(root))
    assert len(listing.splits["train"]["cat"]) == 7 and listing.left_out == ""
    assert load_folder(Folder(root=str(root), image_size=8, channels=3)).train.images.shape[0] == 9
    # what Pillow only writes, cannot decode by itself, or decodes by starting another program
    assert not {".pdf", ".h5", ".mpg", ".eps", ".ps", ".wmf", ".txt", ""} & list_suffixes()


def test_what_is_left_out_is_named_and_counted(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cat, outside = root / "train" / "cat", tmp_path / "outside"
    for folder in (cat / ".ipynb_checkpoints", root / "train" / "__MACOSX", root / "train" / ".cache", outside):
        folder.mkdir()
        Image.new("RGB", (8, 8)).save(folder / "0-checkpoint.png")
    (cat / "._0.png").write_bytes(b"")
    for name in ("Thumbs.db", "notes.txt", "more.txt"):
        (cat / name).write_bytes(b"")
    os.mkfifo(cat / "pipe.png")
    (root / "train" / "readme.md").write_bytes(b"")
    (cat / "deeper").mkdir()
    Image.new("RGB", (8, 8)).save(cat / "deeper" / "2.png")
    (cat / "same.png").symlink_to("../dog/0.png")  # a link inside of the root is read
    (cat / "out.png").symlink_to(outside / "0-checkpoint.png")
    (cat / "gone.png").symlink_to("nowhere.png")
    (cat / "ring").symlink_to("..")
    (root / "train" / "all").symlink_to(".")
    (root / "train" / "away").symlink_to(outside)
    listing = scan(str(root))
    assert [path.removeprefix("train/cat/") for path in listing.splits["train"]["cat"]] == [
        *("0.png", "1.png", "deeper/2.png", "same.png")
    ]
    for words in (
        *(
            "4 hidden (",
            "5 links that lead nowhere, out of data.root or to a folder (",
            "4 files that are no pictures (.txt ",
        ),
        *("1 files beside the class folders (train/readme.md)", ".ipynb_checkpoints", "._0.png", "__MACOSX", ".cache"),
        *(".db", "train/all", "train/away", "train/cat/out.png", "train/cat/gone.png", "train/cat/ring"),
    ):
        assert words in listing.left_out
    with caplog.at_level(logging.WARNING):
        raw = load_folder(Folder(root=str(root), image_size=8, channels=3))
        find_splits(ImageNet(root=str(root)))
        pack.pack(pack.Settings("folder", str(root), str(tmp_path / "out"), workers=1))
    assert len(raw.train.labels) == 6 and raw.info.classes == ("cat", "dog")
    assert caplog.messages == [f"{root}: {listing.left_out}"] * 3
    assert scan(str(tmp_path / "out")).left_out == ""


def test_a_class_folder_may_be_a_link_inside_of_the_root(root: Path) -> None:
    (root / "pool").mkdir()
    (root / "train" / "dog").rename(root / "pool" / "dog")
    (root / "train" / "dog").symlink_to("../pool/dog")
    assert len(scan(str(root)).splits["train"]["dog"]) == 2


@pytest.mark.parametrize("make", [lambda top: Folder(root=top), lambda top: ImageNet(root=top)])
def test_names_and_empty_classes_are_one_sentence(root: Path, tmp_path: Path, make) -> None:
    from src.data.build import fingerprint

    strange = os.fsencode(root / "train") + b"/caf\xe9"
    os.rename(root / "train" / "cat", strange)
    with pytest.raises(UserError, match=r"train: the name of the class folder 'caf\\udce9' is no UTF-8; rename it"):
        fingerprint(make(str(root)))
    os.rename(strange, root / "train" / "cat")
    for i in range(2):
        (root / "train" / "cat" / f"{i}.png").rename(tmp_path / f"{i}.png")
        (root / "train" / "cat" / f"{i}.png").symlink_to(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match=r"cat: this class has no images \(left out: 2 links that lead nowhere, out of"):
        fingerprint(make(str(root)))
