"""Compute the learning rate as a pure function of progress.

It depends on nothing but the fraction of training that is done, so a resumed run needs no scheduler state.
Only ``build_plateau`` reacts to validation; it keeps torch's ReduceLROnPlateau.
"""

import math
from collections.abc import Sequence

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..config.optim import OptimConfig


def compute_learning_rate(config: OptimConfig, progress: float) -> float:
    """Return the learning rate at `progress` (done steps / all steps, in [0, 1)) with this configuration."""
    return config.lr * compute_learning_rate_factor(
        progress,
        schedule=config.schedule,
        warmup=config.warmup or 0.0,
        warmup_start=config.warmup_start,
        warmup_shape=config.warmup_shape,
        milestones=config.milestones,
        gamma=config.gamma,
        final=config.final,
    )


def compute_learning_rate_factor(
    progress: float,
    *,
    schedule: str,
    warmup: float = 0.0,
    warmup_start: float = 0.1,
    warmup_shape: str = "linear",
    milestones: Sequence[float] = (),
    gamma: float = 0.1,
    final: float = 0.0,
) -> float:
    """Return the learning rate at `progress` (done steps / all steps, in [0, 1)) as a fraction of the peak."""
    if progress < warmup:
        rise = progress / warmup if warmup_shape == "linear" else 0.0
        return warmup_start + (1 - warmup_start) * rise
    if schedule == "multistep":
        return gamma ** sum(progress >= milestone for milestone in milestones)
    after = (progress - warmup) / (1 - warmup)
    if schedule == "cosine":
        return final + (1 - final) * (1 + math.cos(math.pi * after)) / 2
    if schedule == "onecycle":
        return final + (1 - final) * (1 - after)
    return 1.0


def build_plateau(config: OptimConfig, optimizer: Optimizer) -> ReduceLROnPlateau:
    """Build the schedule that multiplies the learning rate by gamma after `patience` epochs without a better loss.

    The loss is the validation's.
    """
    floors = [group["lr"] * config.final for group in optimizer.param_groups]
    return ReduceLROnPlateau(optimizer, factor=config.gamma, patience=config.patience, min_lr=floors)


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group, times the group's ``scale`` where it has one."""
    for group in optimizer.param_groups:
        scaled = lr * group.get("scale", 1.0)
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(scaled)  # a captured GPU step reads it from memory
        else:
            group["lr"] = scaled
