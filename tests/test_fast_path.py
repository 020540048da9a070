"""The Trainer's path is the plain one: against a reference loop, without a capture, and in what validation judges."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import compose
from lightning import Callback
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from src.config.run import TrainConfig
from src.data.info import DatasetInfo
from src.data.raw import Split
from src.data.resident.augment import draw_epoch
from src.data.resident.module import ImageData
from src.data.transforms import find_preset
from src.optim.averaging import Averaging
from src.optim.schedule import set_learning_rate
from src.tasks.base import Task
from src.tasks.build import build_task
from src.tasks.classification import step
from src.tasks.graph import CapturedStep
from src.training.progress import Snapshot
from src.training.trainer import PRECISION, build_trainer
from zoo import build

N, BATCH, SIZE, PADDING = 160, 16, 8, 1
INFO = DatasetInfo("made", tuple("abcde"), 3, SIZE, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3))
NORMALIZATION = {"name": "dataset", "mean": list(INFO.mean), "std": list(INFO.std), "mean_image": None}
WORDS = ("data=digits", "model=cifar_resnet", "trainer=cpu", "trainer.precision=fp32", "optim=sgd_cosine")
WORDS += ("optim.schedule=constant", "optim.warmup=0", "optim.weight_decay=1e-3", "optim.lr=0.05")


def made() -> dict[str, Split]:
    """Noise that says its class by its brightness."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, N)
    images = random.integers(0, 128, (N, SIZE, SIZE, 3)) + 25 * labels[:, None, None, None]
    split = Split(images.astype(np.uint8), labels)
    return {"train": split, "val": split.take(np.arange(60))}


def network(**dials: Any) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = build("cifar_resnet", 5, depth=8, width=4, **dials)
    return model


