"""Multi-label photos: targets, the square, and the same batches for any number of ranks and workers."""

from pathlib import Path
from typing import Any

import coco_set
import numpy as np
import pytest
import torch

from src.config.data import Coco
from src.data.coco.index import load_splits
from src.data.coco.multilabel import MultilabelData, build_multilabel_data
from src.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return coco_set.make(tmp_path / "set")


def settings(root: Path, **changes: Any) -> Coco:
    mine = {"augment": "square_crop_flip", "batch_size": 4, "eval_batch_size": 4, "image_size": 16, "workers": 0}
    return Coco(**{"root": str(root), "val_fraction": 0.25} | mine | changes)


def data(root: Path, *, accumulate: int = 1, seed: int = 0, **changes: Any) -> MultilabelData:
    return build_multilabel_data(
        settings(root, **changes), seed=seed, accumulate=accumulate, devices=1, normalization=None
    )


def test_a_photo_becomes_a_square_and_its_categories_a_row(root: Path):
    found = data(root)
    assert (found.info.classes, found.info.image_size) == (("square", "disc", "night sky"), 16)
    assert found.sizes == {"train": 9, "val": 3, "test": 6}
    index = load_splits(settings(root))["test"]
    images, targets, numbers = (torch.cat(parts) for parts in zip(*found.eval_loader("test"), strict=True))
    assert (images.shape, targets.dtype) == ((6, 3, 16, 16), torch.float32)
    assert torch.equal(targets.bool(), index.presence) and numbers.tolist() == list(range(6))
    assert found.image_ids["test"].tolist() == [image.id for image in index.images]
    mean, std = (torch.tensor(found.normalization[key])[:, None, None] for key in ("mean", "std"))
    whole = index.load(1)[None].float()  # 32x24, squeezed: no edge is cut off
    expected = torch.nn.functional.interpolate(whole, (16, 16), mode="bilinear", antialias=True)[0] / 255
    torch.testing.assert_close(images[1], (expected - mean) / std, atol=0.02, rtol=0)


def epoch(found: MultilabelData, **place: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(images.clone(), targets.clone()) for images, targets in found.train_loader(**place)]


def test_an_epoch_is_a_function_of_its_number_alone(root: Path):
    found = data(root)
    one, again = epoch(found, epoch=3), epoch(data(root), epoch=3)
    assert len(one) == 2
    for (a, s), (b, t) in zip(one, again, strict=True):
        assert torch.equal(a, b) and torch.equal(s, t)
    assert not torch.equal(one[0][0], epoch(found, epoch=4)[0][0])
    halves = [epoch(found, epoch=3, rank=rank, world=2) for rank in range(2)]
    for k, (images, targets) in enumerate(one):
        assert torch.equal(images, torch.cat([half[k][0] for half in halves]))
        assert torch.equal(targets, torch.cat([half[k][1] for half in halves]))


def test_worker_processes_read_the_same(root: Path):
    for (a, s), (b, t) in zip(epoch(data(root)), epoch(data(root, workers=1)), strict=True):
        assert torch.equal(a, b) and torch.equal(s, t)


def test_an_evaluation_counts_each_photo_once(root: Path):
    found = data(root)
    for world in (1, 2, 3):
        numbers = [n for rank in range(world) for *_, n in found.eval_loader("test", rank=rank, world=world)]
        assert sorted(torch.cat(numbers).tolist()) == list(range(6))
    train = torch.cat([targets for _, targets, _ in found.eval_loader("train")])
    assert np.array_equal(train.numpy(), found.splits["train"].labels), "the training photos can be evaluated too"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"augment": "imagenet_v1"}, "may cut off .*; for multilabel: square, square_flip, square_crop_flip"),
        ({"augment": "pad_crop"}, "data.augment=pad_crop: is for small images"),
        ({"channels": 1}, "data.channels=1"),
        ({"batch_size": 50}, "data.batch_size=50 is larger than the 9 training images"),
        ({"normalize": "weights"}, "data.normalize=weights"),
    ],
)
def test_what_does_not_fit_is_refused(root: Path, changes: dict[str, Any], sentence: str):
    with pytest.raises(UserError, match=sentence):
        data(root, **changes)


def test_a_truncated_photo_is_named_while_training(root: Path):
    victim = next(path for path in sorted((root / "test2017").parent.glob("val2017/*.jpg")))
    victim.write_bytes(victim.read_bytes()[:-200])
    with pytest.raises(UserError, match=rf"{victim.name}: cannot be read"):
        list(data(root).eval_loader("test"))
    assert len(list(data(root, skip_unreadable=True).eval_loader("test"))) == 2
