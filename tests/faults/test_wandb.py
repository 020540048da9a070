"""W&B online, against a server on the loopback that speaks its API, and fails on demand."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT, TINY, environment, results, table
from wandb_server import KEY, SentRun, WandbServer

from src.training.loggers.wandb import ENDS, STARTS

pytestmark = pytest.mark.slow
TIMEOUT = 600  # seconds; for a machine with much else to do
TABLE = 20  # seconds after which W&B itself gives up to send the confusion matrix
OVERHEAD = 90  # seconds that a busy machine takes for the rest
SMALL = ("data.limit_train=128", "logger=wandb")


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with WandbServer() as server:
        yield server


def begin(server: WandbServer, *words: str, module: str = "src.train") -> subprocess.Popen[str]:
    """A command of a user who has a key, and whose W&B is this server."""
    program = [sys.executable, "-m", module, *words]
    known = environment() | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
    return subprocess.Popen(program, cwd=ROOT, env=known, stderr=subprocess.PIPE, text=True, start_new_session=True)


def train(server: WandbServer, path: Path, *words: str) -> str:
    """Train to the end; return what was said."""
    process = begin(server, *TINY, *SMALL, *words, f"hydra.run.dir={path}")
    said = process.communicate(timeout=TIMEOUT)[1]
    assert process.returncode == 0, said
    return said


def wait_until(true: "object", seconds: float = TIMEOUT) -> None:
    limit = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < limit
        time.sleep(0.05)


def only(server: WandbServer) -> SentRun:
    (run,) = server.runs.values()
    return run


def assert_no_key(folder: Path) -> None:
    assert not [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_run_arrives_whole_and_goes_on_where_it_was(tmp_path: Path, server: WandbServer) -> None:
    train(server, tmp_path / "run", "optim.lr=0.01")
    run = only(server)
    assert run.epochs == [1, 2] and run.exit_code == 0 and list(server.runs) == [results(tmp_path / "run")["wandb_id"]]
    figures = {key: float(value) for key, value in table(tmp_path / "run" / "metrics.csv")[-1].items()}
    assert run.history[-1]["val/loss"] == pytest.approx(figures["val/loss"])
    assert run.summary["test/accuracy"] == results(tmp_path / "run")["metrics"]["test/accuracy"]
    (name,) = [name for name in run.uploads if name.endswith(".table.json")]
    shown = json.loads(run.uploads[name])
    assert shown["columns"] == ["true", "predicted", "count"] and sum(row[2] for row in shown["data"]) == 360
    longer = begin(server, f"resume={tmp_path}/run", "trainer.max_epochs=4")
    assert longer.communicate(timeout=TIMEOUT) and longer.returncode == 0
    assert only(server).epochs == [1, 2, 3, 4]
    assert_no_key(tmp_path)


def test_a_killed_run_has_each_epoch_once(tmp_path: Path, server: WandbServer) -> None:
    words = (*TINY, *SMALL, "trainer.max_epochs=1500", f"hydra.run.dir={tmp_path}/run")
    for _ in range(2):
        sent = len(only(server).epochs) if server.runs else 0
        process = begin(server, *words)
        wait_until(lambda: server.runs and len(only(server).epochs) > sent)  # noqa: B023
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
        assert not (tmp_path / "run" / "results.json").exists()
    process = begin(server, *words)
    assert process.communicate(timeout=TIMEOUT) and process.returncode == 0
    assert only(server).epochs == list(range(1, 1501)) and only(server).exit_code == 0
    assert_no_key(tmp_path)


def test_the_jobs_of_a_sweep_are_runs(tmp_path: Path, server: WandbServer) -> None:
    sweep = begin(server, "-m", *TINY, *SMALL, "seed=0,1", f"output_root={tmp_path}")
    said = sweep.communicate(timeout=TIMEOUT)[1]
    assert sweep.returncode == 0, said
    assert [run.epochs for run in server.runs.values()] == [[1, 2]] * 2
    assert {run.facts["displayName"] for run in server.runs.values()} == {
        "cifar_resnet-digits-train128-seed0",
        "cifar_resnet-digits-train128-seed1",
    }
    assert_no_key(tmp_path)


def test_an_offline_run_is_sent_later(tmp_path: Path, server: WandbServer) -> None:
    train(server, tmp_path / "run", "logger.mode=offline")
    longer = begin(server, f"resume={tmp_path}/run", "trainer.max_epochs=4")
    assert longer.communicate(timeout=TIMEOUT) and longer.returncode == 0
    assert not server.asked
    sync = begin(server, "sync", str(tmp_path / "run" / "wandb" / "latest-run"), module="wandb")
    said = sync.communicate(timeout=TIMEOUT)[1]
    assert sync.returncode == 0, said
    assert only(server).epochs == [1, 2, 3, 4]
    assert list(server.runs) == [results(tmp_path / "run")["wandb_id"]]


@pytest.mark.parametrize("failing", ["500", "hang", "cut"])
def test_a_server_that_fails_from_the_start_makes_the_run_an_offline_one(
    tmp_path: Path, server: WandbServer, failing: str
) -> None:
    server.failing = failing
    process = begin(server, *TINY, *SMALL, f"hydra.run.dir={tmp_path}/run")
    wait_until((tmp_path / "run" / "wandb").exists)
    began = time.monotonic()
    wait_until((tmp_path / "run" / "run.json").exists)
    took = time.monotonic() - began
    print(f"{failing}: {took:.0f} s to begin")
    assert took < STARTS + OVERHEAD
    said = process.communicate(timeout=TIMEOUT)[1]
    assert process.returncode == 0, said
    assert "W&B: " in said and "goes on offline" in said and "Traceback" not in said
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    server.failing = ""
    sync = begin(server, "sync", str(tmp_path / "run" / "wandb" / "latest-run"), module="wandb")
    assert sync.communicate(timeout=TIMEOUT) and sync.returncode == 0
    assert only(server).epochs == [1, 2]
    assert_no_key(tmp_path)


@pytest.mark.parametrize("failing", ["500", "hang", "cut"])
def test_a_server_that_fails_later_costs_its_patience_at_most(
    tmp_path: Path, server: WandbServer, failing: str
) -> None:
    path = tmp_path / "run"
    process = begin(server, *TINY, *SMALL, "trainer.max_epochs=30", f"hydra.run.dir={path}")
    wait_until((path / "run.json").exists)
    server.failing = failing
    said = process.communicate(timeout=TIMEOUT)[1]
    assert process.returncode == 0 and results(path)["status"] == "finished", said
    took = (path / "results.json").stat().st_mtime - (path / "metrics.csv").stat().st_mtime
    print(f"{failing}: {took:.0f} s from the last epoch to the result")
    assert took < TABLE + ENDS + OVERHEAD
    assert "W&B: " in said and "Traceback" not in said
    server.failing = ""
    (folder,) = (path / "wandb").glob("run-*")
    sync = begin(server, "sync", "--no-skip-online", str(folder), module="wandb")
    assert sync.communicate(timeout=TIMEOUT) and sync.returncode == 0
    assert only(server).epochs == list(range(1, 31))
