"""Put a run together: data, network, task, and whether they fit this machine."""

from typing import Any

import torch
from torch import nn

from ..config.run import TrainConfig
from ..config.task import DETECTION
from ..data.info import DatasetInfo
from ..errors import UserError
from ..machine.memory import Estimate, check, free_bytes, in_words, step_bytes
from ..models.complexity import count_macs


def arrange(config: TrainConfig, model: nn.Module) -> None:
    """The memory format and the compilation that are asked for, in place: the names of the weights stay."""
    if config.trainer.channels_last:
        model.to(memory_format=torch.channels_last)
    if config.trainer.graph == "reduce-overhead":
        model.compile(mode="reduce-overhead")
    elif config.trainer.compile:
        model.compile()


def count(config: TrainConfig, model: nn.Module, info: DatasetInfo) -> int:
    """The multiply-adds for an image; UserError where images of this size leave the network nothing to see."""
    sizes = [*config.data.train_sizes, info.image_size]
    try:
        return [count_macs(counted(config, model), info.channels, size) for size in sizes][-1]
    except RuntimeError:
        name, native = config.model.name, config.model.native_size
        raise UserError(
            f"model={name}: images of {min(sizes)} pixels are too small for it; set data.image_size={native}, "
            "or take a network for small images (python -m src.models '*_cifar')"
        ) from None


def counted(config: TrainConfig, model: nn.Module) -> nn.Module:
    """What the multiply-adds and the memory are counted of: of a detector the backbone and its pyramid."""
    return model.get_submodule("backbone") if config.task.name in DETECTION else model


def memory_needed(config: TrainConfig, model: nn.Module, info: DatasetInfo) -> str:
    """What a step will take and what is free, in words; UserError where it does not fit."""
    return in_words(*fitting(config, model, info))


def fitting(config: TrainConfig, model: nn.Module, info: DatasetInfo, free: int | None = None) -> tuple[Estimate, int]:
    """What a step will take, and what of `free` (by default, what is free now) each device has [bytes].

    Raises UserError where it does not fit.
    """
    trainer, devices = config.trainer, config.trainer.devices or 1
    batch = config.data.batch_size // trainer.world
    network = counted(config, model)
    settings: dict[str, Any] = {
        "images": (batch // trainer.accumulate, info.channels, info.image_size, info.image_size),
        "precision": trainer.precision,
        "optimizer": config.optim.name,
        "ema": config.optim.ema > 0,
        "accelerator": trainer.accelerator,
    }
    estimate = step_bytes(network, **settings)
    free = free_bytes(trainer.accelerator) if free is None else free
    free //= devices if trainer.accelerator == "cpu" else 1
    backbone: Any = model.get_submodule("backbone")
    helps = False
    if estimate.total > free and getattr(backbone, "checkpoint_activations", None) is False:
        backbone.checkpoint_activations = True
        helps = step_bytes(network, **settings).total <= free
        backbone.checkpoint_activations = False
    check(estimate, free, batch_size=batch, accumulate=trainer.accumulate, checkpointed=not helps, can_checkpoint=helps)
    return estimate, free
