"""The LightningModule of detectors: its losses, COCO's numbers at the epochs' ends, its files and pictures, DDP."""

import csv
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import coco_set
import detectors
import pytest
import torch
from detectors import data_of, judged, task_of, trainer_of
from helpers import ROOT, environment
from lightning import Callback, Trainer
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from src.data.coco.masks import encode_masks
from src.data.coco.objects import make_target, select_learnable
from src.metrics.coco import NUMBERS, Scores
from src.tasks.detection import LOSSES, Evaluated, Losses, step
from src.tasks.sheets import HEIGHT, add_caption, choose_images, draw_contact_sheet, draw_objects
from src.training.pictures import Pictures


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco_set.make(tmp_path_factory.mktemp("set"), train=16, val=7)


@pytest.mark.parametrize("kind", ["mask_rcnn", "retinanet"])
def test_an_epoch_leaves_its_numbers_and_pictures(kind: str, root: Path, tmp_path: Path) -> None:
    data = data_of(root, masks=kind == "mask_rcnn", val_fraction=0.3, batch_size=4, augment="flip")
    task = task_of(kind)
    rows: list[dict[str, float]] = []
    task_end = task.on_train_epoch_end

    def record() -> None:
        task_end()
        rows.append(dict(task.epoch_metrics))

    task.on_train_epoch_end = record  # type: ignore[method-assign]
    trainer_of(2, callbacks=[Pictures(tmp_path / "pictures", [])]).fit(task, data)
    numbers = [*NUMBERS, *(f"mask_{name}" for name in NUMBERS)] if kind == "mask_rcnn" else [*NUMBERS]
    expected = {"lr", "train/loss", *(f"train/{name}" for name in LOSSES[kind]), *(f"val/{name}" for name in numbers)}
    assert all(row.keys() == expected for row in rows) and len(rows) == 2
    assert rows[0]["train/loss"] == pytest.approx(sum(rows[0][f"train/{name}"] for name in LOSSES[kind]))
    assert 0 < rows[1]["train/loss"] < rows[0]["train/loss"]
    assert task.headline == ("mask_map" if kind == "mask_rcnn" else "map") and set(task.read_running_figures()) == {
        "loss"
    }
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["epoch_0001.png", "epoch_0002.png"]
    with Image.open(tmp_path / "pictures" / "epoch_0002.png") as sheet:
        assert sheet.height > 384 and sheet.width > 4 * 384


