"""What the tests of networks share: building one by its name."""

from dataclasses import replace
from functools import cache
from typing import Any

import torch

from src.data.info import DatasetInfo
from src.models.build import build_model
from src.zoo.registry import row


def info(classes: int = 10, channels: int = 3) -> DatasetInfo:
    names = tuple(map(str, range(classes)))
    return DatasetInfo("made", names, channels, 32, mean=(0.5,) * channels, std=(0.25,) * channels)


def build(name: str, classes: int = 10, channels: int = 3, device: str = "cpu", **dials: Any) -> Any:
    """The registered network, or with dials another one of its family."""
    with torch.device(device):
        return build_model(replace(row(name), **dials), info(classes, channels))


@cache
def shapes_of(name: str, classes: int = 10) -> Any:
    """The network without its numbers."""
    return build(name, classes, device="meta").eval()
