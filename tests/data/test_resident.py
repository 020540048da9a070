"""The resident loader: pure draws, exact crops, the same global batches on any number of ranks, exact resume."""

import numpy as np
import pytest
import torch
from torch.nn.functional import pad
from torchvision.transforms.v2 import functional as reference

from src.data.info import DatasetInfo
from src.data.normalization import compute_mean_image, make_normalization, measure_statistics, normalize
from src.data.resident import loader as resident
from src.data.resident.augment import crop_flip, draw_epoch, pad_images, warp
from src.data.resident.loader import EvalLoader, TrainLoader

INFO = DatasetInfo("made", ("a", "b"), 3, 8, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
WARPED = {"padding": 0, "rotate": 15.0, "scale": 0.1}


def made(n: int, size: int = 8, channels: int = 3) -> torch.Tensor:
    return torch.randint(256, (n, size, size, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def train_loader(n: int = 40, *, name: str = "dataset", padding: int = 1, **options) -> TrainLoader:
    images, p = made(n), padding
    options = {"padding": p, "flip": True, "seed": 3, "epoch": 2, "batch_size": 8} | options
    return TrainLoader(
        pad(images, (0, 0, p, p, p, p)), torch.arange(n), make_normalization(name, INFO, images), **options
    )


def test_draws_are_a_pure_function_of_seed_and_epoch():
    torch.manual_seed(1)
    options = {"padding": 4, "flip": True, "rotate": 15.0, "scale": 0.1}
    first = draw_epoch(7, 3, 100, **options)
    torch.manual_seed(2)
    again = draw_epoch(7, 3, 100, **options)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (draw_epoch(7, 4, 100), draw_epoch(8, 3, 100)):
        assert not torch.equal(first.order, other.order)
    assert torch.equal(first.order, draw_epoch(7, 3, 100).order), "the order must not depend on the augmentation"
    assert first.order.sort().values.tolist() == list(range(100))
    assert set(first.rows.tolist()) == set(first.columns.tolist()) == set(range(9))
    assert 30 < first.flips.sum() < 70
    for drawn, low, high in ((first.angles, -15, 15), (first.zooms, 0.9, 1.1)):
        assert low <= drawn.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < drawn.max() <= high
    plain = draw_epoch(7, 3, 100)
    assert (
        (plain.angles == 0).all() and (plain.zooms == 1).all() and (plain.tops == 0).all() and (plain.lefts == 0).all()
    )


@pytest.mark.parametrize("options", [{}, {"rotate": 15.0, "scale": 0.1}])
def test_the_draws_of_recorded_runs_stay_as_they_were(options: dict):
    draws = draw_epoch(7, 3, 8, padding=4, flip=True, **options)
    assert draws.order.tolist() == [1, 5, 2, 0, 7, 6, 3, 4]
    assert draws.rows.tolist() == [4, 3, 4, 5, 0, 0, 1, 7]
    assert draws.columns.tolist() == [4, 8, 5, 1, 5, 2, 3, 4]
    assert draws.flips.tolist() == [False, False, True, False, True, False, True, False]


def test_an_alternating_flip_shows_both_sides_of_each_sample_in_two_epochs():
    def flipped(epoch: int, seed: int = 7) -> torch.Tensor:
        draws = draw_epoch(seed, epoch, 100, flip=True, alternate=True)
        return draws.flips[draws.order.argsort()]  # by sample

    first = flipped(0)
    assert 30 < first.sum() < 70
    for epoch in range(1, 5):
        assert torch.equal(flipped(epoch), first ^ bool(epoch % 2))
    torch.manual_seed(5)
    assert torch.equal(flipped(3), ~first), "must not depend on the global generator"
    assert not torch.equal(flipped(0, seed=8), first)
    one, other = (draw_epoch(7, 2, 100, padding=2, flip=True, alternate=on) for on in (True, False))
    for a, b in zip(one._replace(flips=one.rows), other._replace(flips=one.rows), strict=True):
        assert torch.equal(a, b), "the other draws stay as they are"


def test_a_mirrored_border_equals_numpys():
    images = made(3, size=6)
    for p in (0, 1, 4):
        expected = np.pad(images.numpy(), ((0, 0), (p, p), (p, p), (0, 0)), mode="reflect")
        assert torch.equal(pad_images(images, p, reflect=True), torch.from_numpy(expected))
    assert torch.equal(pad_images(images, 2), pad(images, (0, 0, 2, 2, 2, 2)))


@pytest.mark.parametrize("name", ["dataset", "per_pixel_mean"])
def test_an_epoch_with_a_mirrored_border_equals_a_per_sample_reference(name: str):
    images, p = made(40), 2
    loader = TrainLoader(
        pad_images(images, p, reflect=True), torch.arange(40), make_normalization(name, INFO, images),
        padding=p, reflect=True, flip=True, alternate=True, seed=3, epoch=1, batch_size=8,
    )  # fmt: skip
    whole = pad_images(normalize(images, loader.normalization).permute(0, 2, 3, 1), p, reflect=True)
    draws = draw_epoch(3, 1, 40, padding=p, flip=True, alternate=True)
    expected = torch.stack(
        [
            window.flip(1) if flip else window
            for i, y, x, flip in zip(*(t.tolist() for t in draws[:4]), strict=True)
            for window in [whole[i, y : y + 8, x : x + 8]]
        ]
    )
    found = torch.cat([batch for batch, _ in loader]).permute(0, 2, 3, 1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("size", "channels", "padding"), [(8, 3, 1), (28, 1, 4), (9, 3, 0)])
def test_crops_equal_a_per_sample_reference(size: int, channels: int, padding: int):
    p = padding
    images = pad(made(30, size, channels), (0, 0, p, p, p, p))
    draws = draw_epoch(0, 0, 30, padding=p, flip=True)
    windows = crop_flip(images, draws, size)
    for window, i, y, x, flip in zip(windows, *(t.tolist() for t in draws[:4]), strict=True):
        expected = images[i, y : y + size, x : x + size]
        assert torch.equal(window, expected.flip(1) if flip else expected)


def warped_by_torchvision(image: torch.Tensor, angle: float, zoom: float) -> torch.Tensor:
    """One square image [S, S, C], turned and zoomed far enough inside a wide frame of its repeated border."""
    frame = len(image)
    wide = pad(image.permute(2, 0, 1).float(), (frame,) * 4, mode="replicate")
    bilinear = reference.InterpolationMode.BILINEAR
    warped = reference.affine(wide, angle, [0, 0], zoom, [0, 0], interpolation=bilinear)
    return warped[:, frame:-frame, frame:-frame].permute(1, 2, 0)


@pytest.mark.parametrize(("size", "channels"), [(32, 3), (28, 1), (9, 3)])
def test_a_warped_batch_equals_torchvisions_affine_of_each_sample(size: int, channels: int):
    images = made(20, size, channels)
    draws = draw_epoch(0, 0, 20, rotate=40, scale=0.4)
    warped = warp(images, draws.angles, draws.zooms)
    assert warped.dtype == torch.float32 and warped.is_contiguous()
    expected = [
        warped_by_torchvision(*sample) for sample in zip(images, *(t.tolist() for t in draws[4:6]), strict=True)
    ]
    torch.testing.assert_close(warped, torch.stack(expected), atol=0.02, rtol=0)
    torch.testing.assert_close(warp(images / 255, draws.angles, draws.zooms), warped / 255, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [8, 9, 28, 32])
def test_no_angle_and_no_zoom_change_nothing(size: int):
    images = made(5, size) / 255
    torch.testing.assert_close(warp(images, torch.zeros(5), torch.ones(5)), images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["dataset", "per_pixel_mean"])
def test_a_warped_epoch_equals_a_per_sample_reference(name: str):
    loader = train_loader(name=name, **WARPED)
    draws = draw_epoch(3, 2, 40, flip=True, rotate=15, scale=0.1)
    centred = normalize(made(40), loader.normalization).permute(0, 2, 3, 1)
    expected = [
        warped_by_torchvision(centred[i].flip(1) if flip else centred[i], angle, zoom)
        for i, _, _, flip, angle, zoom, *_ in zip(*(t.tolist() for t in draws), strict=True)
    ]
    images = torch.cat([images for images, _ in loader]).permute(0, 2, 3, 1)
    torch.testing.assert_close(images, torch.stack(expected), atol=1e-3, rtol=0)


@pytest.mark.parametrize("options", [{}, {"rotate": 15.0}])
def test_a_hole_is_a_square_of_zeros_and_the_rest_is_as_without_it(options: dict):
    side, places = 3, 6  # of 8 pixels
    whole, cut = (train_loader(400, name="half", batch_size=100, hole=hole, **options) for hole in (0, side))
    corners = set()
    for (images, labels), (holed, same) in zip(whole, cut, strict=True):
        assert torch.equal(labels, same) and holed.is_contiguous(memory_format=torch.channels_last)
        for image, with_hole in zip(images, holed, strict=True):
            top, left = (with_hole == 0).all(dim=0).nonzero()[0].tolist()  # no pixel is 0 after scaling by "half"
            corners.add((top, left))
            expected = image.clone()
            expected[:, top : top + side, left : left + side] = 0
            assert torch.equal(with_hole, expected)
    assert corners == {(top, left) for top in range(places) for left in range(places)}


def test_who_does_not_warp_does_not_pay(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resident, "warp", None)
    assert len(list(train_loader())) == 5
    with pytest.raises(TypeError):
        list(train_loader(**WARPED))


def test_batches_are_normalised_channels_last():
    loader = train_loader(padding=0, flip=False)
    images, labels = next(iter(loader))
    assert images.shape == (8, 3, 8, 8)
    assert images.is_contiguous(memory_format=torch.channels_last)
    raw = made(40)[labels].permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(t).view(3, 1, 1) for t in (INFO.mean, INFO.std))
    torch.testing.assert_close(images, (raw - mean) / std)


def test_the_last_incomplete_batch_is_dropped():
    loader = train_loader(43)
    assert len(loader) == 5
    assert len(list(loader)) == 5
    assert len(torch.cat([labels for _, labels in loader]).unique()) == 40


@pytest.mark.parametrize("options", [{}, WARPED, {"hole": 3}])
@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (4, 1), (1, 2), (2, 2), (2, 4)])
def test_global_batches_do_not_depend_on_ranks_or_accumulation(world: int, accumulate: int, options: dict):
    whole = list(train_loader(**options))
    ranks = [list(train_loader(rank=r, world=world, accumulate=accumulate, **options)) for r in range(world)]
    assert {len(batches) for batches in ranks} == {len(whole) * accumulate}
    for step, (images, labels) in enumerate(whole):
        parts = [ranks[r][step * accumulate + a] for a in range(accumulate) for r in range(world)]
        assert torch.equal(torch.cat([part[1] for part in parts]), labels)
        assert torch.equal(torch.cat([part[0] for part in parts]), images)


