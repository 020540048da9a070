"""The choice of the task."""

from dataclasses import dataclass
from typing import ClassVar

from .choices import CHOICES, Choice, check_name, register_choice
from .fields import check_choices, require, setting

EVALUATORS = ("faster_coco_eval", "pycocotools")


@dataclass
class TaskConfig(Choice):
    name: str = setting("multiclass", "what is learned")

    config_group: ClassVar[str] = "task"
    target: ClassVar[str] = "class"  # what of the data it learns from: class, labels, boxes or masks

    def __post_init__(self) -> None:
        check_name(self)
        check_choices(self, "task")
        self.check()

    def check(self) -> None:
        """Raise UserError where the settings of this choice alone are wrong."""


@register_choice
@dataclass
class Multiclass(TaskConfig):
    """Classification with one class an image."""

    loss: str = setting(
        "cross_entropy",
        "multiclass: mse is the squared distance of the probabilities from the target",
        choices=("cross_entropy", "mse"),
    )
    label_smoothing: float = setting(0.0, "fraction of the target spread over all classes, in [0, 1)")
    test_flip: bool = setting(False, "in the test, also average over mirror images: test/accuracy_flip")
    headline: str = setting(
        "accuracy",
        "what chooses the best epoch; auto: macro F1 where your own classes are unbalanced",
        choices=("auto", "accuracy", "f1"),
    )

    choice: ClassVar[str] = "multiclass"

    def check(self) -> None:
        require(0 <= self.label_smoothing < 1, f"task.label_smoothing={self.label_smoothing}: from 0 up to, but not, 1")


@register_choice
@dataclass
class Multilabel(TaskConfig):
    """Classification with every class that an image shows."""

    name: str = setting("multilabel", "what is learned", neutral="multiclass")
    loss: str = setting("bce", "multilabel: binary cross-entropy, or Ridnik et al. 2021", choices=("bce", "asymmetric"))
    reduction: str = setting(
        "mean",
        "train on the loss's mean over images and labels, or on their sum, as Ridnik et al.",
        choices=("mean", "sum"),
    )
    gamma_negative: float = setting(4.0, "asymmetric loss: how little an easy absent label counts; 0 or at least 1")
    gamma_positive: float = setting(0.0, "asymmetric loss: how little an easy present label counts; 0 or at least 1")
    margin: float = setting(0.05, "asymmetric loss: absent labels of a lower probability count nothing")

    choice: ClassVar[str] = "multilabel"
    target: ClassVar[str] = "labels"

    def check(self) -> None:
        for name in ("gamma_negative", "gamma_positive"):
            gamma = getattr(self, name)
            require(gamma == 0 or gamma >= 1, f"task.{name}={gamma}: 0, or at least 1")
        require(0 <= self.margin < 1, f"task.margin={self.margin}: from 0 up to, but not, 1")


@dataclass
class FindsObjects(TaskConfig):
    """Settings of all detectors."""

    detector: str = setting("", "what finds objects on the backbone's maps")
    freeze_batchnorm: bool | None = setting(
        None, "keep the backbone's BatchNorm as the weights have it; by default where there are weights"
    )
    trainable_stages: int | None = setting(
        None, "parts of the backbone that learn, from its end; by default 3 where there are weights, else all"
    )
    box_samples: int = setting(512, "Faster and Mask R-CNN: boxes of an image that the second stage learns from")
    score_threshold: float = setting(0.05, "the lowest score of what is found, in [0, 1)")
    evaluator: str = setting("faster_coco_eval", "what computes COCO's numbers", identity=False, choices=EVALUATORS)

    def check(self) -> None:
        require(
            self.trainable_stages is None or self.trainable_stages >= 0,
            f"task.trainable_stages={self.trainable_stages}: at least 0",
        )
        require(0 <= self.score_threshold < 1, f"task.score_threshold={self.score_threshold}: from 0 up to, but not, 1")
        require(self.box_samples >= 4, f"task.box_samples={self.box_samples}: at least 4; a quarter shows objects")

    def check_weights(self, given: bool) -> None:
        """Raise UserError where a part of the backbone would be fixed although no weights are `given`."""
        for name in ("freeze_batchnorm", "trainable_stages"):
            value = getattr(self, name)
            require(
                given or value is None or value is False,
                f"task.{name}={value}: would fix a random backbone; set what to start from: model.weights=…",
            )


@register_choice
@dataclass
class Detection(FindsObjects):
    """Detection of objects by their boxes."""

    name: str = setting("detection", "what is learned", neutral="multiclass")
    detector: str = setting(
        "faster_rcnn", "what finds objects on the backbone's maps", choices=("faster_rcnn", "retinanet"), neutral=""
    )

    choice: ClassVar[str] = "detection"
    target: ClassVar[str] = "boxes"


@register_choice
@dataclass
class InstanceSegmentation(FindsObjects):
    """Detection of objects by their boxes and masks."""

    name: str = setting("instance_segmentation", "what is learned", neutral="multiclass")
    detector: str = setting(
        "mask_rcnn", "what finds objects on the backbone's maps", choices=("mask_rcnn",), neutral=""
    )

    choice: ClassVar[str] = "instance_segmentation"
    target: ClassVar[str] = "masks"


def list_tasks_for(targets: tuple[str, ...]) -> list[str]:
    """Return the names of the tasks that learn from these targets of a data set, in the targets' order."""
    kinds = CHOICES["task"].items()
    return [name for target in targets for name, kind in kinds if getattr(kind, "target", "") == target]
