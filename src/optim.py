"""The optimizer, and the learning rate as a pure function of progress.

The rate at a step depends on nothing but the share of training that is done, so a resumed run needs no scheduler state.
Only ``plateau`` reacts to validation; it keeps torch's ReduceLROnPlateau.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from src.config import OptimConfig
from src.muon import Muon


def build_optimizer(
    config: OptimConfig, model: nn.Module, *, backbone_lr: float = 1.0, fused: bool = True
) -> Optimizer:
    """The optimizer over a network's parameters that ask for a gradient.

    ``backbone_lr``: the backbone's rate as a share of the head's. ``fused`` is faster, but torch's fused SGD fails
    where some parameters begin to learn later than others.
    """
    muon = config.name == "muon"
    groups = parameter_groups(
        model,
        lr=config.lr,
        weight_decay=config.weight_decay,
        decay_norm_and_bias=config.decay_norm_and_bias,
        backbone_lr=backbone_lr,
        bias_lr=config.bias_lr,
        sgd_lr=config.sgd_lr if muon else None,
    )
    if muon:
        for group in groups:
            group["momentum"] = config.momentum if group["orthogonal"] else config.sgd_momentum
        return Muon(groups, lr=config.lr, iterations=config.newton_schulz, unit_norm=config.unit_norm)
    if config.name == "sgd":
        return SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=fused)
    kind = {"adam": Adam, "adamw": AdamW}[config.name]
    return kind(groups, lr=config.lr, betas=(config.momentum, 0.999), fused=fused)


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    decay_norm_and_bias: bool,
    backbone_lr: float = 1.0,
    bias_lr: float = 1.0,
    sgd_lr: float | None = None,
) -> list[dict[str, Any]]:
    """Parameters that learn, by weight decay and by ``scale``, their rate as a multiple of ``lr``; those at 1 first.

    Vectors (norms, biases) decay only where asked. ``backbone_lr`` and ``bias_lr`` are multiples for all but the head
    and for biases. With ``sgd_lr``, the rate of what has no ``orthogonal`` steps: vectors and the head.
    """
    kinds: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        in_head, vector = name.startswith("head."), parameter.ndim <= 1
        orthogonal = sgd_lr is not None and not in_head and not vector
        scale = 1.0 if sgd_lr is None or orthogonal else sgd_lr / lr
        scale *= (1.0 if in_head else backbone_lr) * (bias_lr if name.endswith("bias") else 1.0)
        decay = weight_decay if decay_norm_and_bias or not vector else 0.0
        kinds.setdefault((decay, scale, orthogonal), []).append(parameter)
    groups = []
    for (decay, scale, orthogonal), parameters in sorted(kinds.items(), key=lambda item: item[0][1] != 1):
        group: dict[str, Any] = {"params": parameters, "weight_decay": decay}
        group |= {"lr": lr * scale, "scale": scale} if scale != 1 else {}
        groups.append(group | ({} if sgd_lr is None else {"orthogonal": orthogonal}))
    return groups


def rate_at(config: OptimConfig, progress: float) -> float:
    """The learning rate at `progress` (done steps / all steps, in [0, 1)) of a training with this configuration."""
    return config.lr * rate_factor(
        progress,
        schedule=config.schedule,
        warmup=config.warmup or 0.0,
        warmup_start=config.warmup_start,
        warmup_shape=config.warmup_shape,
        milestones=config.milestones,
        gamma=config.gamma,
        final=config.final,
    )


def rate_factor(
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
    """The share of the peak rate at `progress` (done steps / all steps, in [0, 1))."""
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


def plateau(config: OptimConfig, optimizer: Optimizer) -> ReduceLROnPlateau:
    """The rate that falls by gamma when the validation loss has not improved for `patience` epochs."""
    floors = [group["lr"] * config.final for group in optimizer.param_groups]
    return ReduceLROnPlateau(optimizer, factor=config.gamma, patience=config.patience, min_lr=floors)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every parameter group this learning rate, or its share of it."""
    for group in optimizer.param_groups:
        own = rate * group.get("scale", 1.0)
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(own)  # a captured GPU step reads the rate from memory
        else:
            group["lr"] = own
