"""A run opened for inference sees an image file as its own test did, without its data."""

import itertools
import json
from pathlib import Path
from typing import Any

import coco_set
import numpy as np
import pytest
import torch
from helpers import TINY, compose
from PIL import Image

from src.data.base import DataModule
from src.data.build import load_raw
from src.errors import UserError
from src.inference.network import Predictor, build_predictor, open_predictor
from src.training.assemble import assemble
from src.training.checkpoints import Checkpoint
from src.training.reopen import assemble_trained, reopen
from src.training.run import train
from src.training.settle import settle


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inference") / "run"
    train(compose(*TINY, "trainer.max_epochs=1"), path)
    return path


def test_the_logits_of_image_files_are_those_of_the_test(run: Path, tmp_path: Path) -> None:
    predictor = open_predictor(run)
    assembly = assemble_trained(reopen(run))
    images, *_ = next(iter(assembly.data.eval_loader("test")))
    with torch.inference_mode():
        expected = assembly.network.eval()(images[:40])
    raw = load_raw(assembly.config.data)
    files = []
    for k in range(40):
        Image.fromarray(raw.test.images[k, ..., 0]).save(tmp_path / f"{k}.png")
        files.append(tmp_path / f"{k}.png")
    logits = predictor.compute_logits([predictor.read(file) for file in files])
    assert torch.allclose(logits, expected, atol=1e-5, rtol=0)
    assert predictor.classes == tuple("0123456789") and predictor.channels == 1 and predictor.side == 8
    assert torch.allclose(predictor.compute_probabilities(logits).sum(dim=1), torch.ones(40))


def test_an_image_of_another_size_and_colour_is_cut_and_scaled(run: Path, tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(256, size=(50, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    predictor = open_predictor(run)
    assert predictor.read(tmp_path / "colour.png").shape == (1, 8, 8)


def test_the_temperature_of_a_run_divides_its_logits(run: Path) -> None:
    assert "not calibrated" in open_predictor(run).describe_calibration()
    trust = run / "trust.json"
    trust.write_text(json.dumps({"temperature": 2.0}))
    try:
        predictor = open_predictor(run)
        logits = torch.tensor([[2.0, 0.0, *[-9.0] * 8]])
        assert torch.allclose(predictor.compute_probabilities(logits), (logits / 2).softmax(dim=1))
        assert "temperature 2.000" in predictor.describe_calibration()
        trust.write_text(json.dumps({"temperature": 2.0, "checkpoint": "best.ckpt"}))
        assert not open_predictor(run).calibrated
        for wrong in ('{"temperature": "hot"}', '{"temperature": -1}', "no JSON"):
            trust.write_text(wrong)
            with pytest.raises(UserError, match="trust.json"):
                open_predictor(run)
    finally:
        trust.unlink()


def test_what_is_no_run_is_told(tmp_path: Path, run: Path) -> None:
    with pytest.raises(UserError, match="no run directory"):
        open_predictor(tmp_path)
    with pytest.raises(UserError, match="from 4 to 2048 pixels"):
        open_predictor(run, ["data.image_size=2"])


def open_untrained(*words: str) -> tuple[Predictor, DataModule]:
    """A network as it was made, and the data that it would be trained on."""
    assembly = assemble(settle(compose(*words, "trainer=cpu", "trainer.threads=1")))
    state = {f"model.{name}": value for name, value in assembly.network.state_dict().items()}
    info: Any = {"classes": assembly.data.info.classes, "channels": assembly.data.info.channels}
    checkpoint: Checkpoint = {"state_dict": state, "info": info, "normalization": assembly.data.normalization}
    return build_predictor(Path("made.ckpt"), checkpoint, assembly.config), assembly.data


PHOTOS = ("data=imagenet", "data.batch_size=8", "data.workers=0", "data.val_fraction=0")


@pytest.mark.parametrize(
    "words",
    [
        ("model=resnet18_cifar", *PHOTOS, "data.image_size=32"),
        ("model=resnet18_cifar", *PHOTOS, "data.image_size=24", "data.test_size=32", "data.augment=imagenet_v2"),
        ("model=resnet18_cifar", *PHOTOS, "data.image_size=32", "data.ten_crop=true"),
        ("model=resnet18_cifar", *PHOTOS, "data.image_size=32", "data.channels=1"),
        ("model=small_cnn", "data=folder", "data.batch_size=8", "data.image_size=16", "data.channels=1"),
        ("model=small_cnn", "data=folder", "data.batch_size=8", "data.normalize=per_pixel_mean"),
    ],
    ids=" ".join,
)
def test_every_kind_of_photo_is_seen_as_in_the_test(words: tuple[str, ...], tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    for split, label, k in itertools.product(("train", "val"), ("a", "b"), range(5)):
        path = tmp_path / split / label / f"{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = Image.fromarray(random.randint(256, size=(6, 8, 3), dtype=np.uint8))
        pixels.resize((60 + 10 * k, 50), Image.Resampling.BICUBIC).save(path)
    predictor, data = open_untrained(*words, f"data.root={tmp_path}")
    images = next(iter(data.eval_loader("test")))[0]
    files = [tmp_path / "val" / label / f"{k}.jpg" for label, k in itertools.product("ab", range(5))]
    assert torch.equal(predictor.normalize([predictor.read(file) for file in files]), images)


def test_small_images_change_size_and_colour_as_in_the_test(tmp_path: Path) -> None:
    words = ("data=digits", "data.image_size=12", "data.channels=3", "model=small_cnn")
    predictor, data = open_untrained(*words)
    raw = load_raw(predictor.config.data)
    for k in range(20):
        Image.fromarray(raw.test.images[k, ..., 0]).save(tmp_path / f"{k}.png")
    images = next(iter(data.eval_loader("test")))[0][:20]
    assert torch.equal(predictor.normalize([predictor.read(tmp_path / f"{k}.png") for k in range(20)]), images)


def test_photos_of_several_labels_and_of_objects_are_seen_as_in_the_test(tmp_path: Path) -> None:
    root = coco_set.make(tmp_path)
    common = ("data=coco", f"data.root={root}", "data.batch_size=4", "data.workers=0")
    predictor, data = open_untrained("model=resnet18", *common, "data.image_size=32")
    images = next(iter(data.eval_loader("test")))[0]
    files = [Path(name) for name in data.list_photos()["test"].paths]
    assert torch.equal(predictor.normalize([predictor.read(file) for file in files]), images)
    assert predictor.has_labels and predictor.threshold == 0.5

    predictor, data = open_untrained("model=resnet18", *common, "task=detection", "data.image_size=64")
    photos, _ = next(iter(data.eval_loader("test")))
    read = predictor.read(files[0])
    assert torch.equal(read, photos[0]) and predictor.side == 64
    assert set(predictor.find_objects(read)) == {"boxes", "labels", "scores"}
