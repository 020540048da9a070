"""Every registered network runs and keeps its promises; the shared ones equal torchvision's."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from src.config import ModelConfig
from src.data.info import DatasetInfo
from src.errors import UserError
from src.models import build_model
from src.models.complexity import count_macs, count_parameters
from src.registry import row, rows

NAMES = list(rows())
HEAVY = [name for name in NAMES if "101" in name or "152" in name or "1202" in name]


def info(classes: int = 10, channels: int = 3) -> DatasetInfo:
    names = tuple(map(str, range(classes)))
    return DatasetInfo("made", names, channels, 32, mean=(0.5,) * channels, std=(0.25,) * channels)


def build(name: str, classes: int = 10, channels: int = 3, device: str = "cpu", **dials: Any) -> Any:
    with torch.device(device):
        return build_model(replace(row(name), **dials), info(classes, channels))


@cache
def shapes_of(name: str) -> Any:
    """The network without its numbers."""
    return build(name, device="meta").eval()


# Parameters and multiply-adds


@pytest.mark.parametrize(
    ("depth", "a", "b", "macs"),
    [
        (20, 269_722, 272_474, 40.55e6),
        (32, 464_154, 466_906, 68.86e6),
        (44, 658_586, 661_338, 97.17e6),
        (56, 853_018, 855_770, 125.49e6),
        (110, 1_727_962, 1_730_714, 252.89e6),
        (1202, 19_421_274, 19_424_026, 2829.2e6),
    ],
)
def test_cifar_resnets_are_as_large_as_published(depth: int, a: int, b: int, macs: float) -> None:
    model = shapes_of(f"resnet{depth}")
    assert count_parameters(model) == a
    assert count_macs(model, 3, 32) == pytest.approx(macs, rel=1e-3)
    assert count_parameters(build("cifar_resnet", device="meta", depth=depth, shortcut="B")) == b


@pytest.mark.parametrize(
    ("depth", "parameters", "gmacs"),
    [
        (18, 11_689_512, 1.814),
        (34, 21_797_672, 3.664),
        (50, 25_557_032, 4.089),
        (101, 44_549_160, 7.801),
        (152, 60_192_808, 11.514),
    ],
)
def test_imagenet_resnets_are_as_large_as_torchvision_says(depth: int, parameters: int, gmacs: float) -> None:
    model = build(f"resnet{depth}", classes=1000, device="meta")
    assert count_parameters(model) == parameters
    assert count_macs(model, 3, 224) / 1e9 == pytest.approx(gmacs, rel=1e-3)


def test_shortcuts_a_and_none_are_free_and_c_costs_most() -> None:
    for family, depth in (("cifar_resnet", 20), ("imagenet_resnet", 34), ("imagenet_resnet", 50)):
        a, b, c, none = (
            count_parameters(build(family, device="meta", depth=depth, shortcut=option))
            for option in ("A", "B", "C", "none")
        )
        assert a == none < b < c


def test_counting_leaves_the_model_as_it_was() -> None:
    model = build("resnet20").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert count_macs(model, 3, 32) == 40_551_040
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model(torch.zeros(2, 3, 32, 32)).device.type == "cpu"


@pytest.mark.parametrize("name", NAMES)
def test_depth_counts_the_weighted_layers(name: str) -> None:
    modules = shapes_of(name).named_modules()
    layers = [key for key, m in modules if isinstance(m, nn.Conv2d | nn.Linear) and ".shortcut." not in key]
    assert len(layers) == row(name).depth  # type: ignore[attr-defined]


# Contracts


@pytest.mark.parametrize("name", NAMES)
def test_features_have_the_promised_shapes(name: str) -> None:
    size = 64
    model = shapes_of(name)
    maps = model.backbone.forward_features(torch.empty(1, 3, size, size, device="meta"))
    assert [m.shape[1] for m in maps] == model.backbone.feature_channels
    assert [size // m.shape[2] for m in maps] == [size // m.shape[3] for m in maps]
    assert [size // m.shape[2] for m in maps] == model.backbone.feature_strides
    assert model.head(maps[-1]).shape == (1, 10)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in NAMES]
)
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    model = build(name)
    logits = model(torch.randn(2, 3, row(name).native_size // 4, row(name).native_size // 4))
    assert logits.shape == (2, 10)
    logits.logsumexp(1).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("shortcut", ["A", "C"])
@pytest.mark.parametrize(("family", "depth"), [("cifar_resnet", 8), ("imagenet_resnet", 50)])
def test_other_shortcuts_channels_and_odd_sizes(family: str, depth: int, shortcut: str) -> None:
    model = build(family, classes=3, channels=1, depth=depth, shortcut=shortcut)
    images = torch.randn(2, 1, 49, 33).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model.to(memory_format=torch.channels_last)(images)
    assert logits.shape == (2, 3) and logits.isfinite().all()
    logits.float().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_config_without_family_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match=r"model.name=mine: no family builds it; .*cifar_resnet"):
        build_model(ModelConfig(name="mine"), info())


# The residual


def test_a_plain_net_lacks_only_the_additions() -> None:
    """The weights of a residual net fit; with its shortcuts taken out it is the plain one."""
    residual, plain = build("resnet20").eval(), build("plain20").eval()
    plain.load_state_dict(residual.state_dict())
    images = torch.randn(2, 3, 16, 16)
    assert not torch.allclose(residual(images), plain(images))
    for module in residual.modules():
        if hasattr(module, "shortcut"):
            module.shortcut = None
    assert torch.equal(residual(images), plain(images))


@pytest.mark.parametrize("family", ["cifar_resnet", "imagenet_resnet"])
def test_a_block_adds_its_input(family: str) -> None:
    """A residual of zero leaves relu(x) where shapes agree."""
    block = build(family).backbone.stages[0][-1].eval()
    last_norm = [m for m in block.residual.modules() if isinstance(m, nn.BatchNorm2d)][-1]
    nn.init.zeros_(last_norm.weight)
    x = torch.randn(2, last_norm.num_features, 8, 8)
    assert torch.equal(block(x), x.relu())


# torchvision


def logits_of_both(depth: int) -> tuple[Tensor, Tensor]:
    """Our network's and torchvision's, with the same weights, which go over in the order of definition."""
    torch.manual_seed(depth)
    theirs = getattr(torchvision.models, f"resnet{depth}")().eval()
    for value in theirs.state_dict().values():
        if value.ndim == 1:  # BatchNorm's parameters and statistics: unequal, so that no mistake hides
            value.uniform_(0.3, 0.7)
    ours = build(f"resnet{depth}", classes=1000, device="meta").eval()
    names, values = ours.state_dict().keys(), theirs.state_dict().values()
    ours.load_state_dict(dict(zip(names, values, strict=True)), assign=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        return ours(images), theirs(images)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_equals_torchvision_with_the_same_weights(depth: int) -> None:
    ours, theirs = logits_of_both(depth)
    assert theirs.isfinite().all() and theirs.std() > 0.1
    assert (ours - theirs).abs().max() <= 1e-5
