"""One reader for all rooms: each of Pillow's modes becomes RGB or is refused, and damage of any kind is a sentence."""

import io
import time
from pathlib import Path
from typing import Any

import mutate
import numpy as np
import pytest
import torch
from helpers import choose_evenly
from PIL import Image

from src import pack
from src.data.photos.reader import MOST_PIXELS, find_jpeg_shape, narrow, read_header, read_photo
from src.data.sets.folder import decode_image
from src.errors import UserError

NO_TABLE = "is not defined; save it with 8 bits a colour"


def read_everywhere(path: Path) -> torch.Tensor | None:
    """Read a picture in all rooms, which must agree; None where all refuse it."""
    out = path.parent / "out"
    packed = [
        pack.pack_image((path.name, form), root=path.parent, out=out, size=64, format=form) for form in pack.FORMATS
    ]
    for form in pack.FORMATS:
        (out / form).unlink(missing_ok=True)
    try:
        photo = read_photo(path)
    except UserError as refused:
        said = [str(refused).partition(path.name)[2], *(problem for _, _, problem in packed)]
        assert all(words and words.isprintable() for words in said)
        with pytest.raises(Exception):  # noqa: B017  a dozen types; the folder's loader says them
            decode_image(path, 8, 3)
        return None
    assert photo.dtype == torch.uint8 and photo.shape[0] == 3 and photo.numel()
    assert not any(problem for _, _, problem in packed)
    assert decode_image(path, 8, 3).shape == (8, 8, 3) and read_photo(path, 1).shape == (1, *photo.shape[1:])
    assert set(read_header(path).upright) == set(photo.shape[1:])
    return photo


def test_each_mode_becomes_rgb_or_is_refused(tmp_path: Path) -> None:
    def colour(image: Image.Image, name: str = "image.png", **options: Any) -> list[int] | None:
        image.save(tmp_path / name, **options)
        photo = read_everywhere(tmp_path / name)
        return None if photo is None else photo[:, 1, 1].tolist()

    size, grey, transparent = (6, 4), np.full((4, 6), 90), {"transparency": 1}
    palette = Image.new("P", size, 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert colour(Image.new("1", size, 1)) == [255] * 3
    assert colour(Image.new("L", size, 90)) == [90] * 3
    assert colour(Image.new("L", size, 1), **transparent) == [255] * 3
    assert colour(palette) == [10, 20, 30]
    assert colour(palette, **transparent) == colour(palette, "image.gif", **transparent) == [255] * 3
    assert colour(Image.new("LA", size, (0, 51))) == [204] * 3
    assert colour(Image.new("RGBA", size, (200, 100, 0, 0))) == colour(Image.new("RGBA", size), "a.webp") == [255] * 3
    assert colour(Image.new("RGBA", size, (200, 100, 0, 255)), "image.tif") == [200, 100, 0]
    assert colour(Image.new("CMYK", size, (0, 0, 0, 255)), "image.tif") == [0, 0, 0]
    assert max(colour(Image.new("CMYK", size, (0, 0, 0, 255)), "image.jpg") or [9]) < 5
    assert max(colour(Image.new("YCbCr", size, (0, 128, 128)), "image.tif") or [9]) < 5
    assert colour(Image.fromarray((grey * 257).astype(np.uint16))) == [90] * 3
    assert colour(Image.fromarray((grey * 257).astype(np.uint16)), "image.tif") == [90] * 3
    assert colour(Image.fromarray((grey * 257).astype(np.int32)), "image.tif") == [90] * 3
    assert colour(Image.fromarray(grey.astype(np.int32) - 91), "image.tif") is None
    assert colour(Image.fromarray(grey.astype(np.int32) * 1000), "image.tif") is None
    assert colour(Image.fromarray((grey / 255).astype(np.float32)), "image.tif") is None
    for use in (read_photo, read_header):
        with pytest.raises(
            UserError, match=rf"image.tif: cannot be read \(what is white in Pillow's mode F {NO_TABLE}\)"
        ):
            use(tmp_path / "image.tif")
    assert colour(Image.new("LAB", size), "image.tif") is None
    with pytest.raises(ValueError, match="its values, -1 to 70000, exceed 0 to 65535"):
        narrow(np.array([-1, 70000]))


def test_orientation_is_applied_once_where_it_is_wanted(tmp_path: Path) -> None:
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:8] = 255  # the upper half; orientation 6 shows it to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("png", "jpg", "webp", "tif"):
        path = tmp_path / f"turned.{suffix}"
        Image.fromarray(pixels).save(path, exif=exif)
        photo, stored = read_photo(path), read_photo(path, upright=False)
        assert photo.shape == (3, 32, 16) and photo[:, :, 9:].min() > 200 and photo[:, :, :7].max() < 50
        if suffix == "tif":  # turned by Pillow itself
            assert torch.equal(stored, photo) and read_header(path) == (16, 32, False)
        else:
            assert stored.shape == (3, 16, 32) and stored[:, :7].min() > 200
            assert read_header(path) == (32, 16, True)
        assert (decode_image(path, 16, 1)[:, 9:] > 200).all()
        small = Image.open(io.BytesIO(pack.resize_image(path, 8, "ppm")))
        assert small.size == (8, 16) and np.asarray(small)[:, 5:].min() > 200


