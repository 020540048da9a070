"""A run and the data it was trained on: what has changed is seen before a number is wrong."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, compose
from PIL import Image

from src.data.build import describe_data_changes
from src.data.photos.manifest import (
    MANIFEST,
    Photo,
    digest_file,
    find_changes,
    find_others,
    read_manifest,
    write_manifest,
)
from src.errors import UserError
from src.evaluate import evaluate
from src.training.run import train

CLASSES = ("cat", "dog", "eel")


def draw(path: Path, kind: int, seed: int) -> None:
    """A picture of noise, with a colour for its class; all are equally large files."""
    pixels = np.random.default_rng(seed).integers(0, 30, (8, 8, 3)).astype(np.uint8)
    pixels[..., kind] += 120
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make(root: Path) -> Path:
    for split, count in (("train", 20), ("test", 4)):
        for kind, name in enumerate(CLASSES):
            for i in range(count):
                draw(root / split / name / f"{i:02}.bmp", kind, 1000 * kind + i + 100 * (split == "test"))
    return root


def words(root: Path, *more: str) -> tuple[str, ...]:
    tiny = [word for word in TINY if not word.startswith(("data=", "trainer.max_epochs="))]
    folder = ("data=folder", f"data.root={root}", "data.image_size=8", "data.batch_size=9", "data.val_fraction=0.2")
    fixed = ("optim=sgd_cosine", "optim.lr=0.1", "data.augment=pad_crop_flip", "task.label_smoothing=0")
    return (*tiny, *folder, *fixed, "trainer.max_epochs=3", f"output_root={root.parent / 'out'}", *more)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in "run", beside its photos in "photos"; to be copied."""
    place = tmp_path_factory.mktemp("trained")
    results = train(compose(*words(make(place / "photos"))), place / "run")
    assert results["metrics"]["test/accuracy"] > 0.7 and (place / "run" / MANIFEST).exists()
    return place


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    shutil.rmtree(tmp_path)
    return Path(shutil.copytree(trained, tmp_path))


def add(root: Path) -> None:
    for path in sorted(root.glob("train/*/0[0-3].bmp")):
        shutil.copy(path, path.with_stem(path.stem + "_b"))


def exchange(root: Path) -> None:
    """All test photos have wrong labels; names, sizes and times stay as they are."""
    shutil.move(root / "test" / "cat", root / "x")
    shutil.move(root / "test" / "dog", root / "test" / "cat")
    shutil.move(root / "x", root / "test" / "dog")


def remove(root: Path) -> None:
    (root / "train" / "eel" / "07.bmp").unlink()


def test_a_run_continues_on_its_own_data_only(place: Path) -> None:
    root, run = place / "photos", place / "run"

    def resume(epochs: int) -> int:
        again = [f"resume={run}", f"data.root={root}", f"trainer.max_epochs={epochs}"]
        return int(train(compose(*words(root, *again[::2])), overrides=again)["epochs"])

    for path in root.rglob("*.bmp"):
        os.utime(path)  # as in a copied folder
    assert resume(4) == 4, "the content is what it was"
    for change, told in (
        (add, "photos: 12 added, the first train/cat/00_b.bmp"),
        (remove, "photos: 12 added, 1 removed"),
    ):
        change(root)
        with pytest.raises(UserError, match=f"the data have changed since.*{told}") as error:
            resume(5)
        assert "fresh=true" in str(error.value) and "\n" not in str(error.value)


def test_a_result_of_other_pixels_is_not_returned(place: Path) -> None:
    root, run = place / "photos", place / "run"
    before = train(compose(*words(root)), run)["metrics"]["test/accuracy"]
    exchange(root)
    with pytest.raises(UserError, match="photos: 8 changed, the first test/cat/00.bmp"):
        train(compose(*words(root)), run)
    assert train(compose(*words(root, "fresh=true")), run)["metrics"]["test/accuracy"] < before


