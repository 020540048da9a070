"""What W&B is to show, and whether it is online; runs that reach a server are in tests/faults/test_wandb.py."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from src.cli.compose import compose_run
from src.errors import UserError
from src.machine.wandb import choose_wandb_mode, has_wandb_key
from src.training.loggers.base import Identity, RunLogger
from src.training.loggers.build import build_loggers
from src.training.loggers.wandb import SHOWN, WandbRun, list_confusions


@pytest.fixture(autouse=True)
def without_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_what_is_typed_precedes_the_environment_and_that_precedes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_wandb_mode("auto") == "offline" and choose_wandb_mode("disabled") == "disabled"
    with pytest.raises(UserError, match="logger.mode=online: W&B has no key"):
        choose_wandb_mode("online")
    for named, meant in {"offline": "offline", "dryrun": "offline", "disabled": "disabled"}.items():
        monkeypatch.setenv("WANDB_MODE", named)
        assert choose_wandb_mode("auto") == meant
    assert choose_wandb_mode("offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "perhaps")
    with pytest.raises(UserError, match="WANDB_MODE=perhaps: choose one of"):
        choose_wandb_mode("auto")
    monkeypatch.setenv("WANDB_MODE", "run")
    with pytest.raises(UserError, match="WANDB_MODE=run: W&B has no key"):
        choose_wandb_mode("auto")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert choose_wandb_mode("auto") == choose_wandb_mode("online") == "online"
    monkeypatch.delenv("WANDB_MODE")
    assert choose_wandb_mode("auto") == "online" and choose_wandb_mode("offline") == "offline"


def test_a_key_is_found_where_wandb_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password x\n")
    assert has_wandb_key()
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.mine:8080")
    assert not has_wandb_key()
    (tmp_path / "netrc").write_text("machine wandb.mine login user password x\n")
    assert has_wandb_key()
    (tmp_path / "netrc").unlink()
    (tmp_path / "settings").write_text("[default]\napi_key = x\n")
    assert has_wandb_key()


def test_a_disabled_wandb_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (logger,) = build_loggers(compose_run("logger=wandb").logger.values())
    assert type(logger) is RunLogger


def test_every_sample_of_a_confusion_matrix_is_counted() -> None:
    classes = tuple(f"class {number}" for number in range(150))
    confusion = torch.zeros(150, 150, dtype=torch.int64)
    confusion[3, 4], confusion[5, 5] = 7, 90
    assert list_confusions(confusion, classes) == [["class 5", "class 5", 90], ["class 3", "class 4", 7]]
    confusion += torch.arange(150 * 150).reshape(150, 150) % 5 + 1
    rows: Any = list_confusions(confusion, classes)
    assert len(rows) == SHOWN and sum(row[2] for row in rows) == int(confusion.sum())
    assert rows[0][2] >= rows[1][2] >= rows[-2][2]
    assert rows[-1][0] == f"{150 * 150 - SHOWN + 1:,} other pairs" and "confusion_matrix.csv" in rows[-1][1]


class Broken:
    """A run at W&B whose every use fails."""

    starting_step = 0
    uses = 0

    def __getattr__(self, name: str) -> Any:
        Broken.uses += 1
        raise RuntimeError("W&B has gone away")


def test_a_failure_of_wandb_is_said_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = WandbRun(project="p", entity=None, group=None, job_type="train", tags=[], mode="offline")
    logger.run = Broken()  # type: ignore[assignment]
    for epoch in (1, 2, 3):
        logger.epoch({"epoch": epoch, "step": epoch})
    logger.finish(failed=False)
    assert Broken.uses == 2
    assert capsys.readouterr().err == "W&B: W&B has gone away. The training goes on without it.\n"

    def refuse(**settings: object) -> None:
        raise RuntimeError(f"no server ({settings['mode']})")

    monkeypatch.setattr("wandb.init", refuse)
    monkeypatch.setattr("wandb.teardown", lambda: None)
    online = WandbRun(project="p", entity=None, group=None, job_type="train", tags=[], mode="online")
    online.start(Identity(path=tmp_path, name="n", group=None, tags=[], run_id="i"))
    online.epoch({"epoch": 1, "step": 1})
    online.finish(failed=False)
    said = capsys.readouterr().err
    assert "no server (online). The run goes on offline: wandb sync" in said and "no server (offline)" in said


@pytest.mark.slow
def test_a_run_offline_says_how_it_is_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = WandbRun(project="p", entity=None, group=None, job_type="train", tags=[], mode="offline")
    logger.start(Identity(path=tmp_path, name="n", group=None, tags=[], run_id="i"))
    logger.epoch({"epoch": 1, "step": 1})
    logger.finish(failed=False)
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    assert f"W&B: offline in {folder}; this sends it: wandb sync {folder}\n" in capsys.readouterr().err
