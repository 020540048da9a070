"""Tasks: what is learned, its loss and its metrics, as LightningModules."""

from functools import partial
from typing import TYPE_CHECKING, Any

from ..config.run import TrainConfig
from ..config.task import DETECTION

if TYPE_CHECKING:
    from torch import nn

    from ..data.info import DatasetInfo
    from .base import Task


def build_network(config: TrainConfig, info: "DatasetInfo", normalization: dict[str, Any]) -> "nn.Module":
    """The network that this task trains: a classifier, or a detector on the same backbone."""
    if config.task.name in DETECTION:
        from ..models.detection import build_detector

        return build_detector(config.model, config.task, config.data, info, normalization)
    from ..models.build import build_model

    return build_model(config.model, info)


def build_task(config: TrainConfig, model: "nn.Module", info: "DatasetInfo") -> "Task":
    """The LightningModule that trains this network on this data as the configuration says."""
    from ..optim.build import build_optimizer
    from ..optim.finetune import set_learning
    from ..optim.schedule import plateau, rate_at

    optim, finetune, task = config.optim, config.finetune, config.task
    learn = partial(set_learning, finetune=finetune.name, freeze_batchnorm=finetune.freeze_batchnorm)
    follows_validation = optim.schedule == "plateau"
    monitored = (("val",) if config.data.val_fraction > 0 else ()) + (("test",) if config.monitor_test else ())
    common: dict[str, Any] = {
        "model": model,
        "optimizer": partial(
            build_optimizer, optim, backbone_lr=finetune.backbone_lr, fused=finetune.name != "gradual"
        ),
        "rate": None if follows_validation else partial(rate_at, optim),
        "plateau": partial(plateau, optim) if follows_validation else None,
        "monitored": monitored,
        "seed": config.seed,
        "learn": learn if finetune.name != "full" or finetune.freeze_batchnorm else None,
    }
    if task.name in DETECTION:
        from .detection import DetectionTask

        return DetectionTask(detector=task.detector, evaluator=task.evaluator, **common)
    common |= {"fold": config.trainer.fold, "graph": config.trainer.graph == "full"}
    if task.name == "multilabel":
        from .multilabel import MultilabelTask, build_loss

        numbers = {name: getattr(task, name) for name in ("gamma_negative", "gamma_positive", "margin")}
        loss = build_loss(task.loss, **numbers)
        return MultilabelTask(num_classes=info.num_classes, loss=loss, **common)
    from .classification import ClassificationTask

    return ClassificationTask(
        num_classes=info.num_classes, label_smoothing=task.label_smoothing, test_flip=task.test_flip, **common
    )
