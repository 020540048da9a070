"""Runs whose files were damaged, deleted or kept from being written: one sentence each, and nothing is lost."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TINY, assert_equal, compose, results, table, weights
from made_runs import make_results, write_run

from src.cli.messages import explain_error
from src.errors import UserError
from src.report.compare import read_classes
from src.report.groups import collect_runs
from src.runs.directory import Run
from src.runs.identity import compute_code_hash
from src.runs.stored import load_stored_config
from src.training.progress import format_epoch
from src.training.reopen import load_own_checkpoint
from src.training.run import train

WORDS = (*TINY, "data.limit_train=128", "trainer.max_epochs=3")


@pytest.fixture(autouse=True, scope="module")
def known_code() -> Any:
    """Compute the hash of the code once."""
    code = compute_code_hash()
    with pytest.MonkeyPatch.context() as patched:
        for room in ("runs.directory", "report.groups"):
            patched.setattr(f"src.{room}.compute_code_hash", lambda: code)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "run"
    train(compose(*WORDS), path)
    return path


@pytest.fixture
def stopped(finished: Path, tmp_path: Path) -> Path:
    """The same run, stopped before its results were written."""
    path = Path(shutil.copytree(finished, tmp_path / "run"))
    (path / "results.json").unlink()
    return path


def assert_same_run(path: Path, finished: Path) -> None:
    assert_equal(weights(path), weights(finished))
    assert results(path)["metrics"] == results(finished)["metrics"]
    timed = ("seconds", "images_per_second")
    ours, theirs = (
        [{k: v for k, v in row.items() if k not in timed} for row in table(place / "metrics.csv")]
        for place in (path, finished)
    )
    assert ours == theirs and len(ours) == 3


def flip_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [flip_bit, os.unlink, lambda file: file.write_bytes(b"")])
def test_the_checkpoint_before_a_damaged_one_ends_with_the_same_bits(
    stopped: Path, finished: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object]
) -> None:
    damage(stopped / "checkpoints" / "last.ckpt")
    (stopped / "metrics.csv").write_text("epoch,st")  # of a power cut
    train(compose(*WORDS), stopped)
    assert "last.ckpt: missing or damaged; continuing from previous.ckpt" in capsys.readouterr().err
    assert_same_run(stopped, finished)


def test_rows_are_never_invented_for_a_checkpoint_of_an_earlier_version(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = stopped / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    del content["callbacks"]["History"]["rows"]
    torch.save(content, last)
    lines = (stopped / "metrics.csv").read_text().splitlines(keepends=True)
    (stopped / "metrics.csv").write_text("".join(lines[:2]))
    with pytest.raises(UserError, match="metrics.csv: has no row of epoch 3"):
        train(compose(*WORDS), stopped)
    assert "lacks 2 of the 3 epochs" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"loops": {}}, {"optimizer_states": [5]}, {"callbacks": {"History": 5}}])
def test_a_checkpoint_without_the_state_of_a_training_is_named(stopped: Path, change: dict[str, Any]) -> None:
    last = stopped / "checkpoints" / "last.ckpt"
    torch.save(torch.load(last, weights_only=True) | change, last)
    with pytest.raises(UserError, match=r"last.ckpt: damaged, .* while its state was restored.*previous.ckpt"):
        train(compose(*WORDS), stopped)


@pytest.mark.parametrize("taken", ["metrics.csv", "run.json config.yaml", "checkpoints", "."])
def test_what_is_deleted_while_it_trains_is_written_again_or_told(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    path = tmp_path / "run"

    def take_away(row: dict[str, float], **options: Any) -> str:
        for name in taken.split() if row["epoch"] == 2 else ():
            shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink()
        return format_epoch(row, **options)

    monkeypatch.setattr("src.training.progress.format_epoch", take_away)
    if taken != ".":
        train(compose(*WORDS), path)
        assert_same_run(path, finished)
        assert load_stored_config(path) and Run(path, results(path)["config_hash"]).read_record()["command"]
        return
    with pytest.raises(UserError, match="was deleted or moved while the run trained"):
        train(compose(*WORDS), path)
    assert not path.exists()


def test_a_directory_that_another_process_has_now_is_left_alone(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", "x")
    with run.hold():
        (run.path / ".lock").rename(run.path / "old")
        (run.path / ".lock").touch()
        with pytest.raises(UserError, match="another process trains this run there now"):
            run.require_place()


@pytest.mark.parametrize("name", ["last.ckpt", "per_class.csv", "results.json"])
def test_a_full_disk_is_told_and_loses_nothing(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    replace = os.replace

    def fail(source: Any, target: Any, **options: Any) -> None:
        if Path(target).name == name:
            raise OSError(28, "No space left on device", source)
        replace(source, target, **options)

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", fail)
        with pytest.raises(UserError, match=f"/{name}: No space left on device; free some space"):
            train(compose(*WORDS), tmp_path / "run")
    train(compose(*WORDS), tmp_path / "run")
    assert_same_run(tmp_path / "run", finished)


def test_evaluate_names_another_checkpoint_beside_a_damaged_one(finished: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(finished, tmp_path / "run")) / "checkpoints"
    flip_bit(path / "best.ckpt")
    with pytest.raises(UserError, match=r"best.ckpt: damaged .*; type run=.*last.ckpt or .*previous.ckpt for another"):
        load_own_checkpoint(path / "best.ckpt")


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "content",
    ["", "5", "- a", "model: [", "\0", "a: &a\n  b: *a\n", BOMB, "[" * 20000, "x: " + "1" * 300000, "model: null",
     "model: {family: nope}"],
    ids=range(11),
)  # fmt: skip
def test_a_damaged_configuration_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError, match="config.yaml: "):
        load_stored_config(tmp_path)
    write_run(tmp_path / "run", make_results())
    shutil.move(tmp_path / "config.yaml", tmp_path / "run" / "config.yaml")
    if content != "model: {family: nope}":  # a plug-in's, perhaps
        with pytest.raises(UserError, match="config.yaml"):
            collect_runs([str(tmp_path / "run")])


def test_damaged_results_are_neither_returned_nor_reported(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        *({"metrics": {"test/accuracy": value}} for value in (True, 1e308, "0.5", [0.5], float("inf"), float("nan"))),
        *({name: value} for name in ("seed", "epochs", "n_val", "params") for value in (True, "2", None, 10**400)),
        *({"time": value} for value in ([], {}, {"fit_seconds": "x"}, {"fit_seconds": float("nan")})),
        {"protocol": "first"}, {"task": 5}, {"environment": []}, {"config_hash": 5}, {"code_hash": None},
    ]  # fmt: skip
    whole = make_results()
    path = write_run(tmp_path / "run", whole)
    assert Run(path, "0123456789").find_results()
    for change in changes:
        (path / "results.json").write_text(json.dumps(whole | change))
        with pytest.raises(UserError, match="results.json: damaged .*; delete it, and the same command tests the run"):
            Run(path, "0123456789").find_results()
        with pytest.raises(UserError, match="results.json is damaged"):
            collect_runs([str(path)])
    for text in ("", "[]", "{", "[" * 100000, '{"seed": ' + "9" * 6000 + "}", "\0"):
        for name, read in (("results.json", Run.find_results), ("run.json", Run.read_record)):
            (path / name).write_text(text)
            with pytest.raises(UserError, match=f"{name}: .*delete it"):
                read(Run(path, "0123456789"))
            (path / name).unlink()
    for change in ({"config_hash": 5}, {"code_hash": [1]}, {"wandb_id": [1]}, {"command": 5}):
        (path / "run.json").write_text(json.dumps({"config_hash": "x"} | change))
        with pytest.raises(UserError, match="run.json: damaged .*; delete it"):
            Run(path, "x").read_record()


@pytest.mark.parametrize("name", ["metrics.csv", "confusion_matrix.csv", "per_class.csv"])
def test_a_run_with_a_damaged_table_is_left_out_and_the_others_are_shown(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / "whole", make_results(seed=1), beside=True)
    file = write_run(tmp_path / "run", make_results(), beside=True) / name
    content = file.read_text()
    head, *lines = content.splitlines(keepends=True)
    wide, word = head + "9" * 200_000 + "\n", lines[0].rpartition(",")[0] + ",word\n"
    huge = content.replace(lines[0], lines[0].rpartition(",")[0] + ",1e308\n")
    cuts = ["", content[:-1], content[: len(content) // 2], "".join([head, *lines[:-1]]), head]
    for text in (*cuts, "\0" * 50, wide, head + word, head + "1\n", huge):
        file.write_text(text)
        collected = collect_runs([str(tmp_path)])
        assert len(collected.runs) == 1 and name in collected.left_out[0][1], text[:80]
    file.unlink()
    file.mkdir()
    assert name in collect_runs([str(tmp_path)]).left_out[0][1]


def test_damaged_predictions_are_named(tmp_path: Path) -> None:
    file = write_run(tmp_path / "run", make_results(), beside=True) / "test_predictions.npz"
    content = file.read_bytes()
    assert read_classes(file) and read_classes(file.with_name("none.npz")) is None
    for damaged in (b"", content[:-1], content[: len(content) // 2], bytes(100), content.replace(b"NUMPY", b"NUMPI")):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="test_predictions.npz: damaged; delete it"):
            read_classes(file)


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_a_lock_that_is_no_file_is_named(tmp_path: Path, kind: str) -> None:
    lock = tmp_path / ".lock"
    {"folder": lock.mkdir, "link": lambda: lock.symlink_to("/none/x"), "pipe": lambda: os.mkfifo(lock)}[kind]()
    with pytest.raises(UserError, match=r"\.lock: is no file"), Run(tmp_path, "x").hold():
        pass


@pytest.mark.parametrize("place", ["file/run", "file", "n" * 300, "/proc/none/run"])
def test_an_impossible_place_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as error, Run(tmp_path / place, "x").hold():
        pass
    sentence = explain_error(error.value)
    assert sentence.startswith(str(tmp_path / place)[:10]) and ";" in sentence and "debug" not in sentence
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
