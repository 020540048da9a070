"""The asymmetric loss against binary cross-entropy and a sum by hand, its gradient; the squared error by hand."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from src.config.task import Multiclass, Multilabel
from src.errors import UserError
from src.runs.identity import collect_identity
from src.tasks.classification import find_loss
from src.tasks.losses import asymmetric_loss, binary_cross_entropy, squared_error
from src.tasks.multilabel import build_loss


def sample() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 6 * torch.randn(20, 7, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(20, 7, generator=generator) < 0.3).double()


def test_without_focus_and_margin_it_is_binary_cross_entropy():
    logits, targets = sample()
    expected = binary_cross_entropy_with_logits(logits, targets)
    zero = {"gamma_negative": 0.0, "gamma_positive": 0.0, "margin": 0.0}
    torch.testing.assert_close(asymmetric_loss(logits, targets, **zero), expected)
    torch.testing.assert_close(binary_cross_entropy(logits, targets), expected)
    torch.testing.assert_close(build_loss("asymmetric", **zero)(logits, targets), expected)


def test_a_sum_by_hand():
    # probabilities of 1/2 (present), 3/4 (absent) and 1/100 (absent, below the margin)
    logits = torch.tensor([[0.0, math.log(3), math.log(1 / 99)]], dtype=torch.float64)
    targets = torch.tensor([[1.0, 0.0, 0.0]])
    present = 0.5**1 * math.log(2)
    absent = 0.7**2 * -math.log(1 - 0.7)  # 3/4 less the margin
    loss = asymmetric_loss(logits, targets, gamma_negative=2.0, gamma_positive=1.0, margin=0.05)
    assert loss.item() == pytest.approx((present + absent + 0) / 3, rel=1e-12)


@pytest.mark.parametrize("settings", [(4.0, 0.0, 0.05), (4.0, 1.0, 0.0), (1.0, 2.0, 0.2), (0.0, 0.0, 0.05)])
def test_the_gradient(settings: tuple[float, float, float]):
    logits, targets = sample()
    named = dict(zip(("gamma_negative", "gamma_positive", "margin"), settings, strict=True))
    assert torch.autograd.gradcheck(lambda x: asymmetric_loss(x, targets, **named), (logits.requires_grad_(),))
    extreme = torch.tensor([[-200.0, 200.0, -200.0, 200.0]], requires_grad=True)
    loss = asymmetric_loss(extreme, torch.tensor([[0.0, 1.0, 1.0, 0.0]]), **named)
    loss.backward()
    assert loss.isfinite() and extreme.grad is not None and extreme.grad.isfinite().all()


def test_impossible_settings_are_refused():
    with pytest.raises(UserError, match="task.gamma_negative=0.5: 0, or at least 1"):
        Multilabel(gamma_negative=0.5)
    with pytest.raises(UserError, match="task.margin=1"):
        Multilabel(margin=1.0)
    with pytest.raises(UserError, match="task.reduction='total' is not a choice; choose one of: mean, sum"):
        Multilabel(reduction="total")


def test_a_sum_is_another_run_and_the_mean_leaves_old_names():
    assert collect_identity(Multilabel(reduction="sum")) == {"name": "multilabel", "reduction": "sum"}
    assert collect_identity(Multilabel(reduction="mean")) == {"name": "multilabel"}


def test_the_squared_error_is_of_probabilities_and_summed_over_classes():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]], dtype=torch.float64)  # 1/2 1/2, 3/4 1/4
    labels = torch.tensor([0, 1])
    assert squared_error(logits, labels).item() == pytest.approx(((0.25 + 0.25) + (0.5625 + 0.5625)) / 2)
    certain = torch.tensor([[1e3, 0.0, 0.0]], dtype=torch.float64)
    assert [squared_error(certain, torch.tensor([i])).item() for i in (0, 1)] == [0, 2]
    soft = torch.tensor([[0.95, 0.05], [0.05, 0.95]], dtype=torch.float64)
    torch.testing.assert_close(squared_error(logits, labels, label_smoothing=0.1), squared_error(logits, soft))


def test_the_loss_of_one_class_is_a_choice_that_leaves_old_runs_as_they_were():
    assert find_loss("mse") is squared_error and find_loss("cross_entropy") is torch.nn.functional.cross_entropy
    assert collect_identity(Multiclass()) == {}
    assert collect_identity(Multiclass(loss="mse")) == {"loss": "mse"}
    with pytest.raises(UserError, match=r"task\.loss='hinge' is not a choice; choose one of: cross_entropy, mse"):
        Multiclass(loss="hinge")
