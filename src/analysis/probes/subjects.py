"""Open a network for the probes: its weights, a batch of images, and the loss of its task."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.base import DataModule
from ...errors import UserError
from ...runs.identity import compute_config_hash
from ...tasks.table import find_task_row
from ...training.assemble import Assembly, assemble
from ...training.reopen import assemble_trained, reopen
from ...training.settle import settle
from .base import Subject
from .layers import estimate_statistics
from .targets import Target, compose_initial


@lru_cache(maxsize=1)  # several probes, or parts of one, look at the same network one after another
def open_subject(target: Target, images: int, split: str) -> Subject:
    """Open a network with so many images of a split, in fp32 and evaluation mode.

    Raises UserError for what is missing or damaged, and for a task whose images differ in size.
    """
    assembly = assemble_target(target)
    task, data, network = assembly.config.task.name, assembly.data, assembly.network
    if not find_task_row(task).alike:
        raise UserError(f"{target.label}: probes look at classifiers, not at task={task}")
    device = torch.device("cuda" if assembly.config.trainer.accelerator == "gpu" else "cpu")
    network.to(device, memory_format=torch.channels_last).eval().requires_grad_(True)  # type: ignore[call-overload]
    batch, labels = read_images(data, split, images, device)
    if target.at == "init":
        estimate_statistics(network, batch)

    def compute_loss(batch: Tensor, labels: Tensor) -> Tensor:
        loss, *_ = assembly.task.compute(batch, labels)
        return loss

    return Subject(
        label=target.label,
        network=network,
        images=batch,
        labels=labels,
        loss=compute_loss,
        classes=data.info.classes,
        normalization=data.normalization,
        single_class=find_task_row(task).single,
    )


def assemble_target(target: Target) -> Assembly:
    """Build the data, network and task of a target, with its weights."""
    if target.checkpoint:
        return assemble_trained(reopen(Path(target.checkpoint), list(target.overrides)))
    return assemble(settle(compose_initial(target)))


def identify_target(target: Target) -> str:
    """Return a hash of all that makes the network and its data: settings, content of the data, and weights."""
    if target.checkpoint:
        settled = settle(reopen(Path(target.checkpoint), list(target.overrides)).config, continued=True)
    else:
        settled = settle(compose_initial(target))
    return compute_config_hash(settled.config, settled.content) + target.digest()


def read_images(data: DataModule, split: str, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return so many images of a split, as evaluation sees them, and their labels: always the same, in random order."""
    size = data.sizes.get(split, 0)
    if count > size:
        raise UserError(
            f"images={count}: the split {split} has {size:,} images" + " (split=… names another)" * (not size)
        )
    chosen = np.random.default_rng(0).choice(size, count, replace=False)
    loader: Any = data.eval_loader(split, device)
    loader.slices = [(int(number), int(number) + 1) for number in chosen]  # a batch an image, so that no other is read
    batches = list(loader)
    images, labels = (torch.cat([batch[part] for batch in batches]) for part in (0, 1))
    if images.ndim == 5:  # ten crops, of which one is enough
        images = images[:, 0]
    return images.contiguous(memory_format=torch.channels_last), labels
