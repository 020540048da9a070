"""The rate's course and the parameter groups."""

import pytest
import torch
from helpers import compose
from torch import nn

from src.config.choices import find_choice
from src.config.optim import SGD, Adam
from src.errors import UserError
from src.optim.build import build_optimizer, parameter_groups
from src.optim.schedule import build_plateau, compute_learning_rate, compute_learning_rate_factor, set_learning_rate
from src.training.settle import settle_machine


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_multistep_falls_at_the_papers_iterations() -> None:
    config = SGD(lr=0.1, schedule="multistep", milestones=[0.5, 0.75], gamma=0.1, warmup=0.0)
    rates = {step: compute_learning_rate(config, step / 64_000) for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)}
    assert list(rates.values()) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_the_warm_up_of_110_layers_lasts_400_iterations_at_a_tenth() -> None:
    config = SGD(lr=0.1, schedule="multistep", milestones=[0.5], warmup=400 / 64_000, warmup_shape="constant")
    assert compute_learning_rate(config, 0.0) == pytest.approx(0.01)
    assert compute_learning_rate(config, 399 / 64_000) == pytest.approx(0.01)
    assert compute_learning_rate(config, 400 / 64_000) == pytest.approx(0.1)


def test_a_warm_up_is_nothing_for_a_plateau() -> None:
    with pytest.raises(UserError, match="optim.warmup=0.1: optim.schedule=plateau"):
        SGD(schedule="plateau", warmup=0.1)
    config = compose("model=resnet110", "data=cifar10", "optim=adam_plateau", "trainer=cpu")
    config = settle_machine(config)
    assert config.model.warmup > 0 and config.optim.warmup == 0


def test_cosine_equals_torchs() -> None:
    optimizer = torch.optim.SGD(net().parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    for step in range(50):
        assert compute_learning_rate_factor(step / 50, schedule="cosine") == pytest.approx(
            optimizer.param_groups[0]["lr"], abs=1e-9
        )
        optimizer.step()
        scheduler.step()


def test_onecycle_is_two_straight_lines() -> None:
    rates = [
        compute_learning_rate_factor(p, schedule="onecycle", warmup=0.25, warmup_start=0.0)
        for p in (0, 0.125, 0.25, 0.625, 1)
    ]
    assert rates == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_norms_and_biases_decay_only_where_asked() -> None:
    model = net()
    both = parameter_groups(model, lr=1.0, weight_decay=0.1, decay_norm_and_bias=False)
    assert [group["weight_decay"] for group in both] == [0.1, 0.0]
    assert [len(list(group["params"])) for group in both] == [2, 4]
    (one,) = parameter_groups(model, lr=1.0, weight_decay=0.1, decay_norm_and_bias=True)
    assert len(list(one["params"])) == 6


def test_biases_have_a_rate_of_their_own_where_asked() -> None:
    optimizer = build_optimizer(SGD(lr=0.1, bias_lr=64), net())
    assert [(len(g["params"]), g["lr"]) for g in optimizer.param_groups] == [(3, 0.1), (3, pytest.approx(6.4))]
    assert all(p.ndim == 1 for p in optimizer.param_groups[1]["params"])
    set_learning_rate(optimizer, 0.05)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, pytest.approx(3.2)]


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_each_update_rule_steps(name: str, kind: type) -> None:
    model = net()
    optimizer = build_optimizer(find_choice("optim", name)(lr=0.1), model)
    assert type(optimizer) is kind
    before = model[3].weight.detach().clone()
    model(torch.randn(2, 3, 3, 3)).square().sum().backward()  # a plain sum over normalised maps has no gradient
    optimizer.step()
    assert not torch.equal(before, model[3].weight)
    set_learning_rate(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.5}


def test_plateau_falls_after_its_patience() -> None:
    config = Adam(lr=1.0, schedule="plateau", gamma=0.5, patience=1, final=0.25)
    optimizer = build_optimizer(config, net())
    scheduler = build_plateau(config, optimizer)
    rates = []
    for _ in range(8):
        scheduler.step(1.0)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": -0.1},
        {"momentum": 1.0},
        {"nesterov": True, "momentum": 0.0},
        {"milestones": [0.75, 0.5]},
        {"warmup": 1.0},
        {"bias_lr": 0.0},
        {"sgd_lr": 0.0, "name": "muon"},
        {"sgd_momentum": 1.0, "name": "muon"},
        {"newton_schulz": 0, "name": "muon"},
        {"schedule": "step"},
    ],
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(UserError, match=f"optim.{next(iter(wrong))}"):
        find_choice("optim", wrong.get("name", "sgd"))(**wrong)
