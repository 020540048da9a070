"""Detection and instance segmentation: the losses of a step as a pure function, and the LightningModule around it."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchmetrics import Metric

from ..data.coco.index import CocoIndex
from ..data.coco.objects import select_learnable
from ..data.info import DatasetInfo
from ..files import write_atomic, write_rows
from ..metrics.coco import Scores, complete_annotations, evaluate_results, make_results
from .base import Task, TaskSettings, use_full_precision
from .sheets import choose_images, draw_contact_sheet

if TYPE_CHECKING:
    from typing_extensions import Unpack


def step(model: nn.Module, images: list[Tensor], targets: list[dict[str, object]]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the sum [] of a detector's losses on a batch, and each of them by its name."""
    losses = {f"loss_{name.removeprefix('loss_')}": loss for name, loss in model(images, targets).items()}
    return torch.stack(list(losses.values())).sum(), losses


Found = list[dict[str, Any]]  # objects in COCO's format of results; of an image, or of several


class Losses(Metric):
    """Average a step's losses over an epoch, exactly over processes; nothing leaves the device before ``compute``."""

    full_state_update = False
    sums: Tensor
    steps: Tensor

    def __init__(self, names: tuple[str, ...], **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.names = names
        self.add_state("sums", torch.zeros(len(names), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("steps", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, losses: dict[str, Tensor]) -> None:
        self.sums += torch.stack([losses[name].detach().double() for name in self.names])
        self.steps += 1

    def compute(self) -> dict[str, float]:
        """Return the means of the losses by name, and their sum as "loss"."""
        means = (self.sums / self.steps).tolist()
        return {"loss": sum(means), **dict(zip(self.names, means, strict=True))}


LOSSES = {
    "faster_rcnn": ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"),
    "mask_rcnn": ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"),
    "retinanet": ("loss_classification", "loss_bbox_regression"),
}


@dataclass(frozen=True)
class Evaluated:
    """A split's results in COCO's format, of all processes, and their scores."""

    index: CocoIndex
    results: Found
    boxes: Scores
    masks: Scores | None


class DetectionTask(Task):
    """Train a detector to find the objects of an image: their boxes and, with Mask R-CNN, their masks.

    Photos are evaluated one by one: in a batch, the padding to the largest would change the numbers a little.
    """

    name = "detection"
    train_metrics: Losses

    def __init__(
        self,
        *,
        detector: str,
        masks: bool = False,
        evaluator: str = "faster_coco_eval",
        **common: "Unpack[TaskSettings]",
    ) -> None:
        """Set up the losses; `common` are the arguments of Task.

        With `masks` the detector finds masks too, and its headline metric is theirs.
        """
        super().__init__(**common)
        self.name = "instance_segmentation" if masks else "detection"
        self.masks = masks
        self.evaluator = evaluator
        self.train_metrics = Losses(LOSSES[detector])
        self.collected: dict[str, list[tuple[int, Found]]] = {}
        self.evaluated: dict[str, Evaluated] = {}

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        """Return boxes (corners), labels from 1, scores and, from Mask R-CNN, masks float [N, 1, H, W] of images."""
        return self.model(images)

    def training_step(self, batch: tuple[list[Tensor], list[dict[str, object]]], batch_idx: int) -> Tensor:
        loss, losses = self.compute(*batch)
        self.train_metrics.update(losses)
        return loss

    def compute(self, *batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return step(self.model, *batch)

    def read_running_figures(self) -> dict[str, Tensor]:
        return {"loss": self.train_metrics.sums.sum() / self.train_metrics.steps.clamp(min=1)}

    def on_train_epoch_end(self) -> None:
        self.epoch_metrics |= {f"train/{name}": value for name, value in self.train_metrics.compute().items()}
        self.train_metrics.reset()
        super().on_train_epoch_end()

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.collected = {split: [] for split in self.monitored}

    def validation_step(self, batch: tuple[list[Tensor], list[int]], batch_idx: int, dataloader_idx: int = 0) -> None:
        split = self.monitored[dataloader_idx]
        self._find(split, self._get_val_index(dataloader_idx), *batch)

    def on_validation_epoch_end(self) -> None:
        for k, split in enumerate(self.monitored):
            self._evaluate(split, self._get_val_index(k))
        self.publish(*self.monitored)

    def on_test_epoch_start(self) -> None:
        self.collected = {"test": []}
        self.epoch_metrics = {}

    def test_step(self, batch: tuple[list[Tensor], list[int]], batch_idx: int) -> None:
        with use_full_precision(self.device):
            self._find("test", self._get_test_index(), *batch)

    def on_test_epoch_end(self) -> None:
        self.seen = self._evaluate("test", self._get_test_index())
        self.publish("test")

    def draw_contact_sheet(self) -> Tensor | None:
        """Draw photos of the last validation with their true and their found objects, uint8 [3, H, W]."""
        if "val" not in self.evaluated:
            return None
        evaluated = self.evaluated["val"]
        images = choose_images(evaluated.index.presence)
        return draw_contact_sheet(evaluated.index, evaluated.results, images, masks=self.masks) if images else None

    def write_test_files(self, path: Path, info: DatasetInfo) -> None:
        """Write detections.json, COCO's results with the ids of the annotation file, and per_class.csv."""
        evaluated = self.evaluated["test"]
        write_atomic(path / "detections.json", json.dumps(evaluated.results).encode())
        index = evaluated.index
        objects = Counter(a["label"] for i in range(len(index)) for a in select_learnable(index, i, self.masks))
        rows: list[list[object]] = [
            ["class", "objects", "ap", "ap_50", *(["mask_ap", "mask_ap_50"] if self.masks else [])]
        ]
        for label, (name, number) in enumerate(zip(info.classes, index.category_ids, strict=True)):
            scores = [
                *evaluated.boxes.by_category[number],
                *(evaluated.masks.by_category[number] if evaluated.masks else ()),
            ]
            rows.append([name, objects[label], *(f"{score:.6f}" for score in scores)])
        write_rows(path / "per_class.csv", rows)

    def _get_val_index(self, k: int) -> CocoIndex:
        """Return the annotations behind validation loader `k`."""
        return self.trainer.val_dataloaders[k].index  # type: ignore[index]

    def _get_test_index(self) -> CocoIndex:
        return self.trainer.test_dataloaders.index  # type: ignore[union-attr]

    def _find(self, split: str, index: CocoIndex, images: list[Tensor], numbers: list[int]) -> None:
        for image, i in zip(images, numbers, strict=True):
            output = self.model([image])[0]
            found = make_results(output, image_id=index.images[i].id, category_ids=index.category_ids)
            self.collected[split].append((i, found))

    def _evaluate(self, split: str, index: CocoIndex) -> int:
        """Evaluate a split on rank 0, share the scores with all processes, and return the number of images."""
        found = gather_found(self.collected.pop(split))
        evaluated: list[Any] = [None]
        if self.global_rank == 0:
            results = [result for _, of_image in found for result in of_image]
            truth = complete_annotations(index.to_coco().dataset, masks=self.masks)  # counted is what is learned
            images = [index.images[i].id for i, _ in found]
            kinds = (False, True) if self.masks else (False,)
            evaluated = [
                [
                    evaluate_results(truth, results, masks=kind, images=images, evaluator=self.evaluator)
                    for kind in kinds
                ]
            ]
            self.evaluated[split] = Evaluated(index, results, evaluated[0][0], evaluated[0][1] if self.masks else None)
        if dist.is_initialized():
            dist.broadcast_object_list(evaluated, src=0)
        for prefix, scores in zip(("", "mask_"), evaluated[0], strict=False):
            self.epoch_metrics |= {f"{split}/{prefix}{name}": value for name, value in scores.numbers.items()}
        return len(found)


def gather_found(found: list[tuple[int, Found]]) -> list[tuple[int, Found]]:
    """Gather the objects that all processes found, ordered by the number of the image."""
    if dist.is_initialized():
        parts = [found] * dist.get_world_size()
        dist.all_gather_object(parts, found)
        found = [image for part in parts for image in part]
    return sorted(found, key=lambda image: image[0])
