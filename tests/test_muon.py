"""Muon: orthogonal steps of matrices, torch's Nesterov SGD for the rest."""

import copy

import pytest
import torch
from torch import Tensor, nn

from src.config.optim import Muon as MuonConfig
from src.models.heads import Classifier
from src.optim.build import build_optimizer
from src.optim.muon import Muon, orthogonalize
from src.optim.schedule import set_learning_rate


def matrix(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network() -> Classifier:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 2))
    return Classifier(backbone=backbone, head=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)))


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6), (8, 3, 3, 3), (64, 4, 2, 2)])
def test_a_gradients_directions_become_equally_long(shape: tuple[int, ...]) -> None:
    gradient = matrix(*shape)
    update = orthogonalize(gradient)
    assert update.shape == shape and update.dtype == torch.float32
    values = torch.linalg.svdvals(update.flatten(1))
    assert values.min() > 0.6 and values.max() < 1.25
    assert torch.linalg.svdvals(gradient.flatten(1)).max() > 1.25
    u, _, v = torch.linalg.svd(gradient.flatten(1), full_matrices=False)
    agreement = (update.flatten(1) * (u @ v)).sum() / update.norm() / min(u.shape[0], v.shape[1]) ** 0.5
    assert agreement > 0.97
    torch.testing.assert_close(orthogonalize(100 * gradient), update, atol=0.03, rtol=0)


def test_nothing_to_do_is_done_without_a_nan() -> None:
    assert orthogonalize(torch.zeros(3, 4)).eq(0).all()


def test_a_matrix_steps_as_defined() -> None:
    weight, gradients = nn.Parameter(matrix(6, 4)), [matrix(6, 4, seed=1), matrix(6, 4, seed=2)]
    expected = weight.detach().clone()
    optimizer = Muon([weight], lr=0.1, momentum=0.6, weight_decay=0.5)
    average = torch.zeros(6, 4)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        average = 0.6 * average + gradient
        expected = 0.95 * expected - 0.1 * (6 / 4) ** 0.5 * orthogonalize(gradient + 0.6 * average)
    torch.testing.assert_close(weight.detach(), expected)


def test_a_kernel_of_unit_norm_turns_by_the_rate_whatever_its_scale() -> None:
    steps = []
    for size in (1.0, 100.0):
        kernel = nn.Parameter(size * matrix(8, 3, 3, 3))
        kernel.grad = matrix(8, 3, 3, 3, seed=1)
        optimizer = Muon([kernel], lr=0.25, weight_decay=0.9, unit_norm=True)
        optimizer.step()
        steps.append(kernel.detach())
    torch.testing.assert_close(*steps)
    before = matrix(8, 3, 3, 3)
    before *= 8**0.5 / before.norm()
    assert 0.17 < (steps[0] - before).norm() / before.norm() < 0.31


def test_the_rest_takes_torchs_nesterov_sgd() -> None:
    ours, theirs = [nn.Parameter(matrix(5)) for _ in range(2)]
    options = {"lr": 0.1, "momentum": 0.85, "weight_decay": 0.2}
    pair = (Muon([ours], **options, orthogonal=False), torch.optim.SGD([theirs], **options, nesterov=True))
    for _ in range(4):
        for optimizer, parameter in zip(pair, (ours, theirs), strict=True):
            parameter.grad = parameter.detach().sin()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("orthogonal", [True, False])
def test_steps_go_down_a_quadratic(orthogonal: bool) -> None:
    weight, target = nn.Parameter(matrix(6, 8)), matrix(6, 8, seed=1)
    optimizer = Muon([weight], lr=0.05, orthogonal=orthogonal, momentum=0.5)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (weight - target).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[1] < losses[0] and losses[-1] < 0.7 * losses[0]


def test_a_resumed_training_is_the_unbroken_one() -> None:
    config = MuonConfig(lr=0.1, momentum=0.6, unit_norm=True, bias_lr=4, decay_norm_and_bias=False)

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            set_learning_rate(optimizer, 0.1 * (1 - step / 6))
            optimizer.zero_grad()
            model(matrix(4, 3, 6, 6, seed=step)).square().sum().backward()
            optimizer.step()

    unbroken = network()
    train(unbroken, build_optimizer(config, unbroken), range(6))
    model = network()
    first = build_optimizer(config, model)
    train(model, first, range(3))
    second = build_optimizer(config, model)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(model, second, range(3, 6))
    for a, b in zip(unbroken.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_kernels_are_orthogonal_the_head_and_vectors_are_not() -> None:
    model = network()
    config = MuonConfig(
        name="muon", lr=0.2, momentum=0.6, sgd_lr=0.02, sgd_momentum=0.8, bias_lr=10, weight_decay=0.1,
        decay_norm_and_bias=False,
    )  # fmt: skip
    optimizer = build_optimizer(config, model)
    assert isinstance(optimizer, Muon)
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {
        names[p]: (group["orthogonal"], group["lr"], group["momentum"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert found == {
        "backbone.0.weight": (True, 0.2, 0.6, 0.1),
        "backbone.1.weight": (False, pytest.approx(0.02), 0.8, 0.0),
        "backbone.1.bias": (False, pytest.approx(0.2), 0.8, 0.0),
        "backbone.3.weight": (True, 0.2, 0.6, 0.1),
        "backbone.3.bias": (False, pytest.approx(0.2), 0.8, 0.0),
        "head.2.weight": (False, pytest.approx(0.02), 0.8, 0.1),
        "head.2.bias": (False, pytest.approx(0.2), 0.8, 0.0),
    }
    assert optimizer.param_groups[0]["lr"] == 0.2, "the first group's rate is the one that is shown"
    set_learning_rate(optimizer, 0.1)
    assert {round(group["lr"], 6) for group in optimizer.param_groups} == {0.1, 0.01}
