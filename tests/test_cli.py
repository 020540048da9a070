"""What a person reads after a mistake: one clear sentence, no traceback, no directory left, an exit code not 0."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import ROOT, command

WRONG = {
    ("model=resnet57",): ["no such model", "resnet56"],
    ("model=cifar_resnet", "model.depth=57"): ["6n+2", "56", "62"],
    ("model=resnet20", "model.depth=56"): ["model=cifar_resnet model.depth=56"],
    ("model=resnet20", "model.shortcut=B"): ["model=cifar_resnet model.depth=20 model.shortcut=B"],
    ("optim.lrr=1",): ["optim.lrr", "optim.lr?"],
    ("optim.lr=fast",): ["optim.lr=fast", "number"],
    ("optim.nesterov=perhaps",): ["optim.nesterov=perhaps", "true or false"],
    ("data.batch_size=1.5",): ["data.batch_size=1.5", "whole number"],
    ("data.classes=3",): ["data.classes=3", "list"],
    ("+typo=3",): ["typo", "no such setting"],
    ("+optim.typo=3",): ["optim.typo", "no such setting"],
    ("bogus=1",): ["bogus", "no such setting"],
    ("--config-dir", "conf", "-m", "seed=0,1"): ["--config-dir", "hydra.searchpath=["],
    ("task=detection",): ["data=digits is for task=multiclass"],
    ("hpo=default", "hpo.space={optim.beta:{low:0.1,high:1}}"): ["hpo.space={optim.beta", "+hpo.space={"],
    ("data.mixup=0.2",): ["data.mixup: a setting of data=imagenet"],
    ("data=coco", "data.ten_crop=true"): ["data.ten_crop: a setting of data=imagenet"],
    ("optim=adam", "optim.nesterov=true"): ["optim.nesterov: a setting of optim=sgd"],
    ("optim.name=lion",): ["optim.name=lion", "choose by optim=<name>"],
    ("data=coco", "task.label_smoothing=0.1"): ["task.label_smoothing: a setting of task=multiclass"],
    ("logger.project=mine",): ["logger.project: a setting of logger=wandb"],
    ("data=cifar11",): ["data=cifar11", "cifar10"],
    ("optim=sdg_cosine",): ["sgd_cosine"],
    ("experiment=nothing",): ["experiment=nothing", "cifar10_short"],
    ("model",): ["key=value"],
    ("trainer.max_epochs=0",): ["trainer.max_epochs=0", "at least 1"],
    ("data.val_fraction=0", "protocol=best_val"): ["protocol=last"],
    ("data.batch_size=100000",): ["100000", "1077 training images"],
    ("data.batch_size=65", "trainer.accumulate=2"): ["65", "does not divide"],
    ("data.augment=none2",): ["none2", "pad_crop_flip"],
    ("data.classes=[one,two]",): ["one"],
    ("trainer.accelerator=cpu", "trainer.devices=2"): ["trainer=ddp"],
    ("resume=/nowhere",): ["/nowhere", "no run directory"],
}


@pytest.mark.parametrize(
    "words",
    [*list(WRONG)[:6], *(pytest.param(words, marks=pytest.mark.slow) for words in list(WRONG)[6:])],
    ids=" ".join,
)
def test_a_wrong_input_gets_a_sentence(tmp_path: Path, words: tuple[str, ...]) -> None:
    run = tmp_path / "deep" / "run"
    result = command("src.train", *words, f"hydra.run.dir={run}")
    assert result.returncode == 1
    message = result.stderr.strip()
    for part in WRONG[words]:
        assert part in message
    assert "Traceback" not in message
    assert len(message.splitlines()) <= 12
    assert not run.parent.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = command("src.train", "trainer=gpu", f"output_root={tmp_path}/o")
    assert result.returncode == 1 and "no GPU" in result.stderr and not (tmp_path / "o").exists()


def test_an_empty_folder_and_a_class_without_images_are_named(tmp_path: Path) -> None:
    words = ("data=folder", f"data.root={tmp_path}/set", f"output_root={tmp_path}/o")
    (tmp_path / "set").mkdir()
    assert "no folder train" in command("src.train", *words).stderr
    for name in ("cats", "dogs"):
        (tmp_path / "set" / "train" / name).mkdir(parents=True)
    result = command("src.train", *words)
    assert result.returncode == 1 and "cats: this class has no images" in result.stderr
    assert not (tmp_path / "o").exists()


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in command("src.train", "data.batch_size=100000", "debug=true").stderr


def test_missing_data_without_network_says_how_to_bring_it(tmp_path: Path) -> None:
    result = command(
        "src.train", "data=cifar10", f"data.root={tmp_path}/none", "data.download=false", f"output_root={tmp_path}/o"
    )
    assert result.returncode == 1
    assert "cifar-10-python.tar.gz" in result.stderr
    assert "data.root=" in result.stderr
    assert list(tmp_path.rglob("*")) == []


def test_help_groups_the_models_by_family_and_is_quick() -> None:
    start = time.monotonic()
    result = command("src.train", "--help")
    assert result.returncode == 0
    assert "cifar_resnet" in result.stdout
    assert "resnet1202" in result.stdout
    assert "cifar10_short" in result.stdout
    assert time.monotonic() - start < 10  # far above what it takes: this is no benchmark


@pytest.mark.parametrize("word", ["--help", "model=resnet57", "optim.lrr=1", "data=cifar11", "+typo=1"])
def test_help_and_configuration_errors_import_no_torch(word: str) -> None:
    code = (
        "import contextlib, sys; sys.argv = ['train', sys.argv[1]]; from src.train import run_command\n"
        "with contextlib.suppress(Exception): run_command()\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, word], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")


def test_a_sweep_with_an_unknown_name_starts_nothing_where_that_is_asked_for(tmp_path: Path) -> None:
    words = ("-m", "model=resnet20,resnet57", f"output_root={tmp_path}/o", "hydra.launcher.on_failure=stop")
    result = command("src.train", *words)
    assert result.returncode == 1
    assert "resnet57" in result.stderr and "Nothing was started" in result.stderr
    assert not list(tmp_path.rglob("*.ckpt"))
