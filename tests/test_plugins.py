"""A family, a data set, an optimizer, a task and a logger from one file outside of src/, from the command line."""

import json
from pathlib import Path

import pytest
from helpers import ROOT, command, results

from src.runs.stored import load_stored_config

FILE = ROOT / "tests" / "plugin_example.py"
PLUGIN = f"plugins=[{FILE}]"
QUICK = ("trainer=cpu", "trainer.threads=1", "trainer.precision=fp32", "trainer.progress=false")


def only(root: Path) -> Path:
    (found,) = root.rglob("results.json")
    return found.parent


def test_all_five_train_together_and_the_run_is_read_again(tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    words = ("model=tiny_net16", "data=stripes", "data.count=96", "task=focal", "task.gamma=1", "optim=sign")
    loggers = ("logger=[csv,lines]", f"logger.lines.file={lines}")
    done = command("src.train", PLUGIN, *words, *QUICK, *loggers, f"output_root={tmp_path / 'o'}")
    assert done.returncode == 0, done.stderr
    run = only(tmp_path / "o")
    content = results(run)
    assert (content["model"], content["data"], content["task"]) == ("tiny_net16", "stripes", "focal")
    assert content["params"] == 9 * 16 + 16 + 16 * 2 + 2 and content["metrics"]["test/accuracy"] > 0.9
    assert [json.loads(line)["epoch"] for line in lines.read_text().splitlines()] == [1, 2]
    assert load_stored_config(run).task.gamma == 1
    again = command("src.evaluate", f"run={run}")
    assert again.returncode == 0 and f"{content['metrics']['test/accuracy']:.4f}" in again.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("model=tiny_net", "data=digits"),
        ("model=cifar_resnet", "model.depth=8", "model.width=4", "data=stripes"),
        ("model=tiny_net", "data=digits", "optim=sign"),
        ("model=tiny_net", "data=digits", "task=focal"),
    ],
    ids=["family", "data set", "optimizer", "task"],
)
def test_each_goes_with_what_is_here(tmp_path: Path, words: tuple[str, ...]) -> None:
    short = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", f"output_root={tmp_path}")
    done = command("src.train", PLUGIN, *words, *QUICK, *short)
    assert done.returncode == 0, done.stderr
    assert results(only(tmp_path))["steps"] == 2


@pytest.mark.slow
def test_a_sweep_has_the_plugin_in_every_process(tmp_path: Path) -> None:
    words = ("model=tiny_net,tiny_net16", "data=stripes", "task=focal", "optim=sign", f"output_root={tmp_path}")
    done = command("src.train", "-m", PLUGIN, *words, *QUICK)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("results.json"))) == 2


@pytest.mark.slow
def test_every_process_of_ddp_has_the_plugin(tmp_path: Path) -> None:
    words = ("model=tiny_net", "data=stripes", "task=focal", "optim=sign", "trainer=ddp", "trainer.devices=2")
    done = command("src.train", PLUGIN, *words, "trainer.accelerator=cpu", *QUICK[1:], f"output_root={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert results(only(tmp_path))["n_test"] == 32


def test_a_network_without_a_backbone_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "bare_plugin.py"
    builder = "lambda config, in_channels, num_classes: __import__('torch').nn.Linear(8, num_classes)"
    family = "class Bare(api.Family):\n    family = 'bare'"
    lines = ("from src import api", family, f"api.register_family(Bare, {builder})", "api.register(Bare(name='bare'))")
    file.write_text("\n".join(lines))
    done = command("src.train", f"plugins=[{file}]", "model=bare", "data=digits", f"output_root={tmp_path / 'o'}")
    assert done.returncode == 1 and "model=bare: this network has no backbone" in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "o").exists()


@pytest.mark.slow
def test_its_content_is_part_of_a_runs_identity(tmp_path: Path) -> None:
    words = ("model=tiny_net", "data=stripes", "task=focal", *QUICK, f"output_root={tmp_path / 'o'}")
    for number in (1, 2):
        file = tmp_path / str(number) / "changed_plugin.py"
        file.parent.mkdir()
        file.write_text(f"{FILE.read_text()}\nVERSION = {number}\n")
        assert command("src.train", f"plugins=[{file}]", *words).returncode == 0
    assert len(list((tmp_path / "o").rglob("results.json"))) == 2


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "no such file"),
        ("import nothing_of_this_name", "nothing_of_this_name"),
        ("def (", "SyntaxError"),
        (
            "from src import api\nfrom src.zoo.resnet import CifarResNet\napi.register(CifarResNet(name='resnet20'))",
            "registered twice",
        ),
    ],
)
def test_a_wrong_plugin_is_one_sentence(tmp_path: Path, content: str | None, part: str) -> None:
    file = tmp_path / "wrong_plugin.py"
    if content is not None:
        file.write_text(content)
    done = command("src.train", f"plugins=[{file}]", f"output_root={tmp_path / 'o'}")
    assert done.returncode == 1 and part in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "o").exists()