@pytest.mark.parametrize("n", [1, 7, 16, 21])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_evaluation_sees_each_sample_once(n: int, world: int):
    images, labels = made(n), torch.arange(n) % 2
    normal = make_normalization("dataset", INFO, images)
    ranks = [EvalLoader(images, labels, normal, batch_size=8, rank=r, world=world) for r in range(world)]
    batches = [batch for loader in ranks for batch in loader]
    assert len(batches) == sum(map(len, ranks))
    indices = torch.cat([index for _, _, index in batches])
    assert indices.sort().values.tolist() == list(range(n))
    assert torch.equal(torch.cat([label for _, label, _ in batches]), labels[indices])
    assert torch.equal(torch.cat([image for image, _, _ in batches]), normalize(images[indices], normal))


def test_per_pixel_mean_is_subtracted_before_padding():
    loader = train_loader(name="per_pixel_mean", padding=2)
    mean = compute_mean_image(made(40))
    draws = draw_epoch(3, 2, 40, padding=2, flip=True)
    reference = pad(made(40)[draws.order] / 255 - mean, (0, 0, 2, 2, 2, 2))
    expected = crop_flip(reference, draws._replace(order=torch.arange(40)), 8).permute(0, 3, 1, 2)
    images = torch.cat([images for images, _ in loader])
    torch.testing.assert_close(images, expected)
    top = draws.rows == 0
    assert top.any()
    assert (images[top][:, :, :2] == 0).all(), "the padded border is exactly zero"
    centred = normalize(made(40), loader.normalization)
    torch.testing.assert_close(centred.mean(0), torch.zeros(3, 8, 8), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["dataset", "imagenet", "half", "none", "per_pixel_mean"])
