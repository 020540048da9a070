"""Find a trained network's mistakes: the surest, the most confused pairs, and labels that are probably wrong.

Several runs of one data set vote: a picture is given the class with the most confidence, added over the runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..report.predictions import Predictions, read_predictions
from ..training.assemble import Assembly
from ..training.reopen import Reopened, assemble_trained, reopen
from .logits import check_single_class, compute_answers
from .trust import check_same_images, find_folder

SURE, SURE_TOGETHER = 0.9, 0.8  # from which confidence against the label it is doubted: of one run, of several


@dataclass(frozen=True)
class Judged:
    """What R runs say of N pictures of a split: their numbers in it, labels, the class that got most, and how sure.

    ``confidence`` is the mean over the runs of the confidence in that class, 0 for a run that names another;
    ``against`` counts the runs that name another class than the label.
    """

    split: str
    runs: int
    index: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    against: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        return self.prediction != self.label


def judge(paths: Sequence[Path], split: str, overrides: list[str]) -> tuple[Judged, Assembly]:
    """Let runs judge a split; return that with the first run, whose pictures and classes all share.

    Raises UserError where they are of different pictures, or where the split has none.
    """
    opened = [reopen(path, overrides) for path in paths]
    first = assemble_trained(opened[0])
    check_single_class(first, "mistakes")
    check_same_images(opened[0], first)
    if not first.data.sizes.get(split):
        raise UserError(
            f"split={split}: this run has no such pictures (data.val_fraction={first.config.data.val_fraction})"
        )
    found = [predict(run, first if run is opened[0] else None, split) for run in opened]
    for run, each in zip(opened[1:], found[1:], strict=True):
        same = run.checkpoint["info"]["classes"] == opened[0].checkpoint["info"]["classes"]
        if not (same and all(np.array_equal(getattr(each, n), getattr(found[0], n)) for n in ("index", "label"))):
            raise UserError(
                f"{run.path}: its {split} pictures are not those of {opened[0].path}; only runs of the same can vote"
            )
    return vote(found, split, first.data.info.num_classes), first


def predict(run: Reopened, assembly: Assembly | None, split: str) -> Predictions:
    """Return what a run says of a split: as stored after its test, or computed anew."""
    if split == "test" and (stored := read_predictions(find_folder(run.path) / "test_predictions.npz")):
        return stored
    answers = compute_answers(assembly or assemble_trained(run), split)
    confidence, predicted = answers.logits.softmax(dim=1).max(dim=1)
    return Predictions(np.arange(len(predicted)), answers.labels.numpy(), predicted.numpy(), confidence.numpy())


def vote(found: Sequence[Predictions], split: str, num_classes: int) -> Judged:
    """Add up the confidences of some runs."""
    label = found[0].label
    total = np.zeros((len(label), num_classes))
    for each in found:
        total[np.arange(len(label)), each.prediction] += each.confidence / len(found)
    against = sum((each.prediction != label).astype(int) for each in found)
    return Judged(split, len(found), found[0].index, label, total.argmax(1), total.max(1), np.asarray(against))


def rank_mistakes(judged: Judged) -> np.ndarray:
    """Return the places of the wrong pictures, the surest first."""
    places = np.flatnonzero(judged.wrong)
    return places[np.argsort(-judged.confidence[places], kind="stable")]


def find_suspects(judged: Judged) -> np.ndarray:
    """Return the places of the pictures whose label all runs doubt, the surest first."""
    ranked = rank_mistakes(judged)
    sure = judged.confidence[ranked] >= (SURE if judged.runs == 1 else SURE_TOGETHER)
    return ranked[sure & (judged.against[ranked] == judged.runs)]


def rank_confusions(judged: Judged) -> list[tuple[int, int, np.ndarray]]:
    """Return pairs of a true and a predicted class with the places of their pictures, the most frequent pair first."""
    ranked = rank_mistakes(judged)
    pairs: dict[tuple[int, int], list[int]] = {}
    for place in ranked.tolist():
        pairs.setdefault((int(judged.label[place]), int(judged.prediction[place])), []).append(place)
    return [
        (*pair, np.array(places)) for pair, places in sorted(pairs.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def tabulate_classes(judged: Judged, classes: Sequence[str]) -> list[dict[str, object]]:
    """Return a row for each class: its pictures, recall, precision, F1, mean confidence, and what it is taken for."""
    rows = []
    for k, name in enumerate(classes):
        own, named = judged.label == k, judged.prediction == k
        right = int((own & named).sum())
        recall, precision = right / max(1, own.sum()), right / max(1, named.sum())
        others = np.bincount(judged.prediction[own & ~named], minlength=len(classes))
        rows.append(
            {
                "class": name,
                "pictures": int(own.sum()),
                "recall": recall,
                "precision": precision,
                "F1": 2 * recall * precision / (recall + precision) if right else 0.0,
                "mean confidence": float(judged.confidence[own].mean()) if own.any() else 0.0,
                "most often taken for": f"{classes[int(others.argmax())]} ({others.max()})" if others.any() else "",
            }
        )
    return rows
