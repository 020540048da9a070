"""The tables that are printed: every metric of every task under a readable title."""

import torch

from src.metrics.coco import NUMBERS
from src.metrics.multilabel import RunningCounts, measure_split
from src.tasks.detection import LOSSES
from src.tasks.table import find_title
from src.training.messages import format_metrics


def test_every_metric_has_a_title() -> None:
    present = torch.eye(3, dtype=torch.bool)
    names = {*NUMBERS, *(f"mask_{name}" for name in NUMBERS), *(name for losses in LOSSES.values() for name in losses)}
    training = RunningCounts(3)
    training.update(present, present, torch.tensor(0.5))
    names |= measure_split(present.float(), present, 0.5).keys() | training.compute().keys()
    assert not [name for name in names if find_title(name) == name and name not in ("loss", "accuracy", "threshold")]


def test_few_metrics_are_columns_and_many_are_rows() -> None:
    few = format_metrics({"train/loss": 0.5, "test/accuracy": 0.25}, "multiclass").splitlines()
    assert [line.split() for line in few] == [["accuracy", "loss"], ["-" * 23], ["train", "0.5000"], ["test", "0.2500"]]
    numbers = {f"test/{name}": 0.25 for name in NUMBERS} | {"test/map_small": -1.0, "train/loss": 2.0}
    many = format_metrics(numbers, "detection").splitlines()
    assert many[0].split() == ["train", "test"] and len(many) == 2 + 13
    assert many[5].startswith("mAP, small objects") and many[5].endswith("none"), "there were none to find"
