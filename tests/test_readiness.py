"""What is known before the first step: that photos can be read, that batches are large enough, and what is counted."""

from dataclasses import replace
from pathlib import Path

import coco_set
import numpy as np
import pytest
import torch
from helpers import TINY, compose
from PIL import Image

from src.data.build import build_data, find_photo_folders
from src.data.photos import look
from src.data.photos.look import look_at_photos
from src.errors import UserError
from src.sweep.costs import estimate_cost, load_run_data
from src.tasks.build import build_network
from src.training.readiness import check_batch_statistics
from src.training.run import train

SMALL = ("trainer=cpu", "trainer.max_epochs=1", "trainer.threads=1", "trainer.precision=fp32", "data.workers=0")


def make(root: Path, suffix: str = "jpg") -> Path:
    """Two classes of photos in ImageNet's layout."""
    for split, count in (("train", 4), ("val", 2)):
        for name in ("n01", "n02"):
            for i in range(count):
                path = root / split / name / f"{i}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.random.default_rng(i).integers(0, 255, (40, 50, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(path)
    return root


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp"])
def test_a_photo_without_its_end_is_found_before_training(tmp_path: Path, suffix: str) -> None:
    root = make(tmp_path / "photos", suffix)
    words = ("data=imagenet", f"data.root={root}", "model=resnet18", "data.image_size=32", "data.batch_size=4", *SMALL)
    config = compose(*words, "data.val_fraction=0.25", f"output_root={tmp_path / 'out'}")
    assert load_run_data(config).sizes["test"] == 4
    bad = root / "val" / "n02" / f"1.{suffix}"
    bad.write_bytes(bad.read_bytes()[:-800])
    starts = [load_run_data, train] if suffix == "jpg" else [load_run_data]
    for start in starts:
        with pytest.raises(UserError, match=rf"n02/1\.{suffix}: cannot be read"):
            start(config)
    assert not (tmp_path / "out").exists()


def test_a_photo_of_another_size_than_annotated_is_found_before_training(tmp_path: Path) -> None:
    root = coco_set.make(tmp_path / "coco")
    photo = root / "val2017" / "0501.jpg"
    whole = photo.read_bytes()
    words = ("data=coco", f"data.root={root}", "model=resnet18", "data.image_size=32", "data.batch_size=2", *SMALL)
    config = compose(*words, "task=detection")
    load_run_data(config)
    Image.new("RGB", (9, 9)).save(photo)
    with pytest.raises(UserError, match=r"0501\.jpg: is 9x9 pixels"):
        load_run_data(config)
    photo.write_bytes(whole[:-300])
    for task in ("detection", "multilabel"):
        with pytest.raises(UserError, match=r"0501\.jpg: cannot be read"):
            load_run_data(compose(*words, f"task={task}"))


def test_a_photo_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "photos")
    words = ("data=imagenet", f"data.root={root}", "data.image_size=32", "data.batch_size=4", "data.val_fraction=0.25")
    config = compose(*words, *SMALL).data
    files, folders = build_data(config, seed=0).list_photos(), find_photo_folders(config)
    photos = look_at_photos(files, folders)
    assert sorted(photo.name for photo in photos if photo.split == "test") == [
        f"val/{name}/{i}.jpg" for name in ("n01", "n02") for i in range(2)
    ]
    opened: list[str] = []
    monkeypatch.setattr(look, "digest_file", lambda path: opened.append(path) or "")
    assert look_at_photos(files, folders, photos) == photos and not opened
    (root / "train" / "n01" / "0.jpg").touch()
    look_at_photos(files, folders, photos)
    assert opened == [str(root / "train" / "n01" / "0.jpg")]


def test_a_batchnorm_of_one_value_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    net = ("model=cifar_resnet", "model.depth=8", "model.width=4")
    single = ("data=digits", *net, "data.image_size=4", *SMALL[:-1])
    data = build_data(compose(*single, "data.batch_size=2").data, seed=0)
    network = build_network(compose(*single), data.info, data.normalization)
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    wrong = {
        ("data.batch_size=1",): "data.batch_size=2 at least",
        ("data.batch_size=2", "trainer.accumulate=2"): "data.batch_size=4 at least",
    }
    for words, advice in wrong.items():
        with pytest.raises(UserError, match=f"a single image of 4 pixels.*{advice}"):
            check_batch_statistics(compose(*single, *words), network, data)
    fine = (("data.batch_size=2",), ("data.batch_size=1", "finetune=head", "model.weights=x"))
    for words in fine:
        check_batch_statistics(compose(*single, *words), network, data)
    data.info = replace(data.info, image_size=8)
    check_batch_statistics(compose(*single, "data.batch_size=1"), network, data)
    assert network.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    config = compose(*single, "data.batch_size=1", "data.limit_train=9", f"output_root={tmp_path / 'out'}")
    for start in (train, lambda config: estimate_cost(config, load_run_data(config), 1, measured=False)):
        with pytest.raises(UserError, match="a single image of 4 pixels"):
            start(config)
    assert not list(tmp_path.iterdir())


def test_what_is_said_of_limits_is_what_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = ("trainer.limit_train_batches=3", "trainer.limit_val_batches=1", "trainer.limit_test_batches=2")
    words = (*TINY, *limits, "trainer.accumulate=4", "data.batch_size=32", "data.eval_batch_size=100")
    results = train(compose(*words), tmp_path / "run")
    assert results["steps"] == 6, "a batch is that of a step, in however many parts it is computed"
    assert [results[f"n_{split}"] for split in ("train", "val", "test")] == [96, 100, 200]
    said = capsys.readouterr().err
    assert "on digits (96 images an epoch), 2 epochs" in said and "train/val/test 96/100/200" in said
