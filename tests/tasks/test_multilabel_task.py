"""The multi-label task: the threshold comes from validation alone, and several processes count as one."""

import csv
import math
from functools import partial
from pathlib import Path
from typing import Any

import coco_set
import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score
from torch import nn

from src.config.data import Coco
from src.config.optim import Adam
from src.data.coco.multilabel import MultilabelData, build_multilabel_data
from src.optim.build import build_optimizer
from src.optim.schedule import compute_learning_rate
from src.tasks.multilabel import MultilabelTask, build_loss, step
from src.tasks.sheets import HEIGHT
from src.training.pictures import Pictures
from src.training.trainer import quiet_lightning

SETTINGS = {"gamma_negative": 4.0, "gamma_positive": 0.0, "margin": 0.05}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return coco_set.make(tmp_path / "set", train=24, val=9)


def data(root: Path, **changes: Any) -> MultilabelData:
    mine = {"augment": "square", "batch_size": 6, "eval_batch_size": 4, "image_size": 16, "workers": 0}
    config = Coco(**{"root": str(root), "val_fraction": 0.25} | mine | changes)
    return build_multilabel_data(config, seed=0, accumulate=1, devices=1, normalization=None)


def task(monitored: tuple[str, ...] = ("val",), loss: str = "bce", **changes: Any) -> MultilabelTask:
    torch.manual_seed(0)
    optim = Adam(lr=0.01)
    settings: dict[str, Any] = {
        "model": nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3)),
        "loss": build_loss(loss, **SETTINGS),
        "optimizer": partial(build_optimizer, optim),
        "learning_rate": partial(compute_learning_rate, optim),
    }
    return MultilabelTask(num_classes=3, monitored=monitored, **settings | changes)


def trainer(**options: Any) -> Trainer:
    quiet_lightning()
    silent = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    once = {"reload_dataloaders_every_n_epochs": 1, "use_distributed_sampler": False, "num_sanity_val_steps": 0}
    return Trainer(**{"accelerator": "cpu", "max_epochs": 3} | silent | once | options)


