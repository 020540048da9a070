"""Multi-label metrics equal scikit-learn's and torchmetrics'; the threshold is the best one there is."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, hamming_loss, precision_recall_fscore_support
from torchmetrics.functional.classification import (
    multilabel_average_precision,
    multilabel_f1_score,
    multilabel_precision,
    multilabel_recall,
)

from src.metrics.multilabel import (
    RunningCounts,
    compute_average_precisions,
    compute_class_scores,
    count_labels,
    find_best_threshold,
    measure_split,
)


def sample(n: int = 300, classes: int = 12, seed: int = 0, ties: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores that know something of the truth; two classes have no positives, a third one is never predicted."""
    generator = torch.Generator().manual_seed(seed)
    present = torch.rand(n, classes, generator=generator) < torch.linspace(0.02, 0.4, classes)
    present[:, -2:] = False
    scores = (torch.randn(n, classes, generator=generator) + 1.5 * present - 0.5).sigmoid()
    scores[:, -3] *= 0.01
    return (scores * 20).round() / 20 if ties else scores, present


@pytest.mark.parametrize("ties", [False, True])
def test_they_equal_scikit_learns(ties: bool):
    scores, present = sample(ties=ties)
    found = measure_split(scores, present, 0.5)
    predicted, truth = (scores >= 0.5).numpy(), present.numpy()
    some = (truth | predicted).any(axis=0)
    expected = {"accuracy": 1 - hamming_loss(truth, predicted), "exact": accuracy_score(truth, predicted)}
    for prefix, suffix, which, average in (
        ("", "_occurring", some, "macro"),
        ("", "", np.ones_like(some), "macro"),
        ("micro_", "", np.ones_like(some), "micro"),
    ):
        values = precision_recall_fscore_support(truth[:, which], predicted[:, which], average=average, zero_division=0)
        expected |= {
            f"{prefix}{name}{suffix}": v for name, v in zip(("precision", "recall", "f1"), values[:3], strict=True)
        }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    assert (found["classes_with_positives"], found["threshold"]) == (10, 0.5)
    assert set(found) == {*expected, "map", "threshold", "classes_with_positives"}


def test_false_positives_of_a_class_without_positives_count_as_torchmetrics_has_it():
    truth = torch.tensor([[1, 0, 0], [1, 1, 0]], dtype=torch.bool)
    scores = torch.tensor([[0.9, 0.1, 0.8], [0.9, 0.9, 0.1]])  # the third class is found once, and never there
    found = measure_split(scores, truth, 0.5)
    assert found["precision"] == found["precision_occurring"] == pytest.approx(2 / 3)
    assert found["classes_with_positives"] == 2
    for some, present in (sample(), sample(seed=1, ties=True), (scores, truth)):
        found = measure_split(some, present, 0.5)
        for name, stock in (
            ("precision", multilabel_precision),
            ("recall", multilabel_recall),
            ("f1", multilabel_f1_score),
        ):
            predicted = (some.double() >= 0.5).float()
            expected = stock(predicted, present.long(), present.shape[1], average="macro")
            assert found[name] == pytest.approx(float(expected), abs=1e-6), name


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_equals_torchmetrics(ties: bool):
    scores, present = sample(ties=ties)
    expected = multilabel_average_precision(scores[:, :10], present[:, :10].long(), 10, average="none")
    found = compute_average_precisions(scores, present)
    np.testing.assert_allclose(found[:10], expected.numpy(), atol=1e-6)
    assert np.isnan(found[10:]).all()
    assert measure_split(scores, present, 0.5)["map"] == pytest.approx(float(expected.mean()), abs=1e-6)


@pytest.mark.parametrize("ties", [False, True])
def test_no_threshold_has_a_better_macro_f1(ties: bool):
    scores, present = sample(n=40, classes=6, seed=3, ties=ties)

    def macro_f1(threshold: float) -> float:
        return float(f1_score(present.numpy(), scores.double().numpy() >= threshold, average="macro", zero_division=0))

    values = np.unique(scores.double().numpy())
    every = [macro_f1(t) for t in (values[1:] + values[:-1]) / 2] + [macro_f1(0.0)]
    assert macro_f1(find_best_threshold(scores, present)) == pytest.approx(max(every), abs=1e-12)


def test_degenerate_splits():
    nothing = torch.zeros(5, 3, dtype=torch.bool)
    found = measure_split(torch.full((5, 3), 0.2), nothing, 0.5)
    assert (found["map"], found["f1"], found["exact"], found["classes_with_positives"]) == (0, 0, 1, 0)
    assert find_best_threshold(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.bool)) == 0.5
    everything = torch.ones(4, 2, dtype=torch.bool)
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4])[:, None].expand(4, 2)
    assert measure_split(scores, everything, find_best_threshold(scores, everything))["exact"] == 1


def test_running_counts_and_per_class_scores():
    scores, present = sample()
    running = RunningCounts(12)
    for part in torch.arange(300).split(70):
        running.update(scores[part] >= 0.5, present[part], torch.tensor(float(len(part))))
    whole = measure_split(scores, present, 0.5)
    found = running.compute()
    assert found.pop("loss") == pytest.approx((4 * 70 * 70 + 20 * 20) / 300)
    assert found == {name: whole[name] for name in found}
    table = compute_class_scores(count_labels(scores >= 0.5, present))
    expected = precision_recall_fscore_support(present.numpy(), scores.numpy() >= 0.5, zero_division=0)
    for k, name in enumerate(("precision", "recall", "f1")):
        np.testing.assert_allclose(table[name].numpy(), expected[k], atol=1e-12)
