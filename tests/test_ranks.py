"""Processes that torchrun starts: they train one run together, as those do that Lightning starts itself."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, TINY, assert_equal, command, compose, environment, results, train, weights

from src.errors import UserError
from src.machine import ranks
from src.machine.hardware import resolve_hardware
from src.runs.identity import collect_identity


def torchrun(path: Path, *words: str) -> subprocess.Popen[str]:
    options, settings = [w for w in words if w.startswith("--")], [w for w in words if not w.startswith("--")]
    program = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "src.train", *TINY, *settings]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*program, f"hydra.run.dir={path}"], cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=environment()
    )


def test_processes_and_settings_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose(*TINY, "trainer=ddp", "trainer.accelerator=cpu", "trainer.num_nodes=2").trainer
    assert "trainer.num_nodes" in collect_identity(compose(*TINY, "trainer.num_nodes=2"))
    with pytest.raises(UserError, match="srun or torchrun"):
        resolve_hardware(config)
    for name, value in {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}.items():
        monkeypatch.setenv(name, value)
    assert resolve_hardware(config) == ("cpu", 1, "fp32") and ranks.find_rank() == ranks.Rank("srun", 1, 2)
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="needs 2 processes, but torchrun has started 4"):
        resolve_hardware(config)


@pytest.mark.slow
def test_torchrun_trains_what_ddp_trains(tmp_path: Path) -> None:
    words = ("trainer=ddp", "trainer.accelerator=cpu")
    assert train(tmp_path / "ddp", *words, "trainer.devices=2").returncode == 0
    one = torchrun(tmp_path / "one", "--nproc-per-node=2", *words, "trainer.devices=2")
    told = one.communicate(timeout=600)
    assert one.returncode == 0 and told[1].count("Training cifar_resnet") == 1, told
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ("--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}")
    two = [torchrun(tmp_path / "two", *place, f"--node-rank={n}", *words, "trainer.num_nodes=2") for n in range(2)]
    assert all(process.communicate(timeout=600) and process.returncode == 0 for process in two)
    for other in ("one", "two"):
        assert_equal(weights(tmp_path / "ddp"), weights(tmp_path / other))
        assert results(tmp_path / "ddp")["metrics"] == results(tmp_path / other)["metrics"]
    again = torchrun(tmp_path / "one", "--nproc-per-node=2", *words, "trainer.devices=2", "fresh=true")
    assert again.communicate(timeout=600) and again.returncode == 0
    assert_equal(weights(tmp_path / "ddp"), weights(tmp_path / "one"))
    found = torchrun(tmp_path / "one", "--nproc-per-node=2", *words, "trainer.devices=2")
    assert "Finished before" in found.communicate(timeout=600)[1] and found.returncode == 0


@pytest.mark.slow
def test_two_processes_say_everything_once(tmp_path: Path) -> None:
    """What both of them know: the table of an evaluation, and that the loss is no number."""
    path, words = tmp_path / "run", ("trainer.strategy=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    assert train(path, "trainer.max_epochs=1").returncode == 0
    done = command("src.evaluate", f"run={path}", *words, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("macro F1") == 1 and done.stderr.count("fp32;") == 1, done.stdout + done.stderr
    diverged = train(tmp_path / "nan", *words, "optim.lr=1e29", timeout=600)
    assert diverged.returncode == 1
    assert diverged.stderr.count("no longer a finite number") == 1, diverged.stderr