@pytest.mark.parametrize("loss", ["bce", "asymmetric"])
def test_a_run_from_training_to_its_files(root: Path, tmp_path: Path, loss: str):
    found, learner, runner = data(root), task(loss=loss), trainer(max_epochs=12)
    found.monitored = ("val",)
    losses = []
    learner.on_train_epoch_start = lambda: losses.append(learner.epoch_metrics.get("train/loss"))  # type: ignore[method-assign]
    runner.fit(learner, found)
    assert learner.epoch_metrics["train/loss"] < losses[2]
    assert {"val/map", "val/f1", "val/threshold", "train/f1", "train/exact", "lr"} <= set(learner.epoch_metrics)
    assert learner.threshold == learner.epoch_metrics["val/threshold"]
    chosen = learner.threshold
    runner.test(learner, found, verbose=False)
    assert learner.epoch_metrics["test/threshold"] == learner.threshold == chosen
    assert learner.seen == 9
    learner.write_test_files(tmp_path, found.info)
    stored = np.load(tmp_path / "test_predictions.npz")
    assert stored["image_id"].tolist() == list(range(500, 509)) and stored["index"].tolist() == list(range(9))
    truth, scores = stored["labels"], stored["scores"]
    assert np.array_equal(truth, found.splits["test"].labels.astype(bool))
    some = truth.any(axis=0)
    assert some.tolist() == [True, True, False]
    expected = average_precision_score(truth[:, some], scores[:, some], average="macro")
    assert learner.epoch_metrics["test/map"] == pytest.approx(expected)
    expected = f1_score(truth, scores.astype(np.float64) >= chosen, average="macro", zero_division=0)
    assert learner.epoch_metrics["test/f1"] == pytest.approx(expected)
    rows = list(csv.DictReader((tmp_path / "per_class.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == ["square", "disc", "night sky"]
    assert [int(row["positives"]) for row in rows] == truth.sum(axis=0).tolist()
    assert float(rows[0]["ap"]) == pytest.approx(average_precision_score(truth[:, 0], scores[:, 0]), abs=1e-6)
    assert math.isnan(float(rows[2]["ap"]))


def test_a_summed_loss_weighs_each_label_of_a_whole_batch_and_is_reported_as_a_mean(root: Path):
    weights, reported = [], []
    for summed, accumulate, lr in ((True, 1, 1e-3), (False, 1, 1e-3 * 6 * 3), (True, 2, 1e-3)):
        learner = task(
            summed=summed, optimizer=lambda m, lr=lr: torch.optim.SGD(m.parameters(), lr), learning_rate=None
        )
        runner = trainer(max_epochs=1, accumulate_grad_batches=accumulate, limit_train_batches=accumulate)
        config = Coco(root=str(root), val_fraction=0.25, augment="square", batch_size=6, image_size=16, workers=0)
        settings: dict[str, Any] = {"seed": 0, "devices": 1, "normalization": None}
        runner.fit(learner, build_multilabel_data(config, accumulate=accumulate, **settings))
        weights.append(torch.cat([parameter.detach().flatten() for parameter in learner.parameters()]))
        reported.append(learner.epoch_metrics["train/loss"])
    for other in weights[1:]:
        torch.testing.assert_close(other, weights[0], rtol=1e-5, atol=1e-7)
    assert reported == pytest.approx([reported[0]] * 3, rel=1e-5)


def test_the_test_set_has_no_say_in_the_threshold(root: Path):
    thresholds = []
    for turned in (False, True):
        found, learner, runner = data(root), task(monitored=("val", "test")), trainer()
        found.monitored = ("val", "test")
        if turned:
            labels = found.splits["test"].labels
            labels[:] = 1 - labels
        runner.fit(learner, found)
        thresholds.append(learner.threshold)
        assert learner.epoch_metrics["test/threshold"] == learner.threshold
        runner.test(learner, found, verbose=False)
        assert learner.epoch_metrics["test/threshold"] == thresholds[0]
    assert thresholds[0] == thresholds[1] != 0.5


def test_a_sheet_shows_the_first_photos_with_labels(root: Path, tmp_path: Path):
    learner = task()
    trainer(max_epochs=1, callbacks=[Pictures(tmp_path, [])]).fit(learner, data(root))
    with Image.open(tmp_path / "epoch_0001.png") as sheet:
        assert sheet.height > HEIGHT and sheet.width > 3 * HEIGHT
    blank = learner.draw_contact_sheet()
    learner.validated = (*learner.validated[:2], torch.zeros_like(learner.validated[2]))
    assert blank is not None and learner.draw_contact_sheet() is None, "nothing is to be found"


def test_without_validation_it_is_a_half_and_says_so(root: Path, capsys: pytest.CaptureFixture[str]):
    learner, found = task(monitored=()), data(root, val_fraction=0.0)
    trainer().test(learner, found, verbose=False)
    assert learner.epoch_metrics["test/threshold"] == 0.5
    assert "The threshold is 0.5, because there was no validation set to choose one." in capsys.readouterr().err


def test_a_checkpoint_carries_the_threshold_of_its_weights(root: Path, tmp_path: Path):
    learner, runner, found = task(), trainer(), data(root)
    runner.fit(learner, found)
    runner.save_checkpoint(tmp_path / "last.ckpt")
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert stored["threshold"] == learner.threshold
    other = task()
    other.adopt(stored)
    assert other.threshold == learner.threshold
    resumed = task()
    trainer(max_epochs=4).fit(resumed, data(root), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    whole = task()
    trainer(max_epochs=4).fit(whole, data(root))
    assert resumed.epoch_metrics == whole.epoch_metrics


def test_the_counts_of_an_epoch_survive_a_checkpoint_within_it():
    one = task()
    images, targets = torch.randn(4, 3, 16, 16), torch.eye(3)[[0, 1, 2, 0]]
    one.training_step((images, targets), 0)
    content: dict[str, Any] = {}
    one.on_save_checkpoint(content)
    two = task()
    two.on_load_checkpoint(content)
    assert torch.equal(two.resumed["train_metrics"]["counts"], one.train_metrics.counts)
    assert {name: value.item() for name, value in one.read_running_figures().items()} == {
        "loss": pytest.approx(step(one.model, images, targets, loss=one.loss)[0].item()),
        "micro_f1": pytest.approx(one.train_metrics.compute()["micro_f1"]),
    }


def test_two_processes_give_the_numbers_of_one(root: Path):
    found = data(root)

    def evaluated(world: int) -> dict[str, float]:
        learner = task().eval()
        parts = []
        for rank in reversed(range(world)):
            learner.collected = {"val": []}
            for batch in found.eval_loader("test", rank=rank, world=world):
                learner.validation_step(batch, 0)
            parts += learner.collected["val"]
        learner.collected["val"] = parts  # as all_gather puts them together, in any order
        learner.on_validation_epoch_end()
        return learner.epoch_metrics

    with torch.no_grad():
        one, two = evaluated(1), evaluated(2)
    assert one == pytest.approx(two, abs=1e-6) and len(one) == 15
