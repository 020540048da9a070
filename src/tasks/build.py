"""Build the network of a task, and the LightningModule that trains it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.choices import find_builder
from ..config.run import TrainConfig
from ..config.task import FindsObjects, InstanceSegmentation, Multiclass, Multilabel

if TYPE_CHECKING:
    from torch import nn

    from ..data.info import DatasetInfo, Normalization
    from ..models.pretrained.reading import Pretrained
    from .base import Task, TaskSettings

ALL = 1000  # more parts than any backbone has
LONGER = 1333 / 800  # largest longer side of a photo, as a multiple of the shorter one, without data.max_size


def build_network(config: TrainConfig, info: "DatasetInfo", normalization: "Normalization") -> "nn.Module":
    """Build the network that this task trains: a classifier, or a detector on the same backbone.

    Unless the task says otherwise, a detector's backbone that comes with weights keeps its BatchNorm and its first two
    parts, as in torchvision; any other learns as a whole. Raises UserError for a backbone that gives no pyramid.
    """
    from ..models.build import build_model

    classifier, task, pretrained = build_model(config.model, info), config.task, config.model.weights is not None
    if not isinstance(task, FindsObjects):
        return classifier
    from ..models.backbone import get_backbone
    from ..models.detection import make_detector

    longer: int | None = getattr(config.data, "max_size", None)
    return make_detector(
        backbone=get_backbone(classifier, config.model.name),
        name=config.model.name,
        kind=task.detector,
        num_classes=info.num_classes + 1,
        freeze_batchnorm=pretrained if task.freeze_batchnorm is None else task.freeze_batchnorm,
        trainable_stages=task.trainable_stages if task.trainable_stages is not None else (3 if pretrained else ALL),
        image_size=info.image_size,
        max_size=longer or round(info.image_size * LONGER),
        mean=normalization["mean"],
        std=normalization["std"],
        score_threshold=task.score_threshold,
        box_samples=task.box_samples,
    )


def load_initial_weights(
    config: TrainConfig, network: "nn.Module", pretrained: "Pretrained", *, path: Path, classes: Sequence[str]
) -> str:
    """Copy initial weights into a network of this task, and return a sentence that says which were copied.

    Raises UserError where the weights are those of another network.
    """
    from ..models.pretrained.detection import load_detector
    from ..models.pretrained.weights import check_network, load_weights

    load = load_detector if isinstance(config.task, FindsObjects) else load_weights
    sentence = load(network, pretrained, path=path, classes=classes)
    check_network(pretrained, config.model, path)
    return sentence


def build_task(
    config: TrainConfig, model: "nn.Module", info: "DatasetInfo", class_counts: Sequence[int] = ()
) -> "Task":
    """Build the LightningModule that trains this network on this data as the configuration says.

    ``class_counts`` are the training images of each class, for data.balance=loss.
    """
    task, common = config.task, collect_common_settings(config, model)
    if isinstance(task, FindsObjects):
        from .detection import DetectionTask

        masks = isinstance(task, InstanceSegmentation)
        return DetectionTask(detector=task.detector, masks=masks, evaluator=task.evaluator, **common)
    common |= {"fold": config.trainer.fold, "graph": config.trainer.graph == "full"}
    match task:
        case Multiclass():
            from .classification import ClassificationTask

            return ClassificationTask(
                num_classes=info.num_classes,
                label_smoothing=task.label_smoothing,
                test_flip=task.test_flip,
                loss=task.loss,
                headline=task.headline,
                class_counts=class_counts if getattr(config.data, "balance", "none") == "loss" else (),
                **common,
            )
        case Multilabel():
            from .multilabel import MultilabelTask, build_loss

            loss = build_loss(
                task.loss,
                gamma_negative=task.gamma_negative,
                gamma_positive=task.gamma_positive,
                margin=task.margin,
            )
            summed = task.reduction == "sum"
            return MultilabelTask(num_classes=info.num_classes, loss=loss, summed=summed, **common)
    built: Task = find_builder(task)(task, num_classes=info.num_classes, **common)
    return built


def collect_common_settings(config: TrainConfig, model: "nn.Module") -> "TaskSettings":
    """Return the keyword arguments that every task takes; see Task."""
    from ..optim.build import build_optimizer
    from ..optim.finetune import set_learning
    from ..optim.schedule import build_plateau, compute_learning_rate

    optim, finetune = config.optim, config.finetune
    learn = partial(set_learning, finetune=finetune.name, freeze_batchnorm=finetune.freeze_batchnorm)
    follows_validation = optim.schedule == "plateau"
    fused = finetune.name != "gradual"
    return {
        "model": model,
        "optimizer": partial(build_optimizer, optim, backbone_lr=finetune.backbone_lr, fused=fused),
        "learning_rate": None if follows_validation else partial(compute_learning_rate, optim),
        "plateau": partial(build_plateau, optim) if follows_validation else None,
        "monitored": (("val",) if config.data.val_fraction > 0 else ()) + (("test",) if config.monitor_test else ()),
        "seed": config.seed,
        "ema": optim.ema,
        "clip_norm": optim.clip_norm,
        "learn": learn if finetune.name != "full" or finetune.freeze_batchnorm else None,
    }
