"""Residual networks: what a block computes, and equality with torchvision and timm from the same weights."""

import copy
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from src.config.model import ModelConfig
from src.errors import UserError
from src.models.build import build_model
from src.models.complexity import count_macs, count_parameters
from src.models.resnet import ResNet
from zoo import build, info


@pytest.mark.parametrize(
    ("depth", "b"),
    [(20, 272_474), (32, 466_906), (44, 661_338), (56, 855_770), (110, 1_730_714), (1202, 19_424_026)],
)
def test_projections_cost_what_is_published(depth: int, b: int) -> None:
    assert count_parameters(build("cifar_resnet", device="meta", depth=depth, shortcut="B")) == b


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


@pytest.mark.parametrize("family", ["preact_resnet", "wide_resnet", "resnet_v2"])
def test_a_pre_activation_block_leaves_its_input_alone(family: str) -> None:
    """A residual of zero leaves x itself, with nothing behind the addition."""
    block = build(family).backbone.stages[0][1].eval()
    last = [m for m in block.residual.modules() if isinstance(m, nn.Conv2d)][-1]
    nn.init.zeros_(last.weight)
    x = torch.randn(2, last.out_channels, 8, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("family", ["cifar_resnet", "imagenet_resnet", "preact_resnet", "wide_resnet", "resnet_v2"])
def test_options_of_every_residual_family(family: str) -> None:
    """Gate, activation and head change the network; stochastic depth changes training alone."""
    base = count_parameters(build(family, device="meta"))
    gated = build(family, device="meta", se=True)
    gates = [m for name, m in gated.named_modules() if name.endswith(".squeeze")]
    assert len(gates) == sum(len(stage) for stage in gated.backbone.stages)
    assert count_parameters(gated) == base + sum(count_parameters(gate) for gate in gates) > base
    mish = build(family, device="meta", activation="mish")
    assert not any(isinstance(m, nn.ReLU) for m in mish.backbone.modules())
    assert count_parameters(build(family, device="meta", head="conv")) != base

    torch.manual_seed(0)
    model = build(family, stochastic_depth=0.9)
    images = torch.randn(2, 3, 32, 32)
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))
    drops = [m.p for name, m in model.named_modules() if name.endswith(".drop")]
    assert drops == pytest.approx([0.9 * (i + 1) / len(drops) for i in range(len(drops))])


def test_dropout_stands_between_the_convolutions_of_a_wide_block() -> None:
    block = build("wide_resnet", device="meta", dropout=0.3).backbone.stages[0][0]
    assert [type(m) for m in block.residual] == [nn.Conv2d, nn.Sequential, nn.Dropout, nn.Conv2d]


# Recomputed activations


def one_step(model: Any, images: Tensor, recompute: bool) -> dict[str, Tensor]:
    """Gradients and statistics after two training passes from the same random state."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if hasattr(module, "checkpoint_activations"):
            module.checkpoint_activations = recompute
    torch.manual_seed(1)
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            model(images).float().logsumexp(1).sum().backward()
    return model.state_dict() | {f"{n}.grad": p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize(
    ("family", "dials"),
    [
        ("cifar_resnet", {"stochastic_depth": 0.5}),
        ("imagenet_resnet", {"depth": 18, "se": True}),
        ("preact_resnet", {"block": "bottleneck", "depth": 29, "shortcut": "B"}),
        ("wide_resnet", {"depth": 10, "widen": 2, "dropout": 0.3}),
        ("cifar_densenet", {"depth": 16, "dropout": 0.2}),
    ],
)
def test_recomputing_changes_nothing_but_memory(family: str, dials: dict[str, Any]) -> None:
    """The same gradients and BatchNorm statistics to the bit, dropout and stochastic depth included."""
    torch.manual_seed(0)
    model = build(family, **dials)
    images = torch.randn(4, 3, 32, 32)
    plain, recomputed = (one_step(model, images, recompute) for recompute in (False, True))
    assert plain.keys() == recomputed.keys()
    assert [name for name in plain if not torch.equal(plain[name], recomputed[name])] == []


def test_recomputing_keeps_only_the_inputs_of_blocks() -> None:
    kept: dict[bool, int] = {}
    for recompute in (False, True):
        model, total = build("cifar_resnet", depth=56, checkpoint_activations=recompute), 0

        def count(x: Tensor) -> Tensor:
            nonlocal total
            total += x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
            model(torch.randn(2, 3, 16, 16))
        kept[recompute] = total
    assert kept[True] < kept[False] / 3


def test_checkpointing_is_an_attribute_of_the_backbone() -> None:
    assert isinstance(build("cifar_resnet").backbone, ResNet)
    assert build("resnet56", checkpoint_activations=True).backbone.checkpoint_activations


# torchvision and timm


def logits_of_both(name: str, theirs: nn.Module) -> tuple[Tensor, Tensor]:
    """Our network's and theirs, with the same weights, which go over in the order of definition."""
    theirs.eval()
    for value in theirs.state_dict().values():
        if value.ndim == 1:  # BatchNorm's parameters and statistics: unequal, so that no mistake hides
            value.uniform_(0.3, 0.7)
    ours = build(name, classes=1000, device="meta").eval()
    names, values = ours.state_dict().keys(), theirs.state_dict().values()
    ours.load_state_dict(dict(zip(names, values, strict=True)), assign=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        return ours(images), theirs(images)


THEIR_NAMES = {
    **{f"resnet{depth}": f"resnet{depth}" for depth in (18, 34, 50, 101, 152)},
    "wrn50_2": "wide_resnet50_2",
    "wrn101_2": "wide_resnet101_2",
    "resnext50_32x4d": "resnext50_32x4d",
    "resnext101_32x8d": "resnext101_32x8d",
    "resnext101_64x4d": "resnext101_64x4d",
}


@pytest.mark.parametrize("name", THEIR_NAMES)
def test_equals_torchvision_with_the_same_weights(name: str) -> None:
    torch.manual_seed(0)
    ours, theirs = logits_of_both(name, getattr(torchvision.models, THEIR_NAMES[name])())
    assert theirs.isfinite().all() and theirs.std() > 0.1
    assert (ours - theirs).abs().max() <= 1e-5


@pytest.mark.parametrize("name", ["se_resnet50", "se_resnet101", "se_resnet152", "se_resnext50_32x4d"])
def test_equals_timm_with_the_same_weights(name: str) -> None:
    torch.manual_seed(0)
    ours, theirs = logits_of_both(name, timm.create_model(name.replace("se_", "se")))
    assert theirs.isfinite().all() and theirs.std() > 0.01
    assert (ours - theirs).abs().max() <= 1e-5


def test_gates_of_basic_blocks_equal_timms() -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("seresnet18").eval()
    ours = build("imagenet_resnet", classes=1000, depth=18, se=True).eval()
    values = theirs.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert (ours(images) - theirs(images)).abs().max() <= 1e-5


def test_a_stride_needs_more_than_one_pixel() -> None:
    """torch 2.15 computes random gradients for such a convolution in bf16 on a CPU."""
    with pytest.raises(RuntimeError, match="single pixel"):
        count_macs(build("resnet18", device="meta"), 3, 16)
    assert count_macs(build("resnet18", device="meta"), 3, 17) > 0
