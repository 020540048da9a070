"""The networks: a row of ``src/zoo/variants.py`` becomes a module. Importing this imports no torch."""

from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING

from ..config.fields import require
from ..config.model import ModelConfig
from ..data.info import DatasetInfo

if TYPE_CHECKING:
    from torch import nn


def build_model(config: ModelConfig, info: DatasetInfo) -> "nn.Module":
    """The network of this config for images and classes like those of the data set, freshly initialised."""
    require(
        config.builder != "",
        f"model.name={config.name}: no family builds it; let its YAML begin with `defaults: [cifar_resnet]`, "
        "or another name that python -m src.models lists",
    )
    module, _, function = config.builder.partition(":")
    build = getattr(import_module(module), function)
    common = {f.name for f in fields(ModelConfig)}  # of the run, not of the network
    settings = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in common}
    network: nn.Module = build(in_channels=info.channels, num_classes=info.num_classes, **settings)
    return network
