"""Folding BatchNorm changes no function: every family in float64, and which norms go."""

import copy

import pytest
import torch
from torch import nn

from src.models.fold import fold_batchnorm
from src.tasks.base import copy_for_evaluation
from src.zoo.registry import row, rows
from zoo import build

FAMILIES: dict[str, dict[str, object]] = {n: {} for n in rows() if row(n).family == n and "alexnet" not in n}
SMALL: dict[str, dict[str, object]] = FAMILIES | {
    "cifar_resnet": {"depth": 8, "width": 4, "se": True},
    "imagenet_resnet": {"depth": 18, "stem": "cifar"},
    "preact_resnet": {"depth": 8},
    "wide_resnet": {"depth": 10, "widen": 1, "dropout": 0.3},
    "resnet_v2": {"depth": 50},
    "cifar_densenet": {"depth": 10},
    "vgg": {"depth": 11, "batch_norm": True, "head": "linear"},
}


def trained(name: str, dtype: torch.dtype = torch.float64, **dials: object) -> nn.Module:
    """A network whose norms have statistics and factors of their own."""
    torch.manual_seed(0)
    model: nn.Module = build(name, **dials).to(dtype)
    for norm in norms(model):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    return model.eval()


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", SMALL)
def test_folding_leaves_the_function_as_it_is(name: str) -> None:
    model = trained(name, **SMALL[name])
    before = copy.deepcopy(model.state_dict())
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected, got = model(images), fold_batchnorm(model.train(), torch.float64)(images)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    assert model.training and all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("resnet20", 0),  # all of them
        ("resnet50", 0),
        ("resnext29_8x64d", 0),
        ("vgg16_bn", 0),
        ("preact_resnet20", 10),  # of each block the first norm, and the last of all, take sums
        ("densenet121", 58 + 3 + 1),  # a layer's first, a transition's, the last
    ],
)
def test_each_norm_behind_a_convolution_goes(name: str, left: int) -> None:
    model = build(name, device="meta")
    assert len(norms(fold_batchnorm(model, torch.float32))) == left < len(norms(model))


@pytest.mark.parametrize("name", ["small_cnn", "resnet20", "preact_resnet20", "cifar_densenet"])
def test_in_bfloat16_it_agrees_with_autocast(name: str) -> None:
    """What rounds, rounds alike, but for the weights; and a norm that stays keeps its statistics in full."""
    model = trained(name, torch.float32, **SMALL.get(name, {}))
    images = torch.randn(16, 3, 32, 32)
    with torch.no_grad():
        expected, got = model(images), copy_for_evaluation(model, "bf16-mixed")(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = model(images)
            assert torch.equal(
                got, copy_for_evaluation(model, "bf16-mixed")(images)
            )  # its own precision, not autocast's
    assert got.dtype == torch.bfloat16
    scale = expected.std()
    assert (got - expected).abs().mean() / scale < max(0.01, 2 * (cast - expected).abs().mean() / scale)
    assert all(norm.weight.dtype == torch.float32 for norm in norms(fold_batchnorm(model, torch.bfloat16)))
