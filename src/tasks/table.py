"""The tasks' metrics by name: titles and headlines. Imports no torch."""

from typing import Any

TITLES = {  # of all metrics, in a table's order
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


TITLES |= {f"mask_{name}": f"mask {title.replace('box', 'mask')}" for name, title in TITLES.items()}


TITLES |= {
    "accuracy": "accuracy",
    "accuracy_flip": "with flip",
    "exact": "exact match",
    "precision": "macro P",
    "recall": "macro R",
    "f1": "macro F1",
    "precision_all": "macro P, all classes",
    "recall_all": "macro R, all classes",
    "f1_all": "macro F1, all classes",
    "micro_precision": "micro P",
    "micro_recall": "micro R",
    "micro_f1": "micro F1",
    "classes_with_positives": "classes that occur",
    "threshold": "threshold",
    "top5": "top-5",
    "loss": "loss",
    "loss_objectness": "loss, is it an object",
    "loss_rpn_box_reg": "loss, proposed boxes",
    "loss_classifier": "loss, classes",
    "loss_box_reg": "loss, boxes",
    "loss_mask": "loss, masks",
    "loss_classification": "loss, classes",
    "loss_bbox_regression": "loss, boxes",
}


HEADLINES = ("map", "mask_map", "accuracy", "f1")  # of a sweep's table; the first that there is, is what it is about


def objective(results: dict[str, Any]) -> float | None:
    """What a search over settings looks at: the validation headline, never the test's; None where there is none."""
    metrics = results.get("metrics", {})
    return next((metrics[f"val/{name}"] for name in HEADLINES if f"val/{name}" in metrics), None)