def test_impossible_heads_are_refused(tmp_path: Path) -> None:
    def says(content: bytes, words: str, name: str = "head.ppm") -> None:
        (tmp_path / name).write_bytes(content)
        for use in (read_photo, read_header):
            with pytest.raises(UserError, match=rf"{name}: cannot be read \(.*{words}"):
                use(tmp_path / name)
        assert read_everywhere(tmp_path / name) is None

    jpeg, pixels = mutate.make_pictures()["plain.jpg"], bytes(300)
    says(b"P6\n-5 3\n255\n" + pixels, "")
    says(b"P6\n0 5\n255\n" + pixels, "")
    says(b"P6\n%d 1\n255\n" % 10**20 + pixels, "")
    says(b"P6\n900000 900000\n255\n" + pixels, "900000x900000|exceeds limit")
    says(b"P6\n101 1\n255\n" + bytes(303), "101x1 pixels: more than 100 times as long as wide; crop it")
    frame = jpeg.index(b"\xff\xc0") + 5
    assert find_jpeg_shape(memoryview(jpeg)) == (30, 20, 3)
    says(jpeg[:frame] + b"\xff\xff\xff\xff" + jpeg[frame + 4 :], f"65535x65535|{MOST_PIXELS}", "bomb.jpg")
    says(jpeg[:frame] + b"\0\0\0\0" + jpeg[frame + 4 :], "", "empty.jpg")
    says(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "cannot identify", "program.png")
    (tmp_path / "cut.ppm").write_bytes(b"P6\n10 10\n255\n" + bytes(299))
    assert read_everywhere(tmp_path / "cut.ppm") is None
    image = io.BytesIO()
    Image.new("RGB", (900, 2)).save(image, "png")
    says(image.getvalue(), "900x2 pixels: more than 100 times as long as wide", "long.png")


@pytest.mark.filterwarnings("ignore:::PIL")
def test_damaged_pictures_are_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    pictures, read = mutate.make_pictures(), 0
    seeds = choose_evenly(range(500), 200)
    for seed in seeds:
        name = list(pictures)[seed % len(pictures)]
        (tmp_path / name).write_bytes(mutate.mutate_bytes(pictures[name], seed))
        began = time.process_time()
        read += read_everywhere(tmp_path / name) is not None
        assert time.process_time() - began < 10, (seed, name)
    assert 0.1 < read / len(seeds) < 0.9


def test_every_whole_picture_is_read(tmp_path: Path) -> None:
    refused = []
    for name, content in mutate.make_pictures().items():
        (tmp_path / name).write_bytes(content)
        if read_everywhere(tmp_path / name) is None:
            refused.append(name)
    assert refused == ["float.tif", "long.png", "head.ppm"]
