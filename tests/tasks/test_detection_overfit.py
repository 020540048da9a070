"""Detectors learn a few real photos by heart, from random weights: what is wrong anywhere in them would prevent it.

On one thread of a CPU with bf16: Mask R-CNN about five minutes, the others one or two each.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import SHARED_DATA, command

from src.evaluate import evaluate

UNPACK = SHARED_DATA / "unpack.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not UNPACK.is_file(), reason="the real COCO photos of ../shared/data are not here"),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    subprocess.run([sys.executable, UNPACK, root, "coco"], check=True, capture_output=True)
    return root


def learned(run: Path, photos: Path, *words: str) -> dict[str, float]:
    """The metrics on the training photos after `python -m src.train` with these words."""
    common = (
        "data=coco",
        f"data.root={photos}",
        "data.val_fraction=0",
        "data.batch_size=2",
        "data.augment=none",
        "data.workers=0",
        "task.box_samples=64",
        "optim=adamw",
        "optim.lr=3e-4",
        "optim.weight_decay=0.01",
        "optim.warmup=0.1",
        "trainer=cpu",
        "trainer.threads=1",
        "trainer.limit_test_batches=1",
    )
    done = command("src.train", *common, *words, f"hydra.run.dir={run}", timeout=3600)
    assert done.returncode == 0, done.stderr
    return evaluate(run, split="train")


def test_mask_rcnn_learns_eight_photos_by_heart(photos: Path, tmp_path: Path) -> None:
    words = ("model=resnet18", "task=instance_segmentation", "data.limit_train=8", "data.split_seed=21")
    metrics = learned(tmp_path / "run", photos, *words, "data.image_size=256", "trainer.max_epochs=40")
    assert metrics["train/map_50"] >= 0.8 and metrics["train/mask_map_50"] >= 0.7, metrics


@pytest.mark.parametrize(
    ("model", "task", "detector", "epochs"),
    [
        ("resnet50", "detection", "faster_rcnn", 80),
        ("resnext50_32x4d", "instance_segmentation", "mask_rcnn", 80),
        ("resnet50v2", "detection", "retinanet", 200),
    ],
)
def test_other_backbones_learn_two_photos_by_heart(
    model: str, task: str, detector: str, epochs: int, photos: Path, tmp_path: Path
) -> None:
    words = (f"model={model}", f"task={task}", f"task.detector={detector}", f"trainer.max_epochs={epochs}")
    few = ("data.limit_train=2", "data.split_seed=40", "data.image_size=192")
    if detector == "retinanet":  # in bf16 it keeps missing one object of three
        few = ("data.limit_train=2", "data.split_seed=40", "data.image_size=160", "trainer.precision=fp32")
    metrics = learned(tmp_path / "run", photos, *words, *few)
    assert metrics["train/map_50"] >= 0.9, metrics
