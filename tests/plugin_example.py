"""A family of networks, a data set, an optimizer, a task and a logger of one's own."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from src import api


@dataclass
class TinyNet(api.Family):
    width: int = api.dial(8, "channels")
    family: ClassVar[str] = "tiny_net"


def build_tiny(config, *, in_channels, num_classes):
    from torch import nn

    from src.models.heads import Classifier, LinearHead

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(in_channels, config.width, 3, padding=1)
            self.feature_channels, self.feature_strides = [config.width], [1]

        @property
        def parts(self):
            return [[self.conv]]

        def forward_features(self, x):
            return [self.conv(x).relu()]

        def forward(self, x):
            return self.forward_features(x)[-1]

    return Classifier(backbone=Body(), head=LinearHead(in_channels=config.width, num_classes=num_classes))


api.register_family(TinyNet, build_tiny)
api.register(TinyNet(name="tiny_net"), TinyNet(name="tiny_net16", width=16))


@dataclass
class Stripes(api.DataConfig):
    name: str = api.setting("stripes", "the data set", neutral="")
    count: int = api.setting(64, "images")
    choice: ClassVar[str] = "stripes"


def load_stripes(config):
    from src.data.info import DatasetInfo
    from src.data.raw import Raw, Split

    rng = np.random.default_rng(0)

    def split(n):
        labels = np.arange(n, dtype=np.int64) % 2
        images = rng.integers(0, 60, (n, 8, 8, 1)).astype(np.uint8)
        images[labels == 0, ::2] += 150
        images[labels == 1, :, ::2] += 150
        return Split(images, labels)

    return Raw(DatasetInfo("stripes", ("rows", "columns"), 1, 8, (), ()), split(config.count), split(32))


api.register_data(Stripes, load=load_stripes, content=lambda config: f"stripes-{config.count}")
api.register_recipe("stripes", "multiclass", optim="sgd_onecycle", trainer={"max_epochs": 2}, data={"batch_size": 16})


@dataclass
class Sign(api.OptimConfig):
    name: str = api.setting("sign", "the update rule", neutral="sgd")
    choice: ClassVar[str] = "sign"


def build_sign(config, groups):
    import torch

    class SignSGD(torch.optim.Optimizer):
        def __init__(self, groups, lr):
            super().__init__(groups, {"lr": lr})

        @torch.no_grad()
        def step(self, closure=None):
            loss = closure() if closure else None
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        p.add_(p.grad.sign(), alpha=-group["lr"])
            return loss

    return SignSGD(groups, config.lr)


api.register_optim(Sign, build=build_sign)


@dataclass
class Focal(api.TaskConfig):
    name: str = api.setting("focal", "what is learned", neutral="multiclass")
    gamma: float = api.setting(2.0, "how little an easy image counts")
    choice: ClassVar[str] = "focal"


def build_focal(config, **settings):
    import torch.nn.functional as F

    from src.metrics.confusion import find_cells
    from src.tasks.classification import ClassificationTask

    class FocalTask(ClassificationTask):
        name = "focal"

        def compute(self, images, labels):
            logits = self.model(images).float()
            losses = F.cross_entropy(logits, labels, reduction="none")
            return ((1 - (-losses).exp()) ** config.gamma * losses).mean(), find_cells(logits, labels)

    return FocalTask(**settings)


api.register_task(
    Focal,
    row=api.TaskRow("focal", "accuracy", {"accuracy": "accuracy", "loss": "loss"}, single=True),
    build=build_focal,
)
api.register_recipe("digits", "focal", optim="sgd_onecycle", trainer={"max_epochs": 2})
api.register_recipe("stripes", "focal", optim="sgd_onecycle", trainer={"max_epochs": 2}, data={"batch_size": 16})


@dataclass
class Lines(api.LoggerConfig):
    file: str = api.setting("lines.txt", "where", identity=False)
    choice: ClassVar[str] = "lines"


def build_lines(choice):
    from src.training.loggers.base import RunLogger

    class LineLogger(RunLogger):
        def start(self, run):
            self.path = Path(choice.file)

        def epoch(self, row):
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")

    return LineLogger()


api.register_logger(Lines, build=build_lines)