def test_the_files_of_a_test_are_cocos(root: Path, tmp_path: Path) -> None:
    task, metrics = judged(root, "mask_rcnn", detections=10)
    task.write_test_files(tmp_path, data_of(root).info)
    assert task.seen == metrics["seen"] == 7
    truth = COCO(root / "annotations" / "instances_val2017.json")
    found = json.loads((tmp_path / "detections.json").read_text())
    assert {f["category_id"] for f in found} <= {2, 7, 11}
    assert {f["image_id"] for f in found} <= set(truth.imgs)
    with redirect_stdout(io.StringIO()):
        evaluator = COCOeval(truth, truth.loadRes(str(tmp_path / "detections.json")), "bbox")
        evaluator.evaluate(), evaluator.accumulate(), evaluator.summarize()
    assert dict(zip(NUMBERS, evaluator.stats, strict=True)) == pytest.approx({k: metrics[f"test/{k}"] for k in NUMBERS})
    rows = list(csv.DictReader((tmp_path / "per_class.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == ["square", "disc", "night sky"]
    assert [int(row["objects"]) for row in rows] == [5, 0, 0]  # and two crowds
    assert set(rows[0]) == {"class", "objects", "ap", "ap_50", "mask_ap", "mask_ap_50"}
    assert float(rows[0]["ap"]) == pytest.approx(metrics["test/map"], abs=1e-6) and float(rows[2]["ap"]) == -1


def test_two_processes_give_the_numbers_of_one(root: Path, tmp_path: Path) -> None:
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    program = [sys.executable, detectors.__file__, root, tmp_path / "results.json"]
    done = subprocess.run(
        program, capture_output=True, text=True, timeout=300, env=environment() | {"PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    together = json.loads((tmp_path / "results.json").read_text())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in those processes: the order of a sum is the number of its threads
    try:
        task, metrics = judged(root, "faster_rcnn", detections=100)
    finally:
        torch.set_num_threads(threads)
    assert together["metrics"] == metrics and metrics["test/mar_100"] > 0
    assert together["results"] == json.loads(json.dumps(task.evaluated["test"].results))


def test_a_run_resumed_within_an_epoch_ends_in_the_weights_of_the_unbroken_one(root: Path, tmp_path: Path) -> None:
    class Save(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 2:
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    data, brief = data_of(root, augment="flip"), {"limit_train_batches": 3, "limit_val_batches": 0}
    whole, resumed = task_of("mask_rcnn"), task_of("mask_rcnn")
    trainer_of(callbacks=[Save()], **brief).fit(whole, data)
    runner = trainer_of(**brief)
    runner.fit(resumed, data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert (stored["global_step"], stored["epoch"], runner.global_step) == (2, 0, 3)
    assert resumed.epoch_metrics == whole.epoch_metrics
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_annotations_that_tell_of_no_crowds_and_areas_are_tested_too(tmp_path: Path) -> None:
    coco_set.make(tmp_path)

    def change(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            del annotation["iscrowd"], annotation["area"]

    for split in ("train", "val"):
        coco_set.edit(tmp_path / "annotations" / f"instances_{split}2017.json", change)
    task, metrics = judged(tmp_path, "faster_rcnn", detections=10)
    task.write_test_files(tmp_path, data_of(tmp_path).info)
    rows = list(csv.DictReader((tmp_path / "per_class.csv").read_text().splitlines()))
    assert [int(row["objects"]) for row in rows] == [4, 1, 0] and metrics["test/map"] >= 0


def test_objects_without_a_mask_are_not_counted_where_masks_are_learned(tmp_path: Path) -> None:
    coco_set.make(tmp_path)
    val = tmp_path / "annotations" / "instances_val2017.json"
    coco_set.edit(val, lambda content: content["annotations"][0].update(segmentation=[[1, 1, 2, 2]]))
    index = data_of(tmp_path).indices["test"]
    task: Any = task_of("mask_rcnn")
    task.collected["test"] = []
    for i, record in enumerate(index.images):
        true = select_learnable(index, i, masks=True)
        masks = encode_masks(make_target(index, i, masks=True)["masks"])
        found = [
            {"image_id": record.id, "category_id": a["category_id"], "bbox": a["bbox"], "score": 0.9} for a in true
        ]
        task.collected["test"].append((i, [f | {"segmentation": m} for f, m in zip(found, masks, strict=True)]))
    task._evaluate("test", index)
    assert task.epoch_metrics["test/map"] == task.epoch_metrics["test/mask_map"] == 1
    task.write_test_files(tmp_path, data_of(tmp_path).info)
    rows = list(csv.DictReader((tmp_path / "per_class.csv").read_text().splitlines()))
    assert [int(row["objects"]) for row in rows] == [3, 0, 0]


def test_a_step_is_pure(root: Path) -> None:
    task, loader = task_of("mask_rcnn"), data_of(root).train_loader()
    images, targets = next(iter(loader))
    before = {name: buffer.clone() for name, buffer in task.model.named_parameters()}
    values = []
    for _ in range(2):
        torch.manual_seed(3)
        loss, losses = step(task.model.train(), images, targets)
        values.append(loss.item())
        assert loss.item() == pytest.approx(sum(value.item() for value in losses.values()))
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in task.model.named_parameters())
    assert {"side", "boxes"} <= targets[0].keys() and targets[0]["boxes"].max() > 5


def test_losses_are_averaged_over_the_steps_and_go_on_after_a_resume() -> None:
    metric = Losses(("loss_a", "loss_b"))
    metric.update({"loss_a": torch.tensor(1.0), "loss_b": torch.tensor(3.0)})
    metric.update({"loss_b": torch.tensor(5.0), "loss_a": torch.tensor(2.0)})
    assert metric.compute() == {"loss": 5.5, "loss_a": 1.5, "loss_b": 4.0}
    task: Any = task_of("retinanet")
    task.train_metrics.update({"loss_classification": torch.tensor(1.0), "loss_bbox_regression": torch.tensor(3.0)})
    checkpoint: dict[str, Any] = {}
    task.on_save_checkpoint(checkpoint)
    again: Any = task_of("retinanet")
    again.on_load_checkpoint(checkpoint)
    assert again.resumed["train_metrics"]["sums"].tolist() == [1, 3] and again.resumed["train_metrics"]["steps"] == 1


def test_a_sheet_shows_what_is_true_beside_what_is_certain(root: Path) -> None:
    index = data_of(root).indices["test"]
    images = choose_images(index.presence)
    assert images == [i for i in range(7) if index.presence[i].any()][:6]
    blank = draw_contact_sheet(index, [], images, masks=True)
    assert blank.dtype == torch.uint8 and blank.shape[0] == 3
    found = {"image_id": index.images[images[0]].id, "category_id": 7, "bbox": [2.0, 2.0, 12.0, 9.0], "score": 0.8}
    assert torch.equal(
        draw_contact_sheet(index, [found | {"score": 0.4}], images, masks=False),
        draw_contact_sheet(index, [], images, masks=False),
    )
    changed = (
        draw_contact_sheet(index, [found], images, masks=False) != draw_contact_sheet(index, [], images, masks=False)
    ).any(0)
    rows, columns = torch.nonzero(changed, as_tuple=True)
    record = index.images[images[0]]
    width = round(record.width * 384 / record.height)
    assert len(rows) and rows.max() < 12 + 384 and width < columns.min() and columns.max() < 12 + 2 * width + 4


def test_masks_that_overlap_show_the_last_one_in_its_colour() -> None:
    photo = torch.full((3, HEIGHT, HEIGHT), 100, dtype=torch.uint8)
    square, half = [[0, 0, 300, 0, 300, 300, 0, 300]], [[0, 0, 150, 0, 150, 300, 0, 300]]
    boxes = [[0, 0, 300, 300], [0, 0, 150, 300]]
    sheet = draw_objects(photo, boxes, [0, 1], ["", ""], [square, half])
    alone = draw_objects(photo, boxes, [0, 1], ["", ""], [[[310, 310, 320, 310, 320, 320]], half])
    assert torch.equal(sheet[:, 50:250, 50:100], alone[:, 50:250, 50:100])
    assert not torch.equal(sheet[:, 50:250, 200:250], alone[:, 50:250, 200:250])
    assert (sheet[:, 50:250, 50:250].amax(0) > 100).all(), "nothing is darker than the photo"


def test_a_caption_stands_below_its_photo() -> None:
    photo = torch.zeros(3, HEIGHT, 200, dtype=torch.uint8)
    empty, short, long = (add_caption(photo, text, lines=2) for text in ("", "true: person", "word " * 100))
    assert empty.shape == short.shape == long.shape and torch.equal(short[:, :HEIGHT], photo)
    assert (empty[:, HEIGHT:] == 255).all() and (short[:, HEIGHT:] < 128).any()


def test_a_validation_set_without_anything_to_find_has_no_sheet(root: Path) -> None:
    task = task_of("faster_rcnn")
    index = data_of(root).indices["test"]
    nothing = index.take([i for i in range(7) if not index.presence[i].any()])
    task.evaluated["val"] = Evaluated(nothing, [], Scores({}, {}), None)
    assert len(nothing) and task.draw_contact_sheet() is None
