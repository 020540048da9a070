"""Try in which function the tensors of others were trained, by the statistics of their BatchNorms.

Tried is what can be: where shortcut A pads, which convolution of a bottleneck strides, and how pixels are scaled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ..config.fields import get_default
from ..config.model import ModelConfig
from ..config.run import TrainConfig
from ..config.task import FindsObjects
from ..data.base import DataModule
from ..data.info import Normalization
from ..data.normalization import make_normalization
from ..errors import UserError
from ..models.pretrained.statistics import Mismatch, measure_mismatch
from ..tasks.build import build_network

AGREE = 0.25  # 0.03 was measured on CIFAR-10 and 0.13 on digits, where a wrong padding gives 0.38 and 0.32
CLEARLY = 0.6  # another variant is better where its distance is less than this fraction
SCALINGS = ("dataset", "imagenet", "half", "none")
DIALS = {"zero_padding": ("end", "both"), "stride_in": ("3x3", "1x1")}
SUSPECTS = (
    "channel order (BGR for RGB), a mean and deviation of their own, BatchNorm's epsilon, blur pool, another stem"
)
MOST_IMAGES = 512


@dataclass(frozen=True)
class Variant:
    """A function that some tensors can be: the dials of its network and the scaling of its pixels."""

    dials: tuple[tuple[str, str], ...]
    normalize: str
    mismatch: Mismatch

    @property
    def distance(self) -> float:
        return self.mismatch.distance


def try_variants(config: TrainConfig, data: DataModule, network: nn.Module) -> list[Variant]:
    """Measure every variant of a network with its weights on some training images; as configured comes first."""
    own = config.data.normalize
    if isinstance(config.task, FindsObjects):  # whose backbone keeps its statistics, and whose photos are no batch
        return [Variant((), own, Mismatch(0.0, 0))]
    images = collect_images(data)
    variants = []
    for dials in list_dials(config.model):
        other = network if not dials else rebuild(config, dict(dials), data, network)
        for name in [own, *(scaling for scaling in SCALINGS if scaling != own)]:
            if name != own and data.normalization["mean_image"] is not None:
                continue
            wanted = data.normalization if name == own else make_normalization(name, data.info, torch.empty(0))
            scaled = change_scaling(images, data.normalization, wanted)
            variants.append(Variant(dials, name, measure_mismatch(other, scaled)))
    return variants


def collect_images(data: DataModule) -> Tensor:
    """Return some training images, augmented as the recipe does, as the network sees them: float32 [B, C, S, S].

    The statistics of a BatchNorm are of such images: without the borders of random crops, 0.2 stands for 0.03.
    """
    parts: list[Tensor] = []
    most = MOST_IMAGES if data.info.image_size < 128 else MOST_IMAGES // 8
    loader: Any = data.train_loader()
    for images, *_ in loader:
        parts.append(images[:most])
        if sum(map(len, parts)) >= most:
            break
    return torch.cat(parts)[:most]


def list_dials(model: ModelConfig) -> Iterator[tuple[tuple[str, str], ...]]:
    """Yield the changes of a network's dials that leave its tensors as they are; none of them comes first."""
    free = []
    for name, values in DIALS.items():
        if (own := getattr(model, name, None)) is not None and can_vary(model, name):
            free.append([(), *(((name, value),) for value in values if value != own)])
    for chosen in product(*free):
        yield tuple(pair for change in chosen for pair in change)


def can_vary(model: ModelConfig, dial: str) -> bool:
    """Tell whether another value of this dial is a network of the family."""
    others = [value for value in DIALS[dial] if value != getattr(model, dial)]
    try:
        for value in others:
            replace(model, name=model.family, **{dial: value})
    except UserError:
        return False
    return True


def change_dials(config: TrainConfig, dials: dict[str, str]) -> TrainConfig:
    """Return the configuration with other dials of its network, which then has the name of its family."""
    return replace(config, model=replace(config.model, name=config.model.family, **dials)) if dials else config


def rebuild(config: TrainConfig, dials: dict[str, str], data: DataModule, network: nn.Module) -> nn.Module:
    """Return the network of other dials, with the same tensors."""
    other = build_network(change_dials(config, dials), data.info, data.normalization)
    other.load_state_dict(network.state_dict())
    return other.to(next(network.parameters()).device)


def change_scaling(images: Tensor, before: Normalization, wanted: Normalization) -> Tensor:
    """Return normalised images [B, C, S, S] as another normalisation would have made them."""
    if wanted is before:
        return images
    mean, std, new_mean, new_std = (
        torch.tensor(values).view(-1, 1, 1) for values in (before["mean"], before["std"], wanted["mean"], wanted["std"])
    )
    return (images * std + mean - new_mean) / new_std


def choose_variant(variants: Sequence[Variant], fixed: Sequence[str]) -> tuple[Variant, Variant]:
    """Return the variant to measure, and the one that agrees best.

    They differ only where the best one would change what a person has typed (`fixed`: names of dials, and normalize).
    """
    typed = variants[0]
    best = min(variants, key=lambda variant: variant.distance)
    if typed.distance <= AGREE and best.distance > CLEARLY * typed.distance:
        return typed, typed
    if best.distance > AGREE:
        return typed, best
    if (best.normalize != typed.normalize and "normalize" in fixed) or any(name in fixed for name, _ in best.dials):
        return typed, best
    return best, best


def describe_variant(variant: Variant, config: TrainConfig) -> str:
    """Return the settings that make a variant, as they are typed."""
    words = [f"model.{name}={value}" for name, value in variant.dials]
    if words and config.model.name != config.model.family:
        words = [f"model={config.model.family}", *describe_row(config.model), *words]
    own = config.data.normalize
    return " ".join([*words, *([f"data.normalize={variant.normalize}"] if variant.normalize != own else [])])


def describe_row(model: ModelConfig) -> list[str]:
    """Return the dials by which a published network differs from its family's own row, as they are typed."""
    changed = {f.name: getattr(model, f.name) for f in list_dial_fields(model)}
    defaults = {f.name: get_default(f) for f in list_dial_fields(model)}
    return [f"model.{name}={value}" for name, value in changed.items() if name == "depth" or value != defaults[name]]


def list_dial_fields(model: ModelConfig) -> list[Any]:
    """Return the fields that make the architecture."""
    return [f for f in fields(model) if f.metadata.get("dial")]


def describe_check(typed: Variant, measured: Variant, best: Variant, config: TrainConfig) -> str:
    """Say in a sentence or two whether the weights are in the function that they were trained in."""
    if not typed.mismatch.layers:
        return "There is no BatchNorm by which to check that these weights are in the function they were trained in."
    unit = f"standard deviations apart, over {typed.mismatch.layers} layers"
    if measured is typed is best:
        return f"The statistics of the BatchNorms agree with the data ({typed.distance:.2f} {unit})."
    wrong = (
        f"Warning: the statistics of the BatchNorms do not agree with the data ({typed.distance:.2f} {unit}), so the "
        "weights are in another function than they were trained in."
    )
    if best.distance > AGREE:
        nearest = f" (nearest, at {best.distance:.2f}: {describe_variant(best, config) or 'as it is'})"
        return f"{wrong} None that can be tried agrees{nearest}. Usual suspects: {SUSPECTS}; or the data are others."
    named = describe_variant(best, config)
    if measured is best:
        return f"{wrong} They agree ({best.distance:.2f}) with {named}, so they are measured with that."
    return f"{wrong} They agree ({best.distance:.2f}) with {named}; what was typed is measured."