class Losses(Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.values.append(float(outputs["loss"]))


def trained(
    config: TrainConfig,
    *,
    resume: Path | None = None,
    save: Path | None = None,
    callbacks: Sequence[Callback] = (),
    **dials: Any,
) -> tuple[Task, list[float]]:
    """A whole run on the made images; its task and the loss of each step."""
    data = ImageData(
        INFO,
        made(),
        normalization=NORMALIZATION,
        augment=find_preset("pad_crop_flip"),
        seed=0,
        batch_size=BATCH,
        eval_batch_size=32,
    )
    assert data.padding == PADDING
    task = build_task(config, network(**dials).to(memory_format=torch.channels_last), INFO)
    data.monitored, losses = task.monitored, Losses()
    trainer = build_trainer(config)
    trainer.callbacks += [*callbacks, losses]  # type: ignore[attr-defined]
    trainer.fit(task, data, ckpt_path=resume, weights_only=True)
    assert trainer.global_step == trainer.max_epochs * (N // BATCH)  # type: ignore[operator]
    if save:
        trainer.save_checkpoint(save)
    return task, losses.values


def reference(epochs: int, dtype: torch.dtype) -> list[float]:
    """The loss of each step of a plain loop: image by image, NCHW, torch's SGD and cross-entropy."""
    model = network().to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    split, criterion, losses = made()["train"], nn.CrossEntropyLoss(), []
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (INFO.mean, INFO.std))
    scale, shift = (1 / (255 * std)).float(), (-mean / std).float()
    for epoch in range(epochs):
        draws = draw_epoch(0, epoch, N, padding=PADDING, flip=True)
        for first in range(0, N, BATCH):
            images = []
            for i in range(first, first + BATCH):
                padded = torch.zeros(SIZE + 2 * PADDING, SIZE + 2 * PADDING, 3)
                padded[PADDING:-PADDING, PADDING:-PADDING] = torch.from_numpy(split.images[draws.order[i]])
                top, left = int(draws.rows[i]), int(draws.columns[i])
                image = padded[top : top + SIZE, left : left + SIZE] * scale + shift
                images.append((image.flip(1) if draws.flips[i] else image).permute(2, 0, 1))
            labels = torch.from_numpy(split.labels)[draws.order[first : first + BATCH]]
            loss = criterion(model(torch.stack(images).contiguous().to(dtype)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def test_the_trainers_losses_are_those_of_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    _, in_single = trained(compose(*WORDS, "trainer.max_epochs=1"))
    assert in_single[0] == pytest.approx(reference(1, torch.float32)[0], abs=1e-5)
    monkeypatch.setitem(PRECISION, "fp32", "64-true")
    _, in_double = trained(compose(*WORDS, "trainer.max_epochs=5"))
    assert len(in_double) == 50 and in_double[-1] < in_double[0]
    assert in_double == pytest.approx(reference(5, torch.float64), abs=1e-7)


@pytest.mark.parametrize("words", [(), ("trainer.precision=bf16",), ("optim=adamw", "optim.lr=0.01"), ("optim=muon",)])
def test_a_captured_steps_plumbing_changes_no_bit(words: tuple[str, ...], tmp_path: Path) -> None:
    """On a CPU the step runs anew on the static buffers instead of being replayed; all else is the same."""

    def config(graph: str, epochs: int) -> TrainConfig:
        return compose(*WORDS, *words, f"trainer.graph={graph}", f"trainer.max_epochs={epochs}")

    ordinary, losses = trained(config("none", 3), stochastic_depth=0.2)
    captured, same = trained(config("full", 3), stochastic_depth=0.2)
    assert isinstance(captured.captured, CapturedStep) and captured.captured.calls == 30
    assert losses == same and ordinary.epoch_metrics == captured.epoch_metrics
    saved = tmp_path / "two.ckpt"
    trained(config("full", 2), stochastic_depth=0.2, save=saved)
    groups = torch.load(saved, weights_only=True)["optimizer_states"][0]["param_groups"]
    assert all(isinstance(group["lr"], float) for group in groups)
    for graph in ("none", "full"):  # either goes on from the other's checkpoint
        resumed, rest = trained(config(graph, 3), stochastic_depth=0.2, resume=saved)
        assert rest == losses[20:]
        for key, value in ordinary.state_dict().items():
            assert torch.equal(value, captured.state_dict()[key]) and torch.equal(value, resumed.state_dict()[key]), key


def test_a_captured_step_reads_the_rate_from_memory() -> None:
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    captured = CapturedStep(lambda x: (model(x).sum(),), optimizer, capture=False)
    rate, before = optimizer.param_groups[0]["lr"], model.weight.detach().clone()
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] is rate and float(rate) == 0.25
    captured(torch.ones(1, 2))
    torch.testing.assert_close(model.weight.detach(), before - 0.25)
    with pytest.raises(AssertionError, match="one shape"):
        captured(torch.ones(2, 2))


@pytest.mark.parametrize("words", [(), ("optim.ema=0.9",)], ids=["last", "averaged"])
def test_validation_judges_the_weights_that_are_saved(words: tuple[str, ...]) -> None:
    """Folded or not: the numbers of the last validation are those of the weights that a run ends with."""
    losses = []
    for fold in ("true", "false"):
        task, _ = trained(compose(*WORDS, *words, f"trainer.fold={fold}", "trainer.max_epochs=2"))
        assert task.evaluation_copy is None and not [key for key in task.state_dict() if "evaluation_copy" in key]
        losses.append(task.epoch_metrics["val/loss"])
    split = made()["val"]
    mean, std = torch.tensor(INFO.mean), torch.tensor(INFO.std)
    images = ((torch.from_numpy(split.images) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = cross_entropy(task.model.eval()(images), torch.from_numpy(split.labels))
    assert losses == pytest.approx([float(expected)] * 2, abs=1e-5)


def test_the_average_is_lightnings_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose(*WORDS, "optim.ema=0.9", "trainer.max_epochs=2")
    ours, _ = trained(config)
    monkeypatch.setattr(Averaging, "on_train_batch_end", WeightAveraging.on_train_batch_end)
    theirs, _ = trained(config)
    for key, value in theirs.state_dict().items():
        assert torch.equal(value, ours.state_dict()[key]), key


def test_a_glance_shows_what_was() -> None:
    figure = torch.tensor(1.5)
    snapshot = Snapshot({"loss": figure, "accuracy": torch.tensor(0.5)})
    figure.fill_(7)
    assert snapshot.read() == {"loss": 1.5, "accuracy": 0.5}


class Watch(Callback):
    """Makes each synchronisation inside a step an error, once the first steps have made what lasts."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        torch.cuda.set_sync_debug_mode("error" if trainer.global_step > 5 else "default")

    def on_train_batch_end(self, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("words", [(), ("trainer.graph=full",), ("optim.ema=0.9",)], ids=["plain", "graph", "ema"])
def test_the_trainers_loop_never_waits_for_a_gpu(words: tuple[str, ...]) -> None:
    config = compose(*WORDS, *words, "trainer.accelerator=gpu", "trainer.precision=bf16", "trainer.max_epochs=2")
    task, losses = trained(config, callbacks=[Watch()])
    assert losses[-1] < losses[0]
    last = losses[len(losses) // 2 :]  # epoch: its figures are of all its steps, not of one that was kept ten times
    assert task.epoch_metrics["train/loss"] == pytest.approx(sum(last) / len(last), rel=1e-3)


@pytest.mark.gpu
def test_steps_on_a_gpu_never_wait_and_a_replay_is_the_step() -> None:
    """Ordinary steps and replays on the same batches, dropout included, with every synchronisation an error."""
    device = torch.device("cuda")
    data = ImageData(
        INFO,
        made(),
        normalization=NORMALIZATION,
        augment=find_preset("pad_crop_flip"),
        seed=0,
        batch_size=16,
        eval_batch_size=9,
    )
    batches = list(data.train_loader(device))

    def losses(capture: bool) -> Tensor:
        model = network(stochastic_depth=0.2).to(device, memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, fused=True)
        run = CapturedStep(lambda *batch: step(model, *batch), optimizer, capture=True)
        run.capture = capture
        found = []
        for k, batch in enumerate(batches):
            torch.cuda.set_sync_debug_mode("error" if k > 5 else "default")
            set_learning_rate(optimizer, 0.05 / (k + 1))
            torch.manual_seed(k)
            found.append(run(*batch)[0].clone())
            Snapshot({"loss": found[-1]}).read()
        torch.cuda.set_sync_debug_mode("default")
        return torch.stack(found)

    torch.testing.assert_close(losses(capture=True), losses(capture=False), rtol=1e-4, atol=1e-4)
