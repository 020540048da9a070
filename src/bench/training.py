"""Compare a and b: our training against the common template and a bare PyTorch loop."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..optim.build import build_optimizer
from ..training.trainer import quiet_lightning
from .images import load_cifar
from .ours import BATCH, Clock, InterleavedClock, Training, simulate_terminal
from .peers import bare, template
from .rounds import Comparison, reset_determinism
from .settings import Settings


def compare_with_template(settings: Settings) -> list[Comparison]:
    """a. Compare an epoch with its validation and checkpoints, in training images/s."""
    raw, note = load_cifar(settings.data_root)
    images = settings.images
    ours = Training(raw, model="resnet20", images=images, val=images // 9)  # as 45,000 and 5,000
    template_epoch, tried = pick_best_template(ours)
    return [
        Comparison(
            f"a. ResNet-20, an epoch of {images:,} images, its validation and checkpoints included",
            "images/s",
            {
                f"ours ({ours.config.trainer.precision})": lambda: images / ours.epoch().epoch,
                "template (fp32)": lambda: images / template_epoch().epoch,
            },
            {"template (fp32)": 2.0},
            notes=[note, f"template's seconds an epoch by DataLoader workers: {tried}; measured with the best"],
        )
    ]


def pick_best_template(ours: Training, workers: Iterable[int] = range(3)) -> tuple[Callable[[], Clock], str]:
    """Return an epoch of the template with the fastest number of workers here, and the seconds of each number."""
    info, optim = ours.data.info, ours.config.optim
    hyperparameters = {"lr": optim.lr, "momentum": getattr(optim, "momentum", 0.9), "weight_decay": optim.weight_decay}
    module = template.Classifier(ours.fresh, classes=info.num_classes, **hyperparameters)
    train = template.Images(
        *get_pixels(ours, "train"), template.make_train_transform(info.mean, info.std, info.image_size)
    )
    val = template.Images(*get_pixels(ours, "val"), template.make_test_transform(info.mean, info.std))

    accelerator = ours.config.trainer.accelerator

    def make_epoch(number: int) -> Callable[[], Clock]:
        pin = accelerator == "gpu"
        loaders = (
            template.make_loader(train, batch_size=BATCH, train=True, workers=number, pin=pin),
            template.make_loader(val, batch_size=BATCH, train=False, workers=number, pin=pin),
        )

        def epoch() -> Clock:
            clock = Clock()
            with tempfile.TemporaryDirectory() as folder, simulate_terminal():
                template.fit(module, *loaders, folder=Path(folder), clock=clock, accelerator=accelerator)
            return clock

        return epoch

    reset_determinism()
    quiet_lightning()  # its log goes to the real stderr
    epochs = {number: make_epoch(number) for number in workers}
    seconds = {}
    for number, epoch in epochs.items():
        epoch()  # starts the workers, which stay
        seconds[number] = epoch().epoch
    best = min(seconds, key=seconds.__getitem__)
    return epochs[best], ", ".join(f"{number}: {s:.2f}" for number, s in seconds.items())


def get_pixels(ours: Training, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images [N, H, W, C] and labels [N] of a split as NumPy arrays."""
    loader = ours.data.eval_loader(split)
    return np.ascontiguousarray(loader.images.numpy()), loader.labels.numpy()


def compare_with_bare_loop(settings: Settings) -> list[Comparison]:
    """b. Compare the same steps by Trainer and Task and by a loop of a few lines, in turn: the framework's cost."""
    raw, note = load_cifar(settings.data_root)
    ours = Training(raw, model="resnet20", images=settings.images)
    model, classes = ours.fresh.to(memory_format=torch.channels_last), ours.data.info.num_classes
    bf16 = ours.config.trainer.precision == "bf16"
    figures: dict[str, float] = {}  # of the latest epoch, which measures both sides; each is used once

    def measure(side: str) -> float:
        if side not in figures:
            optimizer = build_optimizer(ours.config.optim, model)
            loop = bare.train_epoch(model, ours.data.train_loader(), optimizer, classes=classes, bf16=bf16)
            ours.epoch(clock := InterleavedClock(loop))
            figures.update(trainer=settings.images / clock.steps, loop=settings.images / clock.theirs)
        return figures.pop(side)

    return [
        Comparison(
            f"b. ResNet-20, {ours.config.trainer.precision}, the training steps of an epoch, in turn step by step",
            "images/s",
            {"Trainer and Task": lambda: measure("trainer"), "bare loop": lambda: measure("loop")},
            {"bare loop": 0.99},
            notes=[note],
        )
    ]
