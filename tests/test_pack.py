"""``python -m src.pack``: resized copies that train like the original, resumed after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT, environment
from PIL import Image

from src import pack
from src.config.data import ImageNet
from src.data.build import build_data
from src.data.photos.listing import scan
from src.data.photos.look import look_at_photos
from src.data.photos.reader import find_readable, open_image, read_photo
from src.data.photos.seal import LENGTH, seal
from src.data.raw import PhotoFiles
from src.errors import UserError
from src.pack import Settings, parse_settings


def photo(path: Path, size: tuple[int, int] = (60, 40), mode: str = "RGB", **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(len(path.name)).randint(256, size=(4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of six training and two val photos: large, small, grey, and in another format."""
    for split, count in (("train", 6), ("val", 2)):
        for name in ("cat", "dog"):
            for i in range(count):
                photo(tmp_path / "set" / split / name / f"{i}.JPEG", (60 - i, 40 + i))
    photo(tmp_path / "set" / "train" / "cat" / "small.jpg", (20, 10))
    photo(tmp_path / "set" / "train" / "cat" / "grey.jpg", (40, 80), "L")
    photo(tmp_path / "set" / "train" / "dog" / "0.png", (90, 60), "RGBA")
    return tmp_path / "set"


def settings(place: Path, **options: Any) -> Settings:
    common = {"data": "imagenet", "root": str(place), "out": str(place.parent / "out"), "size": 24, "workers": 1}
    return Settings(**common | options)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name[0] != "."}


@pytest.mark.parametrize("form", ["jpeg", "ppm"])
def test_the_copy_has_the_layout_and_trains_like_the_original(root: Path, form: str) -> None:
    facts = pack.pack(settings(root, format=form))
    out = root.parent / "out"
    assert (facts["files"], facts["whole"]) == (19, True)
    assert facts["bytes_before"] == sum(path.stat().st_size for path in root.rglob("*.*") if path.is_file())
    assert json.loads((out / "pack.json").read_text()) == facts
    ending = ".ppm" if form == "ppm" else ""
    kept = {name: read_photo(out / f"{name}{ending}") for name in ("train/cat/0.JPEG", "train/cat/grey.jpg")}
    assert [tuple(pixels.shape) for pixels in kept.values()] == [(3, 24, 36), (3, 48, 24)]
    assert (out / ("train/dog/0.png" + (".ppm" if form == "ppm" else ".jpg"))).exists()
    if form == "jpeg":
        small = "train/cat/small.jpg"
        assert (out / small).read_bytes() == seal((root / small).read_bytes()), "small enough: not encoded once more"
    with Image.open(root / "train" / "cat" / "0.JPEG") as file:
        expected = np.asarray(file.resize((36, 24), Image.Resampling.BICUBIC)).astype(int)
    found = kept["train/cat/0.JPEG"].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).mean() < (5 if form == "jpeg" else 1e-9)
    common = {"name": "imagenet", "augment": "imagenet_v1", "batch_size": 4, "image_size": 16, "workers": 0}
    data = [build_data(ImageNet(root=str(place), **common), seed=0) for place in (root, out)]
    assert data[0].sizes == data[1].sizes
    assert data[0].info == data[1].info
    labels = [[labels.tolist() for _, labels in part.train_loader()] for part in data]
    assert labels[0] == labels[1], "the same order of the same photos"


def test_several_processes_write_the_same_files(root: Path) -> None:
    pack.pack(settings(root))
    pack.pack(settings(root, out=str(root.parent / "other"), workers=2))
    assert files(root.parent / "out") == files(root.parent / "other")


