"""Each corruption equals a reference that works on one image at a time, by SciPy, Pillow or plain loops.

Where chance decides, both get the same draws. Frost is procedural by design and has no reference; of snow and fog the
reference covers what is done with the flakes and the clouds, of JPEG all but the rounding inside of libjpeg.
"""

import colorsys
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from src.analysis import corruptions_blur as blurs
from src.analysis import corruptions_weather as weather
from src.analysis.corruptions import BATCH, CORRUPTIONS, STRENGTHS, corrupt, corrupt_set

ALL = [(name, strength) for name in CORRUPTIONS for strength in range(1, STRENGTHS + 1)]


def make_pictures(n: int = 3, channels: int = 3, size: int = 32, seed: int = 0) -> torch.Tensor:
    """Make smooth pictures with edges, uint8 [N, S, S, C]."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(n, size, size, channels)), (0, 1.5, 1.5, 0.4))
    pictures = 128 + 240 * noise
    pictures[:, size // 4 : size // 2, size // 3 :] += 60
    return torch.from_numpy(pictures.clip(0, 255).astype(np.uint8))


PICTURES = make_pictures()
SCALED = PICTURES.permute(0, 3, 1, 2).float() / 255


def generator(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def each(images: torch.Tensor) -> list[np.ndarray]:
    """Each image as float64 [S, S, C]."""
    return list(images.permute(0, 2, 3, 1).double().numpy())


def assert_equal(found: torch.Tensor, expected: list[np.ndarray], atol: float = 2e-5) -> None:
    np.testing.assert_allclose(found.permute(0, 2, 3, 1).numpy(), np.stack(expected), atol=atol, rtol=0)


@pytest.mark.parametrize(("name", "strength"), ALL)
def test_each_keeps_the_form_and_follows_its_seed(name: str, strength: int) -> None:
    once, again = (corrupt(PICTURES, name, strength, seed=1) for _ in range(2))
    assert once.dtype == torch.uint8 and once.shape == PICTURES.shape and torch.equal(once, again)
    assert 0.2 < (once.float() - PICTURES.float()).abs().mean() < 100
    other = corrupt(PICTURES, name, strength, seed=2)
    random = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}.isdisjoint({name})
    assert torch.equal(once, other) is not random
    grey = corrupt(make_pictures(2, 1, 8), name, strength)
    assert grey.shape == (2, 8, 8, 1)
    odd = corrupt(make_pictures(1, 3, 41), name, strength)
    assert odd.shape == (1, 41, 41, 3)


def test_a_set_is_corrupted_in_batches_with_numbers_of_their_own() -> None:
    images = make_pictures(1).expand(BATCH + 2, -1, -1, -1)
    first, second = corrupt_set(images, "gaussian_noise", 1)
    assert len(first) == BATCH and len(second) == 2
    assert torch.equal(second, corrupt(images[BATCH:], "gaussian_noise", 1, start=BATCH))
    assert not torch.equal(first[:2], second)


@pytest.mark.parametrize("strength", [1, 5])
def test_noise_is_of_the_stated_size(strength: int) -> None:
    grey = torch.full((20, 3, 32, 32), 0.5)
    noise = blurs.add_gaussian_noise(grey, strength, generator()) - grey
    assert noise.std() == pytest.approx((0.04, 0.06, 0.08, 0.09, 0.10)[strength - 1], rel=0.02)
    shot = blurs.add_shot_noise(grey, strength, generator()) - grey
    assert shot.var() == pytest.approx(0.5 / (500, 250, 100, 75, 50)[strength - 1], rel=0.03)
    impulses = blurs.add_impulse_noise(grey, strength, generator())
    fraction = (0.01, 0.02, 0.03, 0.05, 0.07)[strength - 1]
    for value in (0.0, 1.0):
        assert (impulses == value).float().mean() == pytest.approx(fraction / 2, rel=0.15)
    assert set(impulses.unique().tolist()) == {0.0, 0.5, 1.0}


@pytest.mark.parametrize("strength", range(1, 6))
def test_defocus_equals_scipy(strength: int) -> None:
    radius, softness = [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)][strength - 1]
    x, y = np.meshgrid(np.arange(-8, 9), np.arange(-8, 9))
    disk = (x**2 + y**2 <= radius**2) / np.sum(x**2 + y**2 <= radius**2)
    line = np.exp(-(np.arange(-1, 2) ** 2) / (2 * softness**2))
    kernel = ndimage.correlate(disk, np.outer(line, line) / line.sum() ** 2, mode="constant")
    expected = [ndimage.correlate(image, kernel[..., None], mode="mirror") for image in each(SCALED)]
    assert_equal(blurs.blur_by_defocus(SCALED, strength, generator()), expected)


@pytest.mark.parametrize("strength", [2, 5])
def test_glass_equals_a_loop_over_the_pixels(strength: int) -> None:
    sigma, rounds = [(0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)][strength - 1]
    draws = generator()
    offsets = [torch.randint(-1, 1, (2, 3, 32, 32), generator=draws).numpy() for _ in range(rounds)]
    expected = []
    for k, image in enumerate(each(SCALED)):
        levels = np.floor(ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest") * 255 + 1e-5)
        for down, right in (part[:, k] for part in offsets):
            for h in range(31, 1, -1):
                for w in range(31, 1, -1):
                    levels[h, w] = levels[h + down[h, w], w + right[h, w]]
        expected.append(ndimage.gaussian_filter(levels / 255, (sigma, sigma, 0), mode="nearest"))
    found = blurs.blur_by_glass(SCALED, strength, generator())
    different = np.abs(found.permute(0, 2, 3, 1).numpy() - np.stack(expected))
    assert (different > 2e-5).mean() < 0.01 and different.max() < 1.5 / 255  # of values on the edge of two levels


@pytest.mark.parametrize("strength", [1, 5])
def test_motion_equals_a_loop_over_the_taps(strength: int) -> None:
    radius, sigma = [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)][strength - 1]
    angles = torch.randint(-45, 46, (3,), generator=generator()).tolist()
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    expected = []
    for image, angle in zip(each(SCALED), angles, strict=True):
        total = np.zeros_like(image)
        for i, weight in enumerate(weights / weights.sum()):
            down, right = (round(i * turn(math.radians(angle))) for turn in (math.sin, math.cos))
            rows, columns = (np.clip(np.arange(32) + offset, 0, 31) for offset in (down, right))
            total += weight * image[rows][:, columns]
        expected.append(total)
    assert_equal(blurs.blur_by_motion(SCALED, strength, generator()), expected, atol=5e-4)


@pytest.mark.parametrize("strength", [1, 5])
def test_zoom_equals_scipy(strength: int) -> None:
    zooms = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[strength - 1], 0.01)
    expected = []
    for image in each(SCALED):
        total = image.copy()
        for zoom in zooms:
            kept = math.ceil(32 / zoom)
            first = (32 - kept) // 2
            part = ndimage.zoom(image[first : first + kept, first : first + kept], (zoom, zoom, 1), order=1)
            trim = (len(part) - 32) // 2
            total += part[trim : trim + 32, trim : trim + 32]
        expected.append(total / (len(zooms) + 1))
    assert_equal(blurs.blur_by_zoom(SCALED, strength, generator()), expected)


def test_snow_and_fog_equal_their_formulas() -> None:
    flakes = torch.randn((3, 1, 32, 32), generator=(draws := generator())) * 0.2 + 0.1
    flakes = torch.where(flakes < 0.6, 0, flakes).clamp(0, 1).mul(255).floor() / 255
    angles = torch.randint(-135, -44, (3,), generator=draws)
    fallen = each(blurs.blur_along(flakes, angles, 8, 3.0))
    expected = []
    for image, layer in zip(each(SCALED), fallen, strict=True):
        grey = (image @ [0.299, 0.587, 0.114])[..., None]
        white = 0.95 * image + 0.05 * np.maximum(image, grey * 1.5 + 0.5)
        expected.append(white + layer + np.rot90(layer, k=2))
    assert_equal(weather.add_snow(SCALED, 1, generator()), expected)

    clouds = weather.make_clouds(3, 32, 3.0, generator(), torch.device("cpu")).double().numpy()
    assert clouds.min() == 0 and clouds.max() == 1
    pairs = zip(each(SCALED), clouds, strict=True)
    expected = [(image + 0.2 * cloud[..., None]) * image.max() / (image.max() + 0.2) for image, cloud in pairs]
    assert_equal(weather.add_fog(SCALED, 1, generator()), expected)


@pytest.mark.parametrize("strength", [1, 5])
def test_brightness_and_contrast_equal_a_pixel_by_pixel_reference(strength: int) -> None:
    added, kept = (0.05, 0.1, 0.15, 0.2, 0.3)[strength - 1], (0.75, 0.5, 0.4, 0.3, 0.15)[strength - 1]
    dark = SCALED.clone()
    dark[:, :, :4] = 0  # black has no hue

    def brighten(pixel: np.ndarray) -> tuple[float, float, float]:
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb(hue, saturation, min(1, value + added))

    expected = [np.apply_along_axis(brighten, 2, image) for image in each(dark)]
    assert_equal(weather.change_brightness(dark, strength, generator()), expected)
    expected = [(image - image.mean((0, 1))) * kept + image.mean((0, 1)) for image in each(SCALED)]
    assert_equal(weather.lower_contrast(SCALED, strength, generator()), expected)


@pytest.mark.parametrize("strength", [1, 2, 5])
def test_elastic_equals_scipy(strength: int) -> None:
    amplitude, smoothness, affine = [
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ][strength - 1]
    shifts = (torch.rand((3, 3, 2), generator=(draws := generator())) * 2 - 1).double().numpy() * affine * 32
    fields = (torch.rand((3, 2, 32, 32), generator=draws) * 2 - 1).double().numpy()
    points = np.array([[26.0, 26.0], [26.0, 6.0], [6.0, 6.0]])
    rows, columns = np.mgrid[0:32, 0:32].astype(float)
    expected = []
    for image, shift, (right, down) in zip(each(SCALED), shifts, fields, strict=True):
        back = np.linalg.solve(np.c_[points + shift, np.ones(3)], points)
        x, y = np.moveaxis(np.stack([columns, rows, np.ones_like(rows)], -1) @ back, -1, 0)
        moved = np.stack([ndimage.map_coordinates(c, [y, x], order=1, mode="mirror") for c in np.moveaxis(image, 2, 0)])
        if amplitude:
            right, down = (
                ndimage.gaussian_filter(field, smoothness * 32, truncate=3, mode="reflect") * amplitude * 32
                for field in (right, down)
            )
            places = [rows + down, columns + right]
            moved = np.stack([ndimage.map_coordinates(channel, places, order=1, mode="reflect") for channel in moved])
        expected.append(np.moveaxis(moved, 0, 2))
    assert_equal(weather.warp_elastically(SCALED, strength, generator()), expected, atol=1e-4)


@pytest.mark.parametrize("strength", range(1, 6))
def test_pixelate_equals_pillow(strength: int) -> None:
    small = int(32 * (0.95, 0.9, 0.85, 0.75, 0.65)[strength - 1])
    box = Image.Resampling.BOX
    pictures = [Image.fromarray(image).resize((small, small), box).resize((32, 32), box) for image in PICTURES.numpy()]
    assert np.array_equal(corrupt(PICTURES, "pixelate", strength).numpy(), np.stack([np.asarray(p) for p in pictures]))


@pytest.mark.parametrize("strength", range(1, 6))
def test_jpeg_is_near_pillows(strength: int) -> None:
    expected = []
    for image in PICTURES.numpy():
        Image.fromarray(image).save(packed := io.BytesIO(), "JPEG", quality=(80, 65, 58, 50, 40)[strength - 1])
        expected.append(np.asarray(Image.open(packed)).astype(int))
    different = np.abs(corrupt(PICTURES, "jpeg_compression", strength).numpy() - np.stack(expected))
    changed = np.abs(PICTURES.numpy() - np.stack(expected))
    assert different.mean() < changed.mean() / 10 and np.quantile(different, 0.999) <= 10
