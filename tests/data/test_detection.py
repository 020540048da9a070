"""What a detector learns from: targets, mirrored and of drawn sizes, in batches that any number of ranks agrees on."""

import json
from pathlib import Path
from typing import Any

import coco_set
import numpy as np
import pytest
import torch
from detectors import data_of
from pycocotools.coco import COCO

from src.data.coco.index import CocoIndex
from src.data.coco.objects import TrainReader, group_by_shape, make_target, mirror, select_learnable
from src.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco_set.make(tmp_path_factory.mktemp("set"), train=40, val=10)


def signature(batches: Any) -> list[list[tuple[Any, ...]]]:
    """What was read, to the last pixel."""
    return [
        [
            (
                t["image_id"],
                t["side"],
                t["boxes"].tolist(),
                int(t["masks"].sum()),
                image.long().sum().item(),
                image[0, 9, 9],
            )
            for image, t in zip(images, targets, strict=True)
        ]
        for images, targets in batches
    ]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools under NumPy 2
def test_targets_are_what_pycocotools_reads(root: Path) -> None:
    index = data_of(root).indices["test"]
    expected = COCO(root / "annotations" / "instances_val2017.json")
    crowds = 0
    for i, record in enumerate(index.images):
        target = make_target(index, i, masks=True)
        known = expected.loadAnns(expected.getAnnIds(imgIds=[record.id]))
        crowds += sum(a["iscrowd"] for a in known)
        known = [a for a in known if not a["iscrowd"]]
        assert target["image_id"] == record.id and len(target["boxes"]) == len(known)
        for k, a in enumerate(known):
            x, y, w, h = a["bbox"]
            assert target["boxes"][k].tolist() == [x, y, x + w, y + h]
            assert index.category_ids[target["labels"][k] - 1] == a["category_id"]
            assert torch.equal(target["masks"][k], torch.from_numpy(expected.annToMask(a)))
            assert target["area"][k] == a["area"]
        assert (target["boxes"].dtype, target["labels"].dtype) == (torch.float32, torch.int64)
        assert target["masks"].dtype == torch.uint8 and target["masks"].shape[1:] == (record.height, record.width)
    assert crowds


def test_boxes_are_cut_at_the_edge_and_flat_ones_left_out(tmp_path: Path) -> None:
    coco_set.make(tmp_path)

    def change(content: dict[str, Any]) -> None:
        first, second, third = [a for a in content["annotations"] if not a["iscrowd"]][:3]
        first["bbox"], second["bbox"] = [-4, 2, 10, 100], [3, 3, 0, 5]
        third["segmentation"] = []

    coco_set.edit(tmp_path / "annotations" / "instances_train2017.json", change)
    boxes, masks = data_of(tmp_path, masks=False), data_of(tmp_path, masks=True)
    assert make_target(boxes.indices["train"], 0, masks=False)["boxes"].tolist() == [[0, 2, 6, 24]]
    assert "masks" not in make_target(boxes.indices["train"], 0, masks=False)
    assert boxes.sizes["train"] - 1 == masks.sizes["train"] == 9 - 2


def test_images_without_anything_to_find_are_tested_but_not_trained_on(root: Path) -> None:
    data = data_of(root)
    assert data.sizes == {"train": 30, "test": 10}
    assert all(select_learnable(data.indices["train"], i, masks=True) for i in range(30))
    assert sum(not select_learnable(data.indices["test"], i, masks=True) for i in range(10)) == 3


