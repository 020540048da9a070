"""The table of tasks: a row each, with all that the other rooms must know of a task. Imports no torch.

A row names the validation metric that chooses the best epoch and heads a report, the titles of the metrics, and the
part of the network whose multiply-adds and memory are counted.
"""

from dataclasses import dataclass, field
from typing import Any

from ..config.choices import find_choice
from ..runs.results import Results
from ..text import describe_unknown

COCO = {
    "map": "mAP",
    "map_50": "mAP at IoU 0.50",
    "map_75": "mAP at IoU 0.75",
    "map_small": "mAP, small objects",
    "map_medium": "mAP, medium objects",
    "map_large": "mAP, large objects",
    "mar_1": "mean recall, 1 box a photo",
    "mar_10": "mean recall, 10 boxes",
    "mar_100": "mean recall, 100 boxes",
    "mar_small": "mean recall, small objects",
    "mar_medium": "mean recall, medium objects",
    "mar_large": "mean recall, large objects",
}
COCO_MASKS = {f"mask_{name}": f"mask {title.replace('box', 'mask')}" for name, title in COCO.items()}
MACRO = {"precision": "macro P", "recall": "macro R", "f1": "macro F1"}
DETECTOR_LOSSES = {
    "loss": "loss",
    "loss_objectness": "loss, is it an object",
    "loss_rpn_box_reg": "loss, proposed boxes",
    "loss_classifier": "loss, classes",
    "loss_box_reg": "loss, boxes",
    "loss_mask": "loss, masks",
    "loss_classification": "loss, classes",
    "loss_bbox_regression": "loss, boxes",
}


@dataclass(frozen=True)
class TaskRow:
    """The facts about a task that the other rooms need."""

    name: str
    headline: str  # the metric that chooses the best epoch and heads a table; higher is better
    titles: dict[str, str]  # of the metrics, in a table's order
    single: bool = False  # an image has one class, so that 1 - accuracy is an error rate
    counted: str = ""  # the submodule whose multiply-adds and memory are counted; "": the network
    counted_in_words: str = ""  # what a message adds to the number
    alike: bool = True  # the images of a batch have one size, so that a step may become a CUDA graph
    lower_is_better: frozenset[str] = field(default_factory=lambda: frozenset({"loss"}))


ROWS: dict[str, TaskRow] = {}


def register_row(row: TaskRow) -> None:
    """Add a task's row; ValueError where its name is taken."""
    if ROWS.get(row.name, row) is not row:
        raise ValueError(f"task {row.name!r} has a row already; there are: {', '.join(ROWS)}")
    ROWS[row.name] = row


DETECTOR: dict[str, Any] = {
    "counted": "backbone",
    "counted_in_words": " (of a detector, the backbone and its pyramid alone)",
    "alike": False,
    "lower_is_better": frozenset(DETECTOR_LOSSES),
}
register_row(
    TaskRow(
        "multiclass",
        "accuracy",
        {"accuracy": "accuracy", "accuracy_flip": "with flip", **MACRO, "top5": "top-5", "loss": "loss"},
        single=True,
    )
)
register_row(
    TaskRow(
        "multilabel",
        "map",
        {
            "map": "mAP",
            "accuracy": "accuracy",
            "exact": "exact match",
            **MACRO,
            **{f"{name}_occurring": f"{title}, classes that occur" for name, title in MACRO.items()},
            "micro_precision": "micro P",
            "micro_recall": "micro R",
            "micro_f1": "micro F1",
            "classes_with_positives": "classes with positives",
            "threshold": "threshold",
            "loss": "loss",
        },
    )
)
register_row(TaskRow("detection", "map", COCO | DETECTOR_LOSSES, **DETECTOR))
register_row(TaskRow("instance_segmentation", "mask_map", COCO | COCO_MASKS | DETECTOR_LOSSES, **DETECTOR))


def find_task_row(task: str) -> TaskRow:
    """Return the row of this task; raise UserError, with a list of the tasks, where it has none."""
    if task not in ROWS:
        find_choice("task", task)
        raise ValueError(describe_unknown("task", task, ROWS))
    return ROWS[task]


def has_single_class(task: str) -> bool:
    """Return whether an image of this task has one class; assume so for a plug-in's task that is not imported."""
    return task not in ROWS or ROWS[task].single


def find_headline(task: str) -> str:
    """Return the headline test metric of a task in a report: an error rate where an image has one class."""
    return "test/error" if has_single_class(task) else f"test/{ROWS[task].headline}"


def list_headlines(tasks: list[str]) -> list[str]:
    """Return the headline metrics of some tasks, each once, in the order of the table."""
    return list(dict.fromkeys(row.headline for row in ROWS.values() if row.name in tasks))


def find_title(metric: str) -> str:
    """Return the title of a metric in any task, or its own name where no task has it."""
    return next((row.titles[metric] for row in ROWS.values() if metric in row.titles), metric)


def find_objective(results: Results) -> float | None:
    """Return the value that a search maximises: the headline metric of the validation, or None without one."""
    if "metrics" not in results:  # the run failed, or nothing was trained
        return None
    headline = results.get("headline") or find_task_row(results["task"]).headline
    value: float | None = results["metrics"].get(f"val/{headline}")
    return value
