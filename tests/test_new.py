"""``python -m src.new``: what it writes is tidy, passes its own tests, and trains; and what it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, command, compose, results

from src.errors import UserError
from src.new.__main__ import KINDS, check_name, parse_words, write_files

QUICK = ("trainer=cpu", "trainer.max_epochs=1", "trainer.threads=1", "data.limit_train=64", "trainer.progress=false")


def test_what_it_writes_is_tidy(tmp_path: Path) -> None:
    for kind in KINDS:
        write_files(kind, f"my_{kind}", tmp_path)
    settings = f"--config={ROOT / 'pyproject.toml'}"
    for words in (["check"], ["format", "--check"]):
        subprocess.run([sys.executable, "-m", "ruff", *words, settings, "--no-cache", tmp_path], check=True)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2 * len(KINDS)
    assert max(len(path.read_text().splitlines()) for path in tmp_path.rglob("*.*")) < 70


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.slow] * (k != "model")) for k in KINDS])
def test_the_test_that_it_writes_passes(tmp_path: Path, kind: str) -> None:
    path = write_files(kind, f"my_{kind}", tmp_path)[1]
    done = command("pytest", str(path), "-n0", "-p", "no:cacheprovider", f"--rootdir={tmp_path}")
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout + done.stderr


def test_the_printed_command_trains(tmp_path: Path) -> None:
    done = command("src.new", "model", "my_net", f"out={tmp_path}")
    assert done.returncode == 0, done.stderr
    plugin = f"plugins=[{tmp_path / 'my_net.py'}]"
    train = f"python -m src.train '{plugin}' model=my_net data=digits"
    assert done.stdout.splitlines() == [train, f"python -m pytest {tmp_path / 'test_my_net.py'}"]
    trained = command("src.train", plugin, "model=my_net", "data=digits", *QUICK, f"hydra.run.dir={tmp_path / 'run'}")
    assert trained.returncode == 0 and results(tmp_path / "run")["model"] == "my_net", trained.stderr


@pytest.mark.slow
def test_an_experiment_of_ones_own_sweeps(tmp_path: Path) -> None:
    write_files("experiment", "my_study", tmp_path)
    words = (f"hydra.searchpath=[{tmp_path}]", "experiment=my_study", "model=resnet20,plain20", "seed=0")
    done = command("src.train", "-m", *words, *QUICK, f"output_root={tmp_path / 'o'}")
    assert done.returncode == 0 and len(list((tmp_path / "o").rglob("results.json"))) == 2, done.stderr


def test_the_data_set_of_ones_own_experiment_chooses_the_task(tmp_path: Path) -> None:
    file = tmp_path / "experiment" / "own.yaml"
    file.parent.mkdir()
    file.write_text("# @package _global_\ndefaults:\n  - override /data: coco\n")
    assert compose(f"hydra.searchpath=[{tmp_path}]", "experiment=own", "model=resnet18").task.name == "multilabel"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    _, test = write_files("model", "my_net", tmp_path)
    test.write_text("mine")
    (tmp_path / "my_net.py").unlink()
    with pytest.raises(UserError, match=r"test_my_net\.py: is there already"):
        write_files("model", "my_net", tmp_path)
    assert test.read_text() == "mine" and not (tmp_path / "my_net.py").exists()


@pytest.mark.parametrize(
    ("kind", "name", "part"),
    [
        ("model", "MyNet", "such as my_net"),
        ("model", "my-net.py", "such as my_net"),
        ("model", "../net", "a letter first"),
        ("model", "class", "no word of Python's"),
        ("model", "n" * 41, "at most 40"),
        ("model", "", "a letter first"),
        ("model", "json", "Python has a module of this name"),
        ("model", "resnet20", "model=resnet20 is there already"),
        ("experiment", "he2016_table6", "experiment=he2016_table6 is there already"),
    ],
)
def test_a_wrong_name_is_one_sentence(kind: str, name: str, part: str) -> None:
    with pytest.raises(UserError, match=part) as raised:
        check_name(kind, name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("words", [["modle", "x"], ["model"], ["model", "a", "b"], ["model", "a", "out="]])
def test_wrong_words_name_the_right_ones(words: list[str]) -> None:
    with pytest.raises(UserError, match="experiment"):
        parse_words(words)