def test_evaluate_matches_classes_by_name(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, run = place / "photos", place / "run"
    here = f"data.root={root}"
    for split in ("test", "val"):
        found = evaluate(run, split=split, overrides=[here])
        assert found == evaluate(run, split=split, overrides=[here, "data.classes=[eel,dog,cat]"])
    with pytest.raises(UserError, match="it lacks 'dog'"):
        evaluate(run, overrides=[here, "data.classes=[eel,cat]"])
    for split in ("train", "test"):
        (root / split / "dog").rename(root / split / "newt")
    with pytest.raises(UserError, match="it has 'newt'; it lacks 'dog'"):
        evaluate(run, overrides=[here])
    assert "are not those" not in capsys.readouterr().err


def test_evaluate_tells_other_photos_and_refuses_those_of_the_training(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, run = place / "photos", place / "run"
    here = f"data.root={root}"
    draw(root / "test" / "cat" / "new.bmp", 0, 77)
    evaluate(run, overrides=[here])
    assert "The test images are not those of the run: 1 photo differs." in capsys.readouterr().err
    for more in (["data.split_seed=1"], ["data.val_fraction=0.5"]):
        with pytest.raises(UserError, match="of its photos are those that the run was trained on"):
            evaluate(run, split="val", overrides=[here, *more])
    add(root)
    with pytest.raises(UserError, match="of its photos are those that the run was trained on"):
        evaluate(run, split="val", overrides=[here])
    evaluate(run, split="train", overrides=[here])


def test_a_set_without_files_of_photos_is_known_by_its_content_and_cut(tmp_path: Path) -> None:
    run = tmp_path / "run"
    short = ("trainer.max_epochs=1", "trainer.limit_train_batches=1")
    train(compose(*TINY, *short), run)
    assert not (run / MANIFEST).exists()
    evaluate(run, split="val")
    with pytest.raises(UserError, match="split=val: .*trained on"):
        evaluate(run, split="val", overrides=["data.split_seed=1"])
    digits = compose(*TINY).data
    assert describe_data_changes(digits, [], before="digits:a", now="digits:a") == ""
    assert (
        describe_data_changes(digits, [], before="digits:a", now="digits:b") == "its content is digits:b, not digits:a"
    )


@pytest.mark.parametrize("suffix", ["bmp", "png", "jpg"])
def test_a_digest_tells_content(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    pixels = np.random.default_rng(0).integers(0, 255, (150, 150, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    before = digest_file(str(path))
    assert path.stat().st_size > 8192, "more than both ends"
    os.utime(path, (1, 1))
    assert digest_file(str(path)) == before
    pixels[75, 75] ^= 255  # one pixel, in the middle
    Image.fromarray(pixels).save(path)
    assert digest_file(str(path)) != before


def test_a_manifest_returns_what_was_written(tmp_path: Path) -> None:
    name = os.fsdecode(b'train/c\xff,at\n/"1".jpg')
    photos = [Photo("train", name, 5, 7, "ab"), Photo("", "train/ünï.png")]
    write_manifest(tmp_path / MANIFEST, photos)
    assert read_manifest(tmp_path / MANIFEST) == photos
    assert read_manifest(tmp_path / "absent") == []
    whole = (tmp_path / MANIFEST).read_bytes()
    damages: list[Callable[[], object]] = [
        lambda: (tmp_path / MANIFEST).write_bytes(whole[:30]),
        lambda: (tmp_path / MANIFEST).write_bytes(b"no gzip"),
        lambda: (tmp_path / MANIFEST).write_bytes(b""),
    ]
    for damage in damages:
        damage()
        with pytest.raises(UserError, match="cannot be read"):
            read_manifest(tmp_path / MANIFEST)


def test_photos_that_no_split_has_matter_by_their_names_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"new")
    photos = [Photo("", "train/a.png"), Photo("", "train/b.png")]
    bases = {"train": tmp_path}
    assert find_changes(photos, bases, ["train/a.png", "train/c.png"]) == (["train/c.png"], ["train/b.png"], [])
    assert find_changes(photos, bases) == ([], [], [])
    held_out = Photo("val", "train/a.png", 1, 1, "ab")
    assert find_others([], [held_out], "val") == ([], []), "nothing is known of an older run"
    assert find_others([held_out._replace(split="train")], [held_out], "val") == (["train/a.png"], ["train/a.png"])


def test_a_manifest_with_a_flipped_bit_is_one_sentence(tmp_path: Path) -> None:
    write_manifest(tmp_path / MANIFEST, [Photo("train", f"train/{i}.jpg", i, i * i, "ab") for i in range(99)])
    content = (tmp_path / MANIFEST).read_bytes()
    flips = np.random.default_rng(0).integers(8 * len(content), size=80)
    damaged = 0
    for bit in flips.tolist():
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / MANIFEST).write_bytes(changed)
        try:
            assert len(read_manifest(tmp_path / MANIFEST)) == 99, "a bit of the header that says nothing"
        except UserError as error:
            damaged += "delete it" in str(error)
    assert damaged > 60
