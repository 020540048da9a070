"""Compare d: our augmentation of whole batches against torchvision's of a sample at a time."""

import time
from collections.abc import Iterable

import numpy as np
import torch
from torch.nn.functional import pad

from ..data.normalization import make_normalization
from ..data.resident.loader import TrainLoader
from .images import load_cifar
from .ours import BATCH
from .peers.augmentation import make_pil_loader, make_tensor_loader
from .rounds import Comparison
from .settings import Settings

PEERS = {"PIL in a DataLoader": make_pil_loader, "tensors in a DataLoader": make_tensor_loader}


def compare_augmentation(settings: Settings) -> list[Comparison]:
    """d. Compare the time to pad by 4, crop, flip and normalise; each peer has the workers that suit it."""
    raw, note = load_cifar(settings.data_root)
    split, info = raw.train.take(np.arange(settings.images)), raw.info
    ours = TrainLoader(
        pad(torch.from_numpy(split.images), (0, 0, 4, 4, 4, 4)),
        torch.from_numpy(split.labels),
        make_normalization("dataset", info, torch.from_numpy(split.images)),
        padding=4,
        flip=True,
        seed=0,
        epoch=0,
        batch_size=BATCH,
    )
    sides = {"whole batches": lambda: measure_throughput(ours, settings.images, passes=10)}
    notes = [note]
    for name, make in PEERS.items():
        loaders = [make(split.images, split.labels, info.mean, info.std, workers=number) for number in range(3)]
        # the first pass starts the workers
        tried = [max(measure_throughput(loader, settings.images) for _ in range(2)) for loader in loaders]
        best = loaders[int(np.argmax(tried))]
        sides[name] = lambda loader=best: measure_throughput(loader, settings.images)  # type: ignore[misc]
        listed = ", ".join(f"{number}: {throughput:,.0f}" for number, throughput in enumerate(tried))
        notes.append(f"{name}, images/s by workers: {listed}; measured with the best")
    return [
        Comparison(
            f"d. Augmentation of {settings.images:,} images in batches of {BATCH}",
            "images/s",
            sides,
            {"PIL in a DataLoader": 20.0, "tensors in a DataLoader": 9.0},
            notes=notes,
        )
    ]


def measure_throughput(loader: Iterable[object], images: int, passes: int = 1) -> float:
    """Return the images/s of whole passes over a loader of so many images."""
    began = time.perf_counter()
    for _ in range(passes):
        for _ in loader:
            pass
    return passes * images / (time.perf_counter() - began)
