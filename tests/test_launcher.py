"""Sweeps in processes of their own: stopped and started again, shared, with jobs that fail; real trainings."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, TINY, assert_equal, command, compose, environment, results, train, weights

from src.runs.directory import Run
from src.sweep.board import Board
from src.sweep.jobs import Job

reads_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
TIMEOUT = 900  # seconds; for a machine with much else to do


def begin(root: Path, *words: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A sweep of the tiny network, in a session of its own as from another terminal."""
    program = [*before, sys.executable, "-m", "src.train", "-m", *TINY, *words, f"output_root={root}"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        program, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=environment(), start_new_session=True
    )


def processes(root: Path) -> list[int]:
    """Those whose command line names this output root, or that write below it, as a job does."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            output = os.readlink(folder / "fd" / "1")
        except OSError:
            continue
        if (str(root) in words or output.startswith(str(root))) and state != "Z":
            found.append(int(folder.name))
    return found


def children(process: int) -> list[int]:
    """All that a process has begun, and that those have begun."""
    own = [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [*own, *(child for begun in own for child in children(begun))]


def wait_until(true: "object", seconds: float = TIMEOUT) -> None:
    limit = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < limit
        time.sleep(0.05)


def logs(root: Path) -> list[str]:
    return [path.read_text() for path in sorted(root.glob("*/*/*.log"))]


def ended(root: Path) -> list[Path]:
    return [file.parent for file in root.glob("*/*/*/results.json")]


def by_seed(root: Path) -> dict[int, Path]:
    return {results(path)["seed"]: path for path in ended(root)}


def room_for_torch() -> int:
    """The address space that a process takes to train at all [KiB]."""
    code = "import lightning, torch; torch.randn(64, 3, 8, 8).sum(); print(open('/proc/self/status').read())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    return int(told.stdout.partition("VmPeak:")[2].split()[0])


@reads_proc
def test_each_failure_is_told_and_the_others_finish(tmp_path: Path) -> None:
    """A limit on the address space stands for a machine that is too small for the images of two jobs."""
    limit = ["bash", "-c", f'ulimit -v {room_for_torch() + 1_200_000}; exec "$0" "$@"']
    words = ("optim.lr=0.1,1e29,much", "data.image_size=8,128", "data.batch_size=512", "trainer.max_epochs=1")
    sweep = begin(tmp_path, *words, "hydra.launcher.slots=2", before=limit)
    told, said = sweep.communicate(timeout=TIMEOUT)
    assert sweep.returncode == 1 and "Traceback" not in said
    assert "Preflight: 2 of 6 jobs cannot run" in said
    assert said.index("optim.lr=much: a number is needed") < said.index("running")
    table, reasons = told.split("\n\n")[0], told.split("\n\n")[1].splitlines()
    assert table.count("failed") == 5
    assert [reason.split()[1] for reason in reasons] == ["1", "2", "3", "4", "5"]
    assert all("ut of memory" in reasons[i] for i in (0, 2)), reasons
    assert "no longer a finite number" in reasons[1]
    assert sorted(result["status"] for result in map(results, ended(tmp_path))) == ["failed"] * 3 + ["finished"]


@pytest.mark.slow
def test_two_starts_share_the_jobs_and_both_know_the_results(tmp_path: Path) -> None:
    words = ("seed=0,1,2,3", "trainer.max_epochs=1")
    sweeps = [begin(tmp_path, *words) for _ in range(2)]
    told = [sweep.communicate(timeout=TIMEOUT) for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], told
    assert told[0][0] == told[1][0] and told[0][0].count("seed=") == 4
    assert [log.count("Training cifar_resnet") for log in logs(tmp_path)] == [1, 1, 1, 1]
    started = [said.count(": running") for _, said in told]
    assert sum(started) == 4 and "another process runs it" in told[0][1] + told[1][1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_launcher_that_ends_leaves_no_process_and_no_work_behind(tmp_path: Path, number: signal.Signals) -> None:
    sweep = begin(tmp_path, "seed=0,1", "trainer.max_epochs=3000", "trainer.progress=false")
    wait_until(lambda: list(tmp_path.glob("*/*/*/metrics.csv")))
    assert len(processes(tmp_path)) == 2
    sweep.send_signal(number)
    told, said = sweep.communicate(timeout=TIMEOUT)
    wait_until(lambda: not processes(tmp_path))
    (log,) = logs(tmp_path)
    assert "Stopped; all is saved" in log
    assert sweep.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    if number == signal.SIGINT:
        assert told.count("stopped") == 4 and "Traceback" not in said  # twice in the table, twice below it


@pytest.mark.slow
def test_several_devices_in_a_sweep(tmp_path: Path) -> None:
    """Each point sees the whole data set, with two processes on one configuration: the weights are a lone start's."""
    words = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=1")
    sweep = begin(tmp_path, *words, "trainer.devices=1,2", "hydra.launcher.slots=2")
    said = sweep.communicate(timeout=TIMEOUT)[1]
    assert sweep.returncode == 0, said
    runs = {results(path)["run"]: path for path in ended(tmp_path)}
    assert len(runs) == 2
    for path in runs.values():
        assert np.load(path / "test_predictions.npz")["index"].tolist() == list(range(360))
        assert (results(path)["steps"], results(path)["n_test"]) == (16, 360)
    assert train(tmp_path / "alone", *words, "trainer.devices=2", timeout=TIMEOUT).returncode == 0
    (two,) = [path for path in runs.values() if "devices: 2" in (path / "config.yaml").read_text()]
    assert_equal(weights(two), weights(tmp_path / "alone"))


