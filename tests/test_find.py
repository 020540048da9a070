"""Runs are listed with their state, and found by last, best:<metric> and the first digits of their hash."""

import fcntl
import json
import os
from pathlib import Path

import pytest
from helpers import TINY, compose, results, run_here, train

from src.errors import UserError
from src.runs.find import list_runs, resolve_run, resolve_runs, resolve_words
from src.training.settle import settle


def make_run(
    root: Path, name: str, *, began: float, value: float | None, data: str = "digits", **facts: object
) -> Path:
    """Write what a run directory tells of its run; without a value it has not finished."""
    path = root / data / "resnet20" / f"multiclass-seed0-{name}"
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps({"config_hash": name, "code_hash": "x", "command": "c"}))
    (path / "metrics.csv").write_text(f"epoch,step,val/accuracy\n1,10,{(value or 0.2) + 0.1}\n2,20,{value or 0.1}\n")
    content = {"status": "finished", "model": "resnet20", "data": data, "seed": 0, "config_hash": name} | facts
    metrics = {"val/accuracy": value, "test/accuracy": value, "val/loss": value}
    if value is not None:
        (path / "results.json").write_text(json.dumps(content | {"metrics": metrics}))
    os.utime(path / "run.json", (began, began))
    return path


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.chdir(tmp_path)
    root = Path("outputs")
    return {
        "best": make_run(root, "abcd000001", began=1e9, value=0.9),
        "worst": make_run(root, "abce000002", began=2e9 - 1, value=0.5),
        "failed": make_run(root, "beef000003", began=1e9 + 2, value=0.1, status="failed", reason="no memory"),
        "stopped": make_run(root, "cafe000004", began=1e9 + 3, value=None),
    }


def test_states_are_told(runs: dict[str, Path]) -> None:
    found = {run.path: run for run in list_runs()}
    assert next(iter(found)) == runs["worst"]  # the newest first
    assert [found[runs[name]].state for name in runs] == ["finished", "finished", "failed", "stopped"]
    assert found[runs["best"]].best == pytest.approx(1.0) and found[runs["failed"]].reason == "no memory"
    with (runs["stopped"] / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert {run.state for run in list_runs() if run.path == runs["stopped"]} == {"running"}
    (runs["best"] / "run.json").write_text("{")
    assert {run.state for run in list_runs() if run.path == runs["best"]} == {"damaged"}


@pytest.mark.parametrize(
    ("name", "meant"),
    {
        "last": "worst",
        "best:val/accuracy": "best",
        "best:accuracy": "best",
        "best:loss": "worst",
        "best:test/accuracy@digits": "best",
        "abcd": "best",
        "cafe000004": "stopped",
    }.items(),
)
def test_a_short_name_means_a_run(name: str, meant: str, runs: dict[str, Path]) -> None:
    assert resolve_run(name) == runs[meant]
    assert resolve_runs(f"[{name}]") == [runs[meant]]


@pytest.mark.parametrize(
    ("name", "sentence"),
    {
        "abc": "begins the hash of 2 runs",
        "fff": "no run below outputs has a hash that begins so",
        "best:val/f1": "no run has val/f1; .*val/accuracy",
        "best:accuracy@cifar10": "there is no such run",
    }.items(),
)
def test_a_name_of_no_run_or_several_gets_a_sentence(name: str, sentence: str, runs: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=sentence):
        resolve_run(name)


def test_numbers_of_different_sets_are_not_compared(runs: dict[str, Path]) -> None:
    make_run(Path("outputs"), "dddd000005", began=1e9, value=0.7, data="cifar10")
    with pytest.raises(UserError, match="2 data sets.*best:accuracy@cifar10 or best:accuracy@digits"):
        resolve_run("best:accuracy")
    assert resolve_run("best:accuracy@digits") == runs["best"]


def test_a_path_of_that_name_comes_first_and_other_words_stay(runs: dict[str, Path]) -> None:
    Path("last").mkdir()
    assert resolve_run("last") == Path("last") and resolve_run("photos/x") == Path("photos/x")
    words = ["resume=abcd", "seed=1,2", "model.weights=cafe000004,IMAGENET1K_V1"]
    assert resolve_words(words, ("resume", "model.weights")) == [
        f"resume={runs['best']}",
        "seed=1,2",
        f"model.weights={runs['stopped']},IMAGENET1K_V1",
    ]


def test_the_list_is_printed(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run_here("src.runs", "limit=3", capsys=capsys)
    assert code == 0 and said.count("outputs/digits/resnet20/") == 4  # with a reason
    assert "no memory" in said and "1 older" in said
    assert run_here("src.runs", "state=stopped", capsys=capsys)[1].count("outputs/digits") == 1


def test_a_continued_run_answers_its_first_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"

    def type_again(*words: str) -> tuple[int, str]:
        first = (*TINY, "trainer.max_epochs=1", "data.limit_train=64", f"hydra.run.dir={run}")
        return run_here("src.train", *first, *words, capsys=capsys)

    assert type_again("logger=tensorboard")[0] == 0
    code, said = type_again("logger=wandb")
    assert code == 0 and "logger=wandb gets nothing of it" in said and "fresh=true trains it again" in said
    assert run_here("src.train", f"resume={run}", "trainer.max_epochs=2", capsys=capsys)[0] == 0
    code, said = type_again()
    assert code == 0 and "continued since, by: " in said and results(run)["epochs"] == 2, said
    (run / "results.json").unlink()
    code, said = type_again()
    assert code == 1 and "has not finished; continue it by: " in said and f"resume={run}" in said, said


def test_a_network_for_photos_on_small_images_names_its_twin() -> None:
    from src.training.assemble import assemble

    words = ("data=digits", "data.image_size=32", "trainer=cpu", "trainer.threads=1")
    assert any("model=resnet18_cifar" in note for note in assemble(settle(compose("model=resnet18", *words))).notes)
    assert not assemble(settle(compose("model=resnet20", *words))).notes


@pytest.mark.slow
def test_two_loggers_at_once_are_both_fed(tmp_path: Path) -> None:
    done = train(tmp_path / "run", "trainer.max_epochs=1", "logger=tensorboard,wandb", "logger.mode=offline")
    assert done.returncode == 0, done.stderr
    assert {"tensorboard", "wandb"} <= {entry.name for entry in (tmp_path / "run").iterdir()}


def test_a_folder_names_its_runs(tmp_path: Path) -> None:
    from PIL import Image

    for place in ("train/cats", "train/dogs", "test/cats", "test/dogs"):
        (tmp_path / "pets" / place).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "pets" / place / "0.png")
    from src.runs.identity import build_default_path

    words = ("data=folder", f"data.root={tmp_path}/pets", f"output_root={tmp_path}/o", "trainer=cpu")
    settled = settle(compose(*words))
    path = build_default_path(settled.config, settled.hash)
    assert path.parts[-3] == "pets" and settled.config.data.title == "pets"
    titled = settle(compose(*words, "data.title=animals"))
    assert titled.hash == settled.hash and build_default_path(titled.config, titled.hash).parts[-3] == "animals"
    path.mkdir(parents=True)  # the folder got another name since
    (tmp_path / "pets").rename(tmp_path / "renamed")
    moved = settle(compose("data=folder", f"data.root={tmp_path}/renamed", *words[2:]))
    assert build_default_path(moved.config, moved.hash) == path
    assert settle(compose("data=digits", "trainer=cpu")).config.data.title == ""
