"""Our one metric against torchmetrics' own."""

import pytest
import torch
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from src.metrics.confusion import ClassificationMetrics, compute_class_metrics, compute_metrics, count_top_k, find_cells


def batches(classes: int, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(n, classes, generator=generator), torch.randint(classes, (n,), generator=generator))
        for n in (33, 64, 1)
    ]


def matrix_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    metric = ClassificationMetrics(logits.shape[1])
    metric.update(find_cells(logits, labels), torch.tensor(1.0))
    return metric.compute()["confusion"]


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_equals_torchmetrics(classes: int) -> None:
    ours = ClassificationMetrics(classes, top5=classes > 5)
    stock = {
        "accuracy": MulticlassAccuracy(classes, average="micro"),
        "precision": MulticlassPrecision(classes, average="macro"),
        "recall": MulticlassRecall(classes, average="macro"),
        "f1": MulticlassF1Score(classes, average="macro"),
        "confusion": MulticlassConfusionMatrix(classes),
    }
    if classes > 5:
        stock["top5"] = MulticlassAccuracy(classes, top_k=5, average="micro")
    losses, count = 0.0, 0
    for logits, labels in batches(classes, seed=classes):
        loss = torch.nn.functional.cross_entropy(logits, labels)
        top5 = count_top_k(logits, labels, 5) if classes > 5 else None
        ours.update(find_cells(logits, labels), loss, top5)
        losses, count = losses + float(loss) * len(labels), count + len(labels)
        for metric in stock.values():
            metric.update(logits, labels)
    values = ours.compute()
    for name, metric in stock.items():
        torch.testing.assert_close(values[name], metric.compute(), atol=1e-6, rtol=0, check_dtype=False)
    assert float(values["loss"]) == pytest.approx(losses / count, abs=1e-6)
    assert set(values) == {*stock, "loss"}


def test_when_batches_are_counted_changes_no_bit() -> None:
    at_once, one_by_one = ClassificationMetrics(10), ClassificationMetrics(10)
    for logits, labels in batches(10, seed=0):
        loss = torch.nn.functional.cross_entropy(logits.requires_grad_(), labels)
        for metric in (at_once, one_by_one):
            metric.update(find_cells(logits, labels), loss)
        one_by_one.count()
        assert not any(kept.requires_grad for kept in at_once.uncounted[-1]), "or a step's activations would be kept"
    assert len(at_once.uncounted) == 3 and not one_by_one.uncounted
    expected = at_once.compute()
    for name, value in one_by_one.compute().items():
        assert torch.equal(value, expected[name]), name
    assert not at_once.uncounted and expected["confusion"].sum() == 98


def test_a_reset_forgets_what_was_not_counted_yet() -> None:
    metric = ClassificationMetrics(2)
    metric.update(torch.tensor([0]), torch.tensor(5.0))
    metric.reset()
    metric.update(torch.tensor([3]), torch.tensor(1.0))
    values = metric.compute()
    assert values["confusion"].tolist() == [[0, 0], [0, 1]] and values["loss"] == 1


def test_a_metric_that_was_reset_in_inference_mode_counts_on_outside_of_it() -> None:
    """As a validation of its own and then that of a fit have it."""
    metric = ClassificationMetrics(10, top5=True)
    for inference in (True, False):
        with torch.inference_mode(inference):
            logits, labels = batches(10, 0)[0]
            metric.update(find_cells(logits, labels), torch.tensor(1.0), count_top_k(logits, labels, 5))
            assert metric.compute()["confusion"].sum() == 33
            metric.reset()


def test_a_class_that_never_occurs_is_left_out_as_torchmetrics_does() -> None:
    logits, labels = torch.eye(4)[[0, 0, 1, 1]], torch.tensor([0, 1, 1, 1])  # classes 2 and 3 never occur
    values = compute_metrics(matrix_of(logits, labels))
    for name, kind in (("precision", MulticlassPrecision), ("recall", MulticlassRecall), ("f1", MulticlassF1Score)):
        expected = kind(4, average="macro")(logits, labels)
        torch.testing.assert_close(values[name], expected)


def test_rows_of_the_confusion_matrix_are_the_true_classes() -> None:
    matrix = matrix_of(torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1, 0]))
    assert matrix.tolist() == [[1, 1], [0, 1]]
    assert matrix.dtype == torch.int64
    assert compute_class_metrics(matrix)["recall"].tolist() == [0.5, 1.0]
    assert compute_class_metrics(matrix)["precision"].tolist() == [1.0, 0.5]
    assert compute_class_metrics(matrix)["support"].tolist() == [2.0, 1.0]


def test_counts_stay_exact_beyond_the_integers_of_float32() -> None:
    metric = ClassificationMetrics(2)
    metric.counts += torch.tensor([2**24 + 1, 0, 0, 1])
    metric.update(torch.tensor([0]), torch.tensor(1.0))
    assert metric.compute()["confusion"][0, 0] == 2**24 + 2


def test_a_label_whose_logit_is_nan_is_no_hit() -> None:
    labels = torch.arange(10)
    logits = torch.full((10, 10), torch.nan)
    assert count_top_k(logits, labels, 5) == 0
    logits[3] = torch.arange(10.0)  # label 3 is the seventh, all others are NaN
    logits[4] = -torch.arange(10.0)  # label 4 is the fifth
    assert count_top_k(logits, labels, 5) == 1
