"""The classification step with soft labels, and the scores of several crops."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot
from torch.optim import SGD

from src.metrics.confusion import find_cells
from src.tasks.classification import ClassificationTask, compute_scores, find_loss, step
from src.tasks.losses import squared_error

IMAGES = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 5))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_shares_of_one_class_are_its_label(model: nn.Module, smoothing: float) -> None:
    loss, cells = step(model, IMAGES, LABELS, label_smoothing=smoothing)
    soft, soft_cells = step(model, IMAGES, one_hot(LABELS, 5).float(), label_smoothing=smoothing)
    torch.testing.assert_close(soft, loss)
    assert torch.equal(soft_cells, cells)
    assert torch.equal(cells, find_cells(model(IMAGES), LABELS))


def test_the_squared_error_trains_and_is_what_validation_reports(model: nn.Module) -> None:
    loss, cells = step(model, IMAGES, LABELS, loss=find_loss("mse"))
    torch.testing.assert_close(loss, squared_error(model(IMAGES), LABELS))
    assert torch.equal(cells, find_cells(model(IMAGES), LABELS))
    task = ClassificationTask(
        num_classes=5,
        model=model,
        optimizer=lambda net: SGD(net.parameters(), 0.1),
        learning_rate=None,
        loss="mse",
        label_smoothing=0.1,
    )
    torch.testing.assert_close(
        task.compute(IMAGES, LABELS)[0], squared_error(model(IMAGES), LABELS, label_smoothing=0.1)
    )
    task.validation_step((IMAGES, LABELS, torch.arange(6)), 0)
    assert float(task.val_metrics["val"].compute()["loss"]) == pytest.approx(loss.item())  # type: ignore[operator]


def test_of_mixed_labels_the_larger_share_is_counted(model: nn.Module) -> None:
    other = LABELS.roll(1)
    shares = 0.7 * one_hot(LABELS, 5) + 0.3 * one_hot(other, 5)
    loss, cells = step(model, IMAGES, shares)
    logits = model(IMAGES)
    torch.testing.assert_close(loss, 0.7 * cross_entropy(logits, LABELS) + 0.3 * cross_entropy(logits, other))
    assert torch.equal(cells, find_cells(logits, LABELS))


def test_the_flipped_accuracy_is_of_mean_probabilities_and_stands_beside_the_plain_one(model: nn.Module) -> None:
    plain, flipped = (
        ClassificationTask(
            model=model, optimizer=lambda m: SGD(m.parameters()), learning_rate=None, num_classes=5, test_flip=on
        )
        for on in (False, True)
    )
    for task in (plain, flipped):
        task.on_test_epoch_start()
        task.test_step((IMAGES, LABELS, torch.arange(6)), 0)
        task.on_test_epoch_end()
    mean = (model(IMAGES).softmax(1) + model(IMAGES.flip(-1)).softmax(1)) / 2
    right = float((mean.argmax(1) == LABELS).float().mean())
    assert flipped.epoch_metrics == plain.epoch_metrics | {"test/accuracy_flip": pytest.approx(right)}
    assert torch.equal(flipped.tested, plain.tested)


def test_ten_crops_are_averaged_as_probabilities(model: nn.Module) -> None:
    crops = torch.randn(3, 10, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    averaged = compute_scores(model, crops)
    by_hand = torch.stack([torch.stack([model(crop[None]).softmax(1)[0] for crop in image]).mean(0) for image in crops])
    torch.testing.assert_close(averaged.exp(), by_hand)
    torch.testing.assert_close(averaged.softmax(1), by_hand)
    torch.testing.assert_close(compute_scores(model, IMAGES), model(IMAGES))
