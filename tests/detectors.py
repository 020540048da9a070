"""What the tests of detectors share: small ones, and a set of photos for them.

As a program it trains one on two processes and tests it: ``python tests/detectors.py <set> <results.json>``.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from torch import nn

import zoo
from src.config.data import Coco
from src.config.optim import SGD
from src.data.coco.detection import DetectionData, build_detection_data
from src.models.blocks import BasicBranch, BlockStyle, ResidualBlock
from src.models.detection import make_detector
from src.models.resnet import ResNet, get_strides, make_imagenet_stem
from src.optim.build import build_optimizer
from src.optim.schedule import compute_learning_rate
from src.tasks.detection import DetectionTask
from src.training.trainer import quiet_lightning

KINDS = ("faster_rcnn", "mask_rcnn", "retinanet")
PIXELS = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


def tiny_backbone(**arguments: Any) -> ResNet:
    """A ResNet of ten layers with few channels."""
    return ResNet(
        stem=make_imagenet_stem(3, 8),
        stem_channels=8,
        stem_stride=4,
        block=partial(ResidualBlock, BasicBranch(), shortcut="B", style=BlockStyle()),
        expansion=1,
        widths=[8, 8, 16, 16],
        strides=get_strides((1, 1, 1, 1)),
        **arguments,
    )


def tiny(kind: str, *, backbone: nn.Module | None = None, num_classes: int = 4, **settings: Any) -> Any:
    """A detector of this kind for 64 pixels, all of which learns."""
    common: dict[str, Any] = {"freeze_batchnorm": False, "trainable_stages": 5, "image_size": 64, "max_size": 96}
    common |= {"box_samples": 16, "detections": 10, **PIXELS}
    body = backbone or tiny_backbone()
    return make_detector(backbone=body, name="tiny", kind=kind, num_classes=num_classes, **common | settings)


def registered(name: str, kind: str, *, device: str = "cpu", num_classes: int = 91, **settings: Any) -> Any:
    """A detector on a backbone of the registry."""
    body = zoo.build(name, device=device).backbone
    return tiny(kind, backbone=body, num_classes=num_classes, **settings).to(device)


def data_of(root: Path, *, masks: bool = True, seed: int = 0, **settings: Any) -> DetectionData:
    """The data module of a set in COCO's layout under ``root``."""
    common: dict[str, Any] = {
        "batch_size": 2,
        "eval_batch_size": 4,
        "val_fraction": 0.0,
        "image_size": 64,
        "workers": 0,
    }
    config = Coco(root=str(root), **common | settings)
    return build_detection_data(config, seed=seed, accumulate=1, devices=1, normalization=None, masks=masks)


def task_of(kind: str, *, lr: float = 0.01, **settings: Any) -> DetectionTask:
    torch.manual_seed(0)
    optim = SGD(lr=lr)
    return DetectionTask(
        detector=kind,
        masks=kind == "mask_rcnn",
        model=tiny(kind, **settings),
        optimizer=partial(build_optimizer, optim),
        learning_rate=partial(compute_learning_rate, optim),
        monitored=("val",),
    )


def trainer_of(epochs: int = 1, **settings: Any) -> Trainer:
    quiet_lightning()
    return Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1,
        **settings,
    )


def judged(root: Path, kind: str, *, detections: int, **settings: Any) -> tuple[DetectionTask, dict[str, float]]:
    """The validation and test metrics of an untrained detector, every box counts."""
    data = data_of(root, masks=kind == "mask_rcnn", val_fraction=0.3)
    task = task_of(kind, score_threshold=0.0, detections=detections)
    trainer = trainer_of(**settings)
    trainer.validate(task, data, verbose=False)
    validated = dict(task.epoch_metrics)
    trainer.test(task, data, verbose=False)
    return task, validated | task.epoch_metrics | {"seen": task.seen}


if __name__ == "__main__":
    task, metrics = judged(Path(sys.argv[1]), "faster_rcnn", detections=100, strategy="ddp", devices=2)
    if task.global_rank == 0:
        Path(sys.argv[2]).write_text(json.dumps({"metrics": metrics, "results": task.evaluated["test"].results}))
