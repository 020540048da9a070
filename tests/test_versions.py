"""What version 0.1 has left stays readable: tests/version_0_1 is a run that it wrote."""

import shutil
from pathlib import Path

import pytest
from helpers import command, results

from src.evaluate import evaluate
from src.training.checkpoints import load_checkpoint

OLD = Path(__file__).parent / "version_0_1"
WORDS = (
    *("data=digits", "model=cifar_resnet", "model.depth=8", "model.width=4", "trainer=cpu"),
    *("trainer.max_epochs=2", "trainer.threads=1", "trainer.precision=fp32"),
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_an_old_run_is_evaluated(old: Path) -> None:
    found = evaluate(old)
    assert found["test/accuracy"] == pytest.approx(results(old)["metrics"]["test/accuracy"], abs=1e-6)


def test_an_old_run_is_found_by_its_command(old: Path) -> None:
    again = command("src.train", *WORDS, f"hydra.run.dir={old}")
    assert again.returncode == 0 and "Finished before" in again.stderr and "code has changed since" in again.stderr


def test_an_old_run_is_reported(old: Path, tmp_path: Path) -> None:
    done = command("src.report", f"runs={old}", f"out={tmp_path / 'report'}")
    assert done.returncode == 0 and "cifar_resnet" in done.stdout and "stale: 1 of 1" in done.stdout


def test_an_old_run_is_continued_where_that_is_asked_for(old: Path) -> None:
    refused = command("src.train", f"resume={old}", "trainer.max_epochs=3")
    assert refused.returncode == 1 and "resume_anyway=true" in refused.stderr
    seconds = results(old)["time"]["fit_seconds"]
    done = command("src.train", f"resume={old}", "trainer.max_epochs=3", "resume_anyway=true")
    assert done.returncode == 0, done.stderr
    assert results(old)["epochs"] == 3 and results(old)["time"]["fit_seconds"] > seconds
    states = load_checkpoint(old / "checkpoints" / "last.ckpt")["callbacks"]
    assert {"History", "Saving"} <= states.keys() and "RunKeeper" not in states


def test_the_state_of_the_old_callback_is_divided() -> None:
    states = load_checkpoint(OLD / "checkpoints" / "last.ckpt")["callbacks"]
    assert 0 < states["Saving"]["best"] < 1 and states["History"]["fit_seconds"] > 0


def test_a_setting_that_a_choice_has_no_more_is_refused_where_it_made_a_difference(old: Path) -> None:
    file = old / "config.yaml"
    file.write_text(file.read_text().replace("ten_crop: false", "ten_crop: true"))
    refused = command("src.train", f"resume={old}", "trainer.max_epochs=3")
    assert refused.returncode == 1 and "data.ten_crop=True: data=digits has no such setting" in refused.stderr
