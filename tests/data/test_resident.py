"""The resident loader: pure draws, exact crops, the same global batches on any number of ranks, exact resume."""

import pytest
import torch
from torch.nn.functional import pad

from src.data.info import DatasetInfo
from src.data.normalization import mean_image, normalization_of, normalize, statistics
from src.data.resident import EvalLoader, TrainLoader, crop_flip, draw_epoch

INFO = DatasetInfo("made", ("a", "b"), 3, 8, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def made(n: int, size: int = 8, channels: int = 3) -> torch.Tensor:
    return torch.randint(256, (n, size, size, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def train_loader(n: int = 40, *, name: str = "dataset", padding: int = 1, **options) -> TrainLoader:
    images, p = made(n), padding
    options = {"padding": p, "flip": True, "seed": 3, "epoch": 2, "batch_size": 8} | options
    return TrainLoader(
        pad(images, (0, 0, p, p, p, p)), torch.arange(n), normalization_of(name, INFO, images), **options
    )


def test_draws_are_a_pure_function_of_seed_and_epoch():
    torch.manual_seed(1)
    first = draw_epoch(7, 3, 100, padding=4, flip=True)
    torch.manual_seed(2)
    again = draw_epoch(7, 3, 100, padding=4, flip=True)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (draw_epoch(7, 4, 100), draw_epoch(8, 3, 100)):
        assert not torch.equal(first.order, other.order)
    assert torch.equal(first.order, draw_epoch(7, 3, 100).order), "the order must not depend on the augmentation"
    assert first.order.sort().values.tolist() == list(range(100))
    assert set(first.rows.tolist()) == set(first.columns.tolist()) == set(range(9))
    assert 30 < first.flips.sum() < 70


@pytest.mark.parametrize(("size", "channels", "padding"), [(8, 3, 1), (28, 1, 4), (9, 3, 0)])
def test_crops_equal_a_per_sample_reference(size: int, channels: int, padding: int):
    p = padding
    images = pad(made(30, size, channels), (0, 0, p, p, p, p))
    draws = draw_epoch(0, 0, 30, padding=p, flip=True)
    windows = crop_flip(images, draws, size)
    for window, i, y, x, flip in zip(windows, *(t.tolist() for t in draws), strict=True):
        expected = images[i, y : y + size, x : x + size]
        assert torch.equal(window, expected.flip(1) if flip else expected)


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


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (4, 1), (1, 2), (2, 2), (2, 4)])
def test_global_batches_do_not_depend_on_ranks_or_accumulation(world: int, accumulate: int):
    whole = list(train_loader())
    ranks = [list(train_loader(rank=r, world=world, accumulate=accumulate)) for r in range(world)]
    assert {len(batches) for batches in ranks} == {len(whole) * accumulate}
    for step, (images, labels) in enumerate(whole):
        parts = [ranks[r][step * accumulate + a] for a in range(accumulate) for r in range(world)]
        assert torch.equal(torch.cat([part[1] for part in parts]), labels)
        assert torch.equal(torch.cat([part[0] for part in parts]), images)


@pytest.mark.parametrize("n", [1, 7, 16, 21])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_evaluation_sees_each_sample_once(n: int, world: int):
    images, labels = made(n), torch.arange(n) % 2
    normal = normalization_of("dataset", INFO, images)
    ranks = [EvalLoader(images, labels, normal, batch_size=8, rank=r, world=world) for r in range(world)]
    batches = [batch for loader in ranks for batch in loader]
    assert len(batches) == sum(map(len, ranks))
    indices = torch.cat([index for _, _, index in batches])
    assert indices.sort().values.tolist() == list(range(n))
    assert torch.equal(torch.cat([label for _, label, _ in batches]), labels[indices])
    assert torch.equal(torch.cat([image for image, _, _ in batches]), normalize(images[indices], normal))


def test_per_pixel_mean_is_subtracted_before_padding():
    loader = train_loader(name="per_pixel_mean", padding=2)
    mean = mean_image(made(40))
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


@pytest.mark.parametrize("name", ["dataset", "imagenet", "none", "per_pixel_mean"])
def test_a_normalisation_is_plain_and_survives_a_checkpoint(name: str, tmp_path):
    normal = normalization_of(name, INFO, made(5))
    torch.save(normal, tmp_path / "n.pt")
    loaded = torch.load(tmp_path / "n.pt", weights_only=True)
    assert torch.equal(normalize(made(5), normal), normalize(made(5), loaded))


def test_statistics_are_those_of_all_pixels():
    images = made(50)
    mean, std = statistics(images)
    torch.testing.assert_close(torch.tensor(mean), (images / 255).mean((0, 1, 2)))
    torch.testing.assert_close(torch.tensor(std), (images / 255).std((0, 1, 2), correction=0))


def test_a_loader_resumes_inside_its_epoch():
    whole, loader = list(train_loader()), train_loader()
    batches = iter(loader)
    next(batches), next(batches)
    state = loader.state_dict()
    assert state == {"epoch": 2, "batch": 2}
    resumed = train_loader()
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
