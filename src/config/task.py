"""The choice of what is learned."""

from dataclasses import dataclass

from .fields import check_choices, require, setting

DETECTION = ("detection", "instance_segmentation")


EVALUATORS = ("faster_coco_eval", "pycocotools")


TASKS = ("multiclass", "multilabel", *DETECTION)


DETECTORS = ("", "faster_rcnn", "retinanet", "mask_rcnn")


@dataclass
class TaskConfig:
    name: str = setting("multiclass", "what is learned", choices=TASKS)
    label_smoothing: float = setting(0.0, "share of the target spread over all classes, in [0, 1)")
    test_flip: bool = setting(False, "multiclass: in the test, also average over mirror images: test/accuracy_flip")
    loss: str = setting("bce", "multilabel: binary cross-entropy, or Ridnik et al. 2021", choices=("bce", "asymmetric"))
    gamma_negative: float = setting(4.0, "asymmetric loss: how little an easy absent label counts; 0 or at least 1")
    gamma_positive: float = setting(0.0, "asymmetric loss: how little an easy present label counts; 0 or at least 1")
    margin: float = setting(0.05, "asymmetric loss: absent labels of a lower probability count nothing")
    detector: str = setting("", "what finds objects on the backbone's maps", choices=DETECTORS)
    freeze_batchnorm: bool | None = setting(
        None, "detection: keep the backbone's BatchNorm as the weights have it; by default where there are weights"
    )
    trainable_stages: int | None = setting(
        None,
        "detection: parts of the backbone that learn, from its end; by default 3 where there are weights, else all",
    )
    box_samples: int = setting(512, "Faster and Mask R-CNN: boxes of an image that the second stage learns from")
    score_threshold: float = setting(0.05, "detection: the lowest score of what is found, in [0, 1)")
    evaluator: str = setting(
        "faster_coco_eval", "detection: what computes COCO's numbers", identity=False, choices=EVALUATORS
    )

    def __post_init__(self) -> None:
        check_choices(self, "task")
        self._check_detection()
        require(0 <= self.label_smoothing < 1, f"task.label_smoothing={self.label_smoothing}: from 0 up to, but not, 1")
        require(
            self.name == "multiclass" or self.label_smoothing == 0,
            f"task.label_smoothing={self.label_smoothing}: is for task=multiclass only",
        )
        require(self.name == "multiclass" or not self.test_flip, "task.test_flip=true: is for task=multiclass only")
        for name in ("gamma_negative", "gamma_positive"):
            gamma = getattr(self, name)
            require(gamma == 0 or gamma >= 1, f"task.{name}={gamma}: 0, or at least 1")
        require(0 <= self.margin < 1, f"task.margin={self.margin}: from 0 up to, but not, 1")

    def _check_detection(self) -> None:
        """A detector where there is something to detect; masks and Mask R-CNN together or not at all."""
        detects, masks = self.name in DETECTION, self.name == "instance_segmentation"
        fitting = "mask_rcnn" if masks else "faster_rcnn or retinanet" if detects else "none"
        require(
            bool(self.detector) == detects and (self.detector == "mask_rcnn") == masks,
            f"task.detector={self.detector or 'none'}: with task={self.name} it is {fitting}",
        )
        require(
            self.trainable_stages is None or self.trainable_stages >= 0,
            f"task.trainable_stages={self.trainable_stages}: at least 0",
        )
        require(0 <= self.score_threshold < 1, f"task.score_threshold={self.score_threshold}: from 0 up to, but not, 1")
        require(self.box_samples >= 4, f"task.box_samples={self.box_samples}: at least 4, for a quarter shows objects")