@pytest.mark.slow
def test_a_job_may_take_so_long_and_is_tried_so_often(tmp_path: Path) -> None:
    words = ("seed=0,1", "trainer.max_epochs=3000", "trainer.progress=false", "hydra.launcher.minutes=0.001")
    late = begin(tmp_path, *words)
    assert "took more than 0.001 minutes" in late.communicate(timeout=TIMEOUT)[0]
    assert late.returncode == 1
    diverging = ("optim.lr=1e29", "trainer.max_epochs=1", "hydra.launcher.retries=1")
    again = begin(tmp_path / "again", *diverging)
    assert "no longer a finite number" in again.communicate(timeout=TIMEOUT)[1]
    assert logs(tmp_path / "again")[0].count("Training cifar_resnet") == 2
    wrong = command("src.train", "-m", *TINY, "hydra.launcher.slots=0")
    assert wrong.returncode == 1 and "hydra.launcher.slots" in wrong.stderr


def test_one_after_the_other_in_one_process_is_still_there(tmp_path: Path) -> None:
    words = ("-m", *TINY, "seed=0,1", "trainer.max_epochs=1", f"output_root={tmp_path}", "hydra/launcher=basic")
    done = command("src.train", *words, timeout=TIMEOUT)
    assert done.returncode == 0 and done.stdout.count("seed=") == 2, done.stderr
    assert len(by_seed(tmp_path)) == 2 and not logs(tmp_path)
    refused = command("src.train", *words, "trainer=ddp", timeout=TIMEOUT)
    assert refused.returncode == 1 and "hydra/launcher=basic" in refused.stderr


def test_a_terminal_shows_how_far_each_job_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [Job(number=n, words=[], label=f"seed={n}", config=compose(*TINY)) for n in range(4)]
    for job in jobs:
        job.run = Run(tmp_path / str(job.number), "0123456789")
        job.path.mkdir()
    running, done, failed, _ = jobs
    (running.path / "metrics.csv").write_text("epoch,val/accuracy\n1,0.51239\n2")  # torn
    running.state, running.started = "running", time.time() - 61
    done.results = {"epochs": 2, "metrics": {"val/accuracy": 0.75, "test/accuracy": 0.7}, "time": {"fit_seconds": 5}}
    done.end("done")
    failed.end("failed", "The loss is no longer a finite number.")
    board = Board(jobs)
    board.terminal = True
    board.show()
    first = capsys.readouterr().err
    assert re.search(r"0 +seed=0 +running +1/2 +0\.5124 +1 min 1 s", first), first
    for part in ("waiting", "0.7500", "job 2: The loss is no", "4 jobs: 1 running, 1 done, 1 failed, 1 waiting"):
        assert part in first
    board.show(last=True)
    again = capsys.readouterr().err
    assert again.startswith(f"\x1b[{len(first.splitlines())}F") and again.endswith(first)


@pytest.mark.slow
def test_a_sweep_that_is_killed_twice_ends_as_if_it_never_was(tmp_path: Path) -> None:
    """kill -9 of the launcher and of all its jobs, at random times; then the same command finishes it."""
    seeds = ",".join(map(str, range(12)))
    words = (f"seed={seeds}", "trainer.max_epochs=4", "trainer.checkpoint_minutes=0", "hydra.launcher.slots=4")
    root = tmp_path / "killed"
    chance = random.Random(0)
    for _ in range(2):
        sweep = begin(root, *words)
        before = len(by_seed(root))
        wait_until(lambda: len(by_seed(root)) >= before + 1)  # noqa: B023
        time.sleep(chance.uniform(0, 1))
        for process in processes(root):
            os.kill(process, signal.SIGKILL)
        sweep.communicate()
        assert len(by_seed(root)) < 12
    last = begin(root, *words)
    told, said = last.communicate(timeout=2400)
    assert last.returncode == 0, told + said
    whole = begin(tmp_path / "whole", *words)
    assert whole.communicate(timeout=2400) and whole.returncode == 0
    killed, unbroken = by_seed(root), by_seed(tmp_path / "whole")
    assert sorted(killed) == sorted(unbroken) == list(range(12))
    for seed in range(12):
        assert_equal(weights(killed[seed]), weights(unbroken[seed]))
        assert results(killed[seed])["metrics"] == results(unbroken[seed])["metrics"]
    assert all(torch.load(p / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 64 for p in killed.values())
    assert [log.count("test  ") for log in logs(root)] == [1] * 12  # each came to its table once


@reads_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_preflight_has_begun_ends_with_it(tmp_path: Path, number: signal.Signals) -> None:
    code = f"""
import sys, time
from src.cli.main import main
from src.sweep.processes import run_in_subprocess
if __name__ == "__main__":
    sys.exit(main(lambda: run_in_subprocess(time.sleep, {TIMEOUT})))
"""
    file = tmp_path / "waits.py"
    file.write_text(code)
    program = [sys.executable, str(file)]
    waiting = subprocess.Popen(program, cwd=ROOT, env=environment() | {"PYTHONPATH": str(ROOT)}, start_new_session=True)
    wait_until(lambda: len(children(waiting.pid)) == 3)  # the server, its fork, and who looks after their resources
    begun = [Path("/proc", str(child)) for child in children(waiting.pid)]
    waiting.send_signal(number)
    assert waiting.wait() == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    wait_until(lambda: not any(child.exists() for child in begun), 30)
