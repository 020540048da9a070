"""Build the optimizer over the parameters that learn."""

from torch import nn, optim
from torch.optim import Optimizer

from ..config.choices import find_builder
from ..config.optim import SGD, Adam, AdamW, Muon, OptimConfig
from . import muon
from .muon import Group


def build_optimizer(
    config: OptimConfig, model: nn.Module, *, backbone_lr: float = 1.0, fused: bool = True
) -> Optimizer:
    """Build the optimizer over a network's parameters that ask for a gradient.

    ``backbone_lr``: the backbone's learning rate as a fraction of the head's. ``fused`` is faster, but torch's fused
    SGD fails where some parameters begin to learn later than others. Raises UserError where nothing builds the choice.
    """
    groups = parameter_groups(
        model,
        lr=config.lr,
        weight_decay=config.weight_decay,
        decay_norm_and_bias=config.decay_norm_and_bias,
        backbone_lr=backbone_lr,
        bias_lr=config.bias_lr,
        sgd_lr=config.sgd_lr if isinstance(config, Muon) else None,
    )
    match config:
        case SGD(lr=lr, momentum=momentum, nesterov=nesterov):
            return optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=fused)
        case AdamW(lr=lr, momentum=momentum):
            return optim.AdamW(groups, lr=lr, betas=(momentum, 0.999), fused=fused)
        case Adam(lr=lr, momentum=momentum):
            return optim.Adam(groups, lr=lr, betas=(momentum, 0.999), fused=fused)
        case Muon(lr=lr, newton_schulz=iterations, unit_norm=unit_norm):
            for group in groups:
                group["momentum"] = config.momentum if group["orthogonal"] else config.sgd_momentum
            return muon.Muon(groups, lr=lr, iterations=iterations, unit_norm=unit_norm)
    built: Optimizer = find_builder(config)(config, groups)  # groups: each with its learning rate and weight decay
    return built


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    decay_norm_and_bias: bool,
    backbone_lr: float = 1.0,
    bias_lr: float = 1.0,
    sgd_lr: float | None = None,
) -> list[Group]:
    """Group the parameters that learn by weight decay and by ``scale``, their learning rate as a multiple of ``lr``.

    Groups of scale 1 come first. Vectors (norms, biases) decay only where ``decay_norm_and_bias``. ``backbone_lr`` is
    the multiple of all but the head, ``bias_lr`` that of biases. ``sgd_lr`` is Muon's learning rate of what takes no
    ``orthogonal`` steps: vectors and the head.
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
        group: Group = {"params": parameters, "weight_decay": decay}
        group |= {"lr": lr * scale, "scale": scale} if scale != 1 else {}
        groups.append(group | ({} if sgd_lr is None else {"orthogonal": orthogonal}))
    return groups
