"""The Python interface: a run in five lines, and its parts on their own."""

from pathlib import Path

import pytest
import torch
from helpers import TINY
from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from src import api
from src.models import create_model


def test_a_run_in_five_lines(tmp_path: Path) -> None:
    config = api.compose(*TINY, f"output_root={tmp_path}")
    settled = api.settle(config)
    assembly = api.assemble(settled)
    results = api.fit(assembly)
    assert results["status"] == "finished" and Path(results["run"]).is_relative_to(tmp_path)
    assert api.train(config)["metrics"] == results["metrics"], "the same configuration finds the run"


def test_settling_leaves_the_configuration_as_it_is() -> None:
    config = api.compose(*TINY)
    settled = api.settle(config)
    assert config.data.normalize == "auto" and settled.config.data.normalize == "dataset"
    assert config.optim.warmup == settled.config.optim.warmup and config.trainer.devices is None
    assert api.settle(settled.config).hash == settled.hash


def test_assembling_twice_gives_the_same_network(tmp_path: Path) -> None:
    settled = api.settle(api.compose(*TINY))
    one, two = (api.assemble(settled).network.state_dict() for _ in range(2))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_network_and_a_data_module_on_their_own() -> None:
    network = create_model("resnet56", num_classes=10)
    assert sum(p.numel() for p in network.parameters()) == 853_018
    data = api.build_data(api.compose("data=digits").data, seed=0)
    images, labels = next(iter(data.train_loader()))
    assert images.shape == (64, 1, 8, 8) and labels.dtype == torch.int64


FOREIGN = (  # what Lightning says of a Trainer as it comes
    "ignore:.*LeafSpec.*:FutureWarning",
    "ignore:.*(does not have many workers|smaller than the logging interval|GPU available|Starting from v1).*",
    "ignore:.*eval mode at the start.*",
)


@pytest.mark.filterwarnings(*FOREIGN)
def test_a_plain_trainer_gives_the_very_weights_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Averaging, clipping, the order of each epoch and the learning rate come with the task and the data."""
    monkeypatch.chdir(tmp_path)
    settled = api.settle(api.compose(*TINY, "optim.ema=0.9", "optim.clip_norm=0.5", f"output_root={tmp_path}"))
    results = api.fit(api.assemble(settled))
    assembly = api.assemble(settled)
    task, data = assembly.task, assembly.data
    trainer = Trainer(max_epochs=2, accelerator="cpu")
    trainer.fit(task, data)
    assert trainer.callback_metrics["val/accuracy"] == pytest.approx(results["metrics"]["val/accuracy"])
    (tested,) = trainer.test(task, data)
    assert tested["test/accuracy"] == pytest.approx(results["metrics"]["test/accuracy"])
    stored = torch.load(Path(results["run"]) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    ours = {name: value for name, value in task.state_dict().items() if name.startswith("model.")}
    assert len(ours) > 20 and all(torch.equal(value, stored[name]) for name, value in ours.items())
    assert list(tmp_path.rglob("lightning_logs/version_0/metrics.csv")) or list(tmp_path.rglob("events.out*"))


@pytest.mark.filterwarnings(*FOREIGN)
def test_its_callbacks_stop_and_save_by_the_figures_of_the_task(tmp_path: Path) -> None:
    assembly = api.assemble(api.settle(api.compose(*TINY)))
    best = ModelCheckpoint(tmp_path, "best", monitor="val/accuracy", mode="max")
    stop = EarlyStopping("val/loss", patience=0, stopping_threshold=100.0)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = Trainer(max_epochs=5, accelerator="cpu", callbacks=[best, stop], **quiet)
    trainer.fit(assembly.task, assembly.data)
    assert (tmp_path / "best.ckpt").exists() and trainer.current_epoch == 1


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # Lightning's own use of an old name in torch
def test_the_task_under_a_trainer_of_ones_own() -> None:
    assembly = api.assemble(api.settle(api.compose(*TINY)))
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1,
        gradient_clip_val=1.0,
    )
    trainer.fit(assembly.task, assembly.data)
    assert trainer.global_step == 16 and "val/accuracy" in assembly.task.epoch_metrics


def test_wrong_words_raise_an_error() -> None:
    with pytest.raises(api.UserError, match="depth=9"):
        api.compose("model=cifar_resnet", "model.depth=9")