def test_a_normalisation_is_plain_and_survives_a_checkpoint(name: str, tmp_path):
    normal = make_normalization(name, INFO, made(5))
    torch.save(normal, tmp_path / "n.pt")
    loaded = torch.load(tmp_path / "n.pt", weights_only=True)
    assert torch.equal(normalize(made(5), normal), normalize(made(5), loaded))


def test_half_scales_to_one_either_way():
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 8, 8, 3)
    low, high = normalize(images, make_normalization("half", INFO, images))
    torch.testing.assert_close(low, torch.full((3, 8, 8), -1.0))
    torch.testing.assert_close(high, torch.full((3, 8, 8), 1.0))


def test_statistics_are_those_of_all_pixels():
    images = made(50)
    mean, std = measure_statistics(images)
    torch.testing.assert_close(torch.tensor(mean), (images / 255).mean((0, 1, 2)))
    torch.testing.assert_close(torch.tensor(std), (images / 255).std((0, 1, 2), correction=0))


@pytest.mark.parametrize("options", [{}, WARPED, {"hole": 3}])
def test_a_loader_resumes_inside_its_epoch(options: dict):
    whole, loader = list(train_loader(**options)), train_loader(**options)
    batches = iter(loader)
    next(batches), next(batches)
    state = loader.state_dict()
    assert state == {"epoch": 2, "batch": 2}
    resumed = train_loader(**options)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    rest = list(resumed)
    assert len(rest) == 3
    assert all(torch.equal(a[0], b[0]) for a, b in zip(rest, whole[2:], strict=True))
    assert len(list(resumed)) == 5, "only the interrupted pass is shortened"
    other = train_loader(epoch=3)
    other.load_state_dict(state)
    assert len(list(other)) == 5, "the state of another epoch"


def test_a_fetched_batch_that_was_not_trained_on_does_not_count():
    done = 0
    loader = train_loader(trained=lambda: done)
    batches = iter(loader)
    next(batches)
    assert loader.state_dict()["batch"] == 0
    done = 1
    assert loader.state_dict()["batch"] == 1
