"""A run opened for inference sees an image file as its own test did, without its data."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TINY, compose
from PIL import Image

from src.data.build import load_raw
from src.errors import UserError
from src.inference.network import open_predictor
from src.training.reopen import assemble_trained, reopen
from src.training.run import train


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
