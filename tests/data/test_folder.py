"""Images in folders: layouts, conversions, unreadable files, and a fingerprint that travels."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.config.data import Folder
from src.data.build import build_data, fingerprint
from src.data.sets.folder import decode_image
from src.errors import UserError


def save(path: Path, value: int = 0, size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 2 * value, 255 - value)).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes with 10 training, 3 validation and 4 test images each."""
    for split, count in (("train", 10), ("val", 3), ("test", 4)):
        for k, name in enumerate(("cat", "dog")):
            for i in range(count):
                save(tmp_path / "set" / split / name / f"{i}.png", 10 * i + k)
    return tmp_path / "set"


def config(root: Path, **options) -> Folder:
    return Folder(**{"root": str(root), "batch_size": 4, "image_size": 8} | options)


@pytest.mark.parametrize(
    ("gone", "sizes"),
    [
        ([], {"train": 20, "val": 6, "test": 8}),
        (["val"], {"train": 18, "val": 2, "test": 8}),
        (["test"], {"train": 18, "val": 2, "test": 6}),
        (["val", "test"], {"train": 14, "val": 2, "test": 4}),
    ],
)
def test_missing_splits_are_cut_or_stand_in(root: Path, gone: list[str], sizes: dict[str, int]):
    for split in gone:
        shutil.rmtree(root / split)
    data = build_data(config(root), seed=0)
    assert data.sizes == sizes
    assert data.info.classes == ("cat", "dog")
    assert (data.info.channels, data.info.image_size) == (3, 8)
    images = np.concatenate([batch[0].numpy() for batch in data.eval_loader("train")])
    np.testing.assert_allclose(images.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(images.std((0, 2, 3)), 1, atol=1e-5)


def test_no_validation_where_none_is_wanted(root: Path):
    data = build_data(config(root, val_fraction=0.0), seed=0)
    assert data.sizes == {"train": 20, "test": 8}
    assert data.monitored == ()


def test_the_fingerprint_tells_content_not_place(root: Path, tmp_path: Path):
    first = fingerprint(config(root))
    shutil.move(root, tmp_path / "elsewhere")
    assert fingerprint(config(tmp_path / "elsewhere")) == first
    save(tmp_path / "elsewhere" / "train" / "cat" / "0.png", size=(40, 40))
    assert fingerprint(config(tmp_path / "elsewhere")) != first


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: shutil.rmtree(root), "no such folder"),
        (lambda root: shutil.rmtree(root / "train"), "no folder train"),
        (lambda root: (root / "train" / "empty").mkdir(), "train/empty: this class has no images"),
        (lambda root: (shutil.rmtree(root / "train"), (root / "train").mkdir()), "train: holds no class folders"),
        (lambda root: save(root / "val" / "cow" / "0.png"), "val/cow: no class of .*train"),
        (lambda root: shutil.rmtree(root / "train" / "dog"), "1 class"),
    ],
)
def test_a_wrong_layout_is_one_sentence(root: Path, spoil, words: str):
    spoil(root)
    for use in (fingerprint, lambda c: build_data(c, seed=0)):
        with pytest.raises(UserError, match=words) as error:
            use(config(root))
        assert "\n" not in str(error.value)


def test_unreadable_images_are_listed_at_once(root: Path, caplog: pytest.LogCaptureFixture):
    for i in range(11):
        (root / "train" / "cat" / f"bad{i:02}.jpg").write_bytes(b"no image")
    whole = (root / "test" / "dog" / "0.png").read_bytes()
    (root / "test" / "dog" / "0.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError) as error:
        build_data(config(root), seed=0)
    lines = str(error.value).splitlines()
    assert "12 unreadable images" in lines[0]
    assert "data.skip_unreadable=true" in lines[0]
    assert len(lines) == 12
    assert lines[1].strip().startswith("train/cat/bad00.jpg: ")
    assert lines[-1].strip() == "and 2 more"
    with caplog.at_level(logging.WARNING):
        data = build_data(config(root, skip_unreadable=True), seed=0)
    assert data.sizes == {"train": 20, "val": 6, "test": 7}
    assert "12 unreadable images are left out" in caplog.text


def test_too_many_pixels_for_the_memory_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("src.data.sets.folder.measure_free_memory", lambda accelerator: 10_000)
    with pytest.raises(UserError, match=r"lower data.image_size=8$"):
        build_data(config(root), seed=0)


def test_every_kind_of_image_becomes_rgb_bytes(tmp_path: Path):
    def colour(image: Image.Image, suffix: str = "png", **options) -> list[int]:
        path = tmp_path / f"image.{suffix}"
        image.save(path, **options)
        assert decode_image(path, 4, 1).shape == (4, 4, 1)
        pixels = decode_image(path, 4, 3)
        assert pixels.shape == (4, 4, 3)
        assert pixels.dtype == np.uint8
        return pixels[2, 2].tolist()

    size = (6, 4)
    assert colour(Image.new("L", size, 90)) == [90] * 3
    assert colour(Image.new("1", size, 1)) == [255] * 3
    assert colour(Image.fromarray(np.full((4, 6), 257 * 90, dtype=np.uint16))) == [90] * 3
    assert colour(Image.new("RGBA", size, (200, 100, 0, 255))) == [200, 100, 0]
    assert colour(Image.new("RGBA", size, (200, 100, 0, 0))) == [255] * 3, "what is transparent is white"
    assert colour(Image.new("LA", size, (0, 0))) == [255] * 3
    palette = Image.new("P", size, 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert colour(palette) == [10, 20, 30]
    assert colour(palette, transparency=1) == [255] * 3
    assert colour(palette, "gif") == [10, 20, 30]
    assert colour(Image.new("CMYK", size, (0, 0, 0, 255)), "tif") == [0, 0, 0]


def test_exif_orientation_and_centre_crop(tmp_path: Path):
    pixels = np.zeros((20, 60, 3), dtype=np.uint8)
    pixels[:, 20:40] = 255  # the middle third of a wide image is its centre crop
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert (decode_image(tmp_path / "wide.png", 20, 3) == 255).all()
    square = np.zeros((16, 16, 3), dtype=np.uint8)
    square[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: the top becomes the right
    Image.fromarray(square).save(tmp_path / "turned.png", exif=exif)
    turned = decode_image(tmp_path / "turned.png", 16, 1)[..., 0]
    assert (turned[:, 8:] == 255).all()
    assert (turned[:, :8] == 0).all()