def test_a_killed_pack_goes_on_where_it_stopped(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = root.parent / "out"
    whole = pack.pack(settings(root, out=str(root.parent / "whole")))
    for i in range(300):
        photo(root / "train" / "cat" / f"more{i}.JPEG", (300, 200))
    program = [sys.executable, "-m", "src.pack", "data=imagenet", f"data.root={root}", f"out={out}", "size=24"]
    process = subprocess.Popen(
        [*program, "workers=2"], cwd=ROOT, env=environment(), stderr=subprocess.PIPE, start_new_session=True
    )
    while len(list(out.rglob("*.JPEG"))) < 10:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.JPEG") if path.name[0] != "."}
    assert 10 <= len(before) < 300
    assert "whole" not in json.loads((out / "pack.json").read_text())
    (empty := next(iter(before))).write_bytes(b"")  # as a crash of the machine may leave it
    facts = pack.pack(settings(root))
    assert facts["files"] == whole["files"] + 300
    assert empty.stat().st_size > 0
    assert all(path.stat().st_mtime_ns == at for path, at in before.items() if path != empty), "not done again"
    assert not list(out.rglob("*.tmp"))
    again = files(out)
    assert pack.pack(settings(root)) == facts
    assert "is packed already" in capsys.readouterr().err
    assert files(out) == again


def test_unreadable_photos_are_listed_and_may_be_left_out(root: Path) -> None:
    bad = root / "train" / "dog" / "3.JPEG"
    bad.write_bytes(bad.read_bytes()[:-60])
    (root / "train" / "cat" / "text.jpg").write_text("no photo")
    with pytest.raises(UserError) as error:
        pack.pack(settings(root))
    lines = str(error.value).splitlines()
    assert "2 unreadable images (data.skip_unreadable=true leaves them out)" in lines[0]
    assert [line.strip().split(":")[0] for line in lines[1:]] == ["train/cat/text.jpg", "train/dog/3.JPEG"]
    facts = pack.pack(settings(root, skip_unreadable=True))
    assert facts["files"] == 18
    assert not (root.parent / "out" / "train" / "dog" / "3.JPEG").exists()


def test_no_copy_takes_the_name_of_another(root: Path) -> None:
    cat = root / "train" / "cat"
    names = ["7.png", "7.png.jpg", "7.png.jpg.jpg", "8.png.jpg/1.png", "8.png", "9.jfif", "x" * 247 + ".jpg"]
    names += ["a b=c,'d'.gif", os.fsdecode(b"caf\xe9.png"), "#&?.webp"]
    for k, name in enumerate(names):
        (cat / name).parent.mkdir(exist_ok=True)
        kind = {".gif": "gif", ".png": "png", ".webp": "webp"}.get(Path(name).suffix, "jpeg")
        Image.new("RGB", (30, 30), (20 * k, 0, 0)).save(cat / name, kind)
    for form in pack.FORMATS:
        out = root.parent / form
        facts = pack.pack(settings(root, out=str(out), format=form, workers=2))
        assert facts["files"] == 29 == sum(len(images) for images in scan(str(out)).splits["train"].values()) + 4
        copies = [path for path in (out / "train" / "cat").glob("[7-9]*") if path.is_file()]
        reds = sorted(float(read_photo(path)[0].float().mean()) for path in copies)
        assert np.allclose(reds, [0, 20, 40, 80, 100], atol=2)
        if form == "jpeg":
            assert {path.name for path in copies} == {
                *("7.png.jpg", "7.png.jpg.jpg", "7.png.jpg.jpg.jpg", "8.png.jpg.jpg", "9.jfif")
            }
        pack.write_json(out / "pack.json", facts | {"whole": False})
        assert pack.pack(settings(root, out=str(out), format=form)) == facts, "nothing is taken for another's copy"


def test_a_damaged_copy_is_one_sentence(root: Path) -> None:
    out = root.parent / "out"
    facts = pack.pack(settings(root, format="ppm"))
    copy = next((out / "train" / "cat").glob("*.ppm"))
    copy.write_bytes(copy.read_bytes()[: -1 - LENGTH])
    with pytest.raises(UserError, match=r"ppm: cannot be read \(.*truncated.*data.skip_unreadable=true") as error:
        read_photo(copy)
    assert "\n" not in str(error.value)
    for note, words in (
        ("", "pack.json: is damaged; pack the set again, into a new folder"),
        ("[]", "pack.json: is damaged"),
        (json.dumps(facts | {"files": "many"}), "pack.json: is damaged"),
        (json.dumps(facts | {"whole": None}), "is a copy that src.pack has not finished; type its command again"),
    ):
        (out / "pack.json").write_text(note)
        with pytest.raises(UserError, match=words):
            scan(str(out))
        if "damaged" in words:
            with pytest.raises(UserError, match=words):
                pack.pack(settings(root, format="ppm"))
    (out / "pack.json").write_text('{"name": "a file of somebody else"}')
    assert scan(str(out)).classes == ("cat", "dog")


def test_a_full_disk_is_one_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(target: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device", str(target))

    with monkeypatch.context() as patch:
        patch.setattr(pack, "write_file", full)
        with pytest.raises(UserError, match="no space left on the device after 0 of 19 images; free some") as error:
            pack.pack(settings(root))
    assert "\n" not in str(error.value)
    assert pack.pack(settings(root))["files"] == 19


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"root": "{root}/absent"}, "absent: no such folder"),
        ({"root": "{root}/train"}, "has no folder train"),
        ({"out": "{root}/train/packed"}, "lies in data.root="),
        ({"out": "{root}"}, "lies in data.root="),
        ({"out": "{root}/.."}, "or around it"),
        ({"out": "{other}"}, "holds other files; choose a new folder"),
        ({"out": "{other}/file"}, "Not a directory|File exists"),
        ({"out": "{done}"}, "holds a set packed from other photos or otherwise"),
    ],
)
def test_wrong_folders_are_one_sentence(root: Path, options: dict, words: str) -> None:
    other, done = root.parent / "other", root.parent / "done"
    other.mkdir()
    (other / "file").write_text("mine")
    pack.pack(settings(root, out=str(done), size=16))
    before = files(root.parent)
    filled = {key: value.format(root=root, other=other, done=done) for key, value in options.items()}
    with pytest.raises(UserError, match=words) as error:
        pack.pack(settings(root, **filled))
    assert "\n" not in str(error.value)
    assert files(root.parent) == before
    assert not list(other.glob(".*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=imagenet", "data.root=a"], "out=… is needed"),
        (["data=imagenet", "out=a"], "data.root=… is needed"),
        (["data=coco", "data.root=a", "out=b"], "data=coco: only photos in class folders are packed: imagenet, folder"),
        (["data=imagenet", "data.root=a", "out=b", "size=big"], "size=big: a whole number above 0 is needed"),
        (["data=imagenet", "data.root=a", "out=b", "format=png"], "format=png: choose one of: jpeg, ppm"),
        (["data=imagenet", "data.root=a", "out=b", "data.skip_unreadable=1"], "true or false is needed"),
        (["data=imagenet", "data.root=a", "out=b", "quality=3"], "quality=3: no such setting; there are: data="),
    ],
)
def test_wrong_words_are_one_sentence(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        parse_settings(words)
    assert "\n" not in str(error.value)


def test_two_at_once_are_refused(root: Path) -> None:
    out = root.parent / "out"
    with (
        pack.lock_folder(out, pack.SETS["imagenet"](str(root)), settings(root)),
        pytest.raises(UserError, match="another process is packing into it"),
    ):
        pack.pack(settings(root))
    assert not list(out.iterdir())


def test_the_command_says_what_it_did(root: Path) -> None:
    words = ["data=folder", f"data.root={root}", f"out={root.parent / 'out'}", "size=24", "workers=1"]
    command = [sys.executable, "-m", "src.pack", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("19 images, 0 MiB, are 0 MiB in ")
    assert f"data=folder data.root={root.parent / 'out'}" in done.stdout
    failed = subprocess.run([*command, "size=0"], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert failed.returncode != 0


@pytest.mark.parametrize("form", ["jpeg", "ppm"])
def test_a_copy_that_has_changed_is_named(root: Path, form: str) -> None:
    pack.pack(settings(root, format=form))
    copies = sorted(path for path in (root.parent / "out" / "train").rglob("*") if path.is_file())
    for number, copy in enumerate(copies):
        content, at = bytearray(copy.read_bytes()), (number + 1) * (copy.stat().st_size - LENGTH) // (len(copies) + 1)
        content[at] ^= 1 << number % 8
        copy.write_bytes(content)
        with pytest.raises(Exception, match="changed since src.pack wrote it"):
            open_image(copy, "RGB")
    paths = list(map(str, copies))
    assert not find_readable(root, paths).any()

    def read_all() -> None:
        for copy in copies if form == "jpeg" else []:
            read_photo(copy)
        look_at_photos({"train": PhotoFiles(paths, lambda k: read_photo(copies[k]))}, {})

    with pytest.raises(UserError, match="changed since src.pack wrote it") as told:
        read_all()
    assert str(copies[0]) in str(told.value)