def test_crowds_alone_are_nothing_to_learn_from(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation["iscrowd"] = 1

    coco_set.edit(coco_set.make(tmp_path) / "annotations" / "instances_train2017.json", change)
    with pytest.raises(UserError, match=r"train2017.json: no image shows an object to learn boxes from; crowds"):
        data_of(tmp_path, masks=False)


def test_a_mirrored_image_has_mirrored_boxes_and_masks(root: Path) -> None:
    index = data_of(root).indices["train"]
    image, target = index.load(1), make_target(index, 1, masks=True)
    flipped, flipped_target = mirror(image, target)
    assert torch.equal(flipped, image.flip(2)) and not torch.equal(flipped_target["boxes"], target["boxes"])
    for mask, box in zip(flipped_target["masks"], flipped_target["boxes"].int().tolist(), strict=True):
        rows, columns = torch.nonzero(mask, as_tuple=True)
        assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == box
    again, back = mirror(flipped, flipped_target)
    assert torch.equal(again, image)
    assert torch.equal(back["boxes"], target["boxes"]) and torch.equal(back["masks"], target["masks"])


@pytest.mark.parametrize(("n", "size"), [(40, 4), (7, 3), (8, 8), (5, 6), (16, 1)])
def test_batches_are_wide_or_tall_and_as_many_as_there_can_be(n: int, size: int) -> None:
    random = np.random.RandomState(n)
    order, wide = random.permutation(n), random.rand(n) < 0.6
    batches = group_by_shape(order, wide, size)
    together = np.concatenate([[], *batches])
    assert len(batches) == n // size and all(len(batch) == size for batch in batches)
    assert len(set(together)) == len(together) and set(together) <= set(range(n))
    pure = sum(len(set(wide[batch])) == 1 for batch in batches)
    assert pure >= wide.sum() // size + (~wide).sum() // size
    assert all(np.array_equal(a, b) for a, b in zip(batches, group_by_shape(order, wide, size), strict=True))


def test_an_epoch_is_the_same_for_any_ranks_parts_and_workers(root: Path) -> None:
    settings: dict[str, Any] = {"augment": "flip", "train_sizes": [32, 48, 64], "image_size": None, "batch_size": 4}
    whole = signature(data_of(root, **settings).train_loader(epoch=3))
    assert len(whole) == 7 and len({one[0] for batch in whole for one in batch}) == 28
    read_apart = signature(data_of(root, **settings | {"workers": 2}).train_loader(epoch=3))
    assert read_apart == whole
    parts = data_of(root, **settings)
    parts.accumulate = 2
    ranks = [signature(parts.train_loader(epoch=3, rank=rank, world=2)) for rank in (0, 1)]
    together = [[*ranks[0][2 * k], *ranks[1][2 * k], *ranks[0][2 * k + 1], *ranks[1][2 * k + 1]] for k in range(7)]
    assert together == whole
    assert signature(data_of(root, **settings).train_loader(epoch=4)) != whole
    assert signature(data_of(root, **settings, seed=1).train_loader(epoch=3)) != whole


def test_sizes_and_flips_are_drawn_by_the_image(root: Path) -> None:
    index = data_of(root).indices["train"]

    def drawn(epoch: int) -> tuple[list[int], list[bool]]:
        read = TrainReader(index, masks=False, flip=True, sides=[32, 48, 64], seed=0, epoch=epoch)
        samples = [read.sample(i) for i in range(len(index))]
        flips = [not torch.equal(image, index.load(i)) for i, (image, _) in enumerate(samples)]
        return [target["side"] for _, target in samples], flips

    sides, flips = drawn(0)
    assert set(sides) == {32, 48, 64} and 5 < sum(flips) < 25
    assert drawn(0) == (sides, flips) != drawn(1)
    steady = TrainReader(index, masks=False, flip=False, sides=[40], seed=0, epoch=0)
    assert all(torch.equal(steady.sample(i)[0], index.load(i)) for i in range(len(index)))


def test_an_epoch_goes_on_where_it_was_left(root: Path) -> None:
    data = data_of(root, augment="flip", batch_size=4)
    whole = signature(data.train_loader(epoch=1))
    loader = data.train_loader(epoch=1)
    batches = iter(loader)
    first = signature([next(batches) for _ in range(3)])
    state = loader.state_dict()
    assert state == {"epoch": 1, "batch": 3}
    resumed = data.train_loader(epoch=1)
    resumed.load_state_dict(state)
    assert first + signature(resumed) == whole
    assert len(signature(resumed)) == 7
    other = data.train_loader(epoch=2)
    other.load_state_dict(state)
    assert len(signature(other)) == 7


@pytest.mark.parametrize("world", [1, 3, 8])
def test_evaluation_counts_each_image_once(root: Path, world: int) -> None:
    data = data_of(root, eval_batch_size=4)
    seen: list[int] = []
    for rank in range(world):
        loader = data.eval_loader("test", rank=rank, world=world)
        batches = list(loader)
        assert len(batches) == len(loader)
        for images, numbers in batches:
            assert [tuple(image.shape[1:]) for image in images] == [
                (loader.index.images[i].height, loader.index.images[i].width) for i in numbers
            ]
            seen += numbers
    assert sorted(seen) == list(range(10))


def test_the_facts_of_the_set(root: Path) -> None:
    data = data_of(root, image_size=None, train_sizes=[32, 64], val_fraction=0.2)
    assert data.info.classes == ("square", "disc", "night sky") and data.info.channels == 3
    assert (data.info.image_size, data.train_sizes, data.monitored) == (64, [32, 64], ("val",))
    assert data.sizes["val"] == 8
    assert data_of(root, image_size=None).info.image_size == 800
    few = data_of(root, classes=["disc", "square"])
    assert few.info.classes == ("disc", "square")
    assert set(make_target(few.indices["train"], 0, masks=False)["labels"].tolist()) == {2}


def refusal(root: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        data_of(root, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_wrong_inputs_are_refused_in_a_sentence(root: Path, tmp_path: Path) -> None:
    assert "data.batch_size=31 is larger than the 30 training images" in refusal(root, batch_size=31)
    assert "data.augment=pad_crop: is not for detection" in refusal(root, augment="pad_crop")
    assert "data.channels=1" in refusal(root, channels=1)
    coco_set.make(tmp_path)
    file = tmp_path / "annotations" / "instances_train2017.json"

    def without(key: str) -> None:
        content = json.loads(file.read_text())
        for annotation in content["annotations"]:
            annotation.pop(key)
        file.write_text(json.dumps(content))

    without("segmentation")
    assert "boxes only" in refusal(tmp_path, masks=True)
    assert data_of(tmp_path, masks=False).sizes["train"] == 9
    without("bbox")
    assert "without a bbox" in refusal(tmp_path, masks=False)


def test_a_damaged_photo_stops_with_its_name(tmp_path: Path) -> None:
    coco_set.make(tmp_path)
    damaged = tmp_path / "train2017" / "0105.jpg"
    damaged.write_bytes(damaged.read_bytes()[:300])
    for workers in (0, 2):
        with pytest.raises(UserError, match=r"0105\.jpg: cannot be read"):
            list(data_of(tmp_path, workers=workers).train_loader())


def test_an_index_of_some_images_keeps_their_targets(root: Path) -> None:
    index: CocoIndex = data_of(root).indices["test"]
    part = index.take([7, 2])
    assert torch.equal(make_target(part, 1, True)["boxes"], make_target(index, 2, True)["boxes"])
