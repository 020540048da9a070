"""Several processes train what one does, and end within half a minute where one of them is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import ROOT, TINY, assert_equal, environment, results, table, train, wait_for, weights

from src.data.info import DatasetInfo
from src.models.build import build_model
from src.zoo.resnet import CifarResNet

pytestmark = pytest.mark.slow

DOUBLE = """
from src.training import trainer

trainer.PRECISION["fp32"] = "64-true"
"""
PAIR = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=40", "data.limit_train=128")
PATIENCE = 900  # seconds, on a busy machine
PROMISED, BUSY = 30, 60  # seconds after which the others have ended, and what a busy machine may take besides
NUMBERS = tuple(str(number) for number in range(10))


def make_weights(path: Path) -> Path:
    """Save the initial weights of a network whose BatchNorm is not the identity."""
    torch.manual_seed(0)
    info = DatasetInfo("digits", NUMBERS, 1, 8, mean=(0.3,), std=(0.3,))
    state = build_model(CifarResNet(depth=8, width=4), info).state_dict()
    for value in state.values():
        if value.ndim == 1:
            value.uniform_(0.3, 0.7)
    torch.save(state, path)
    return path


def test_one_two_and_four_processes_train_the_same(tmp_path: Path) -> None:
    """In float64, and with frozen statistics, losses and weights agree to 1e-10; what the test counts is the same.

    Evaluation is float32 by design, so its losses agree as float32 does.
    """
    (tmp_path / "double.py").write_text(DOUBLE)
    words = (f"plugins=[{tmp_path / 'double.py'}]", f"model.weights={make_weights(tmp_path / 'start.pt')}")
    words += ("finetune.freeze_batchnorm=true", "trainer=ddp", "trainer.accelerator=cpu", "data.limit_train=320")
    rows, tests, ends = {}, {}, {}
    for devices in (1, 2, 4):
        path = tmp_path / str(devices)
        done = train(path, *words, f"trainer.devices={devices}", timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        ends[devices] = weights(path)
        assert all(value.dtype == torch.float64 for value in ends[devices].values() if value.is_floating_point())
        rows[devices], tests[devices] = table(path / "metrics.csv"), results(path)["metrics"]
    for devices in (2, 4):
        for one, other in zip(rows[1], rows[devices], strict=True):
            assert float(other["train/loss"]) == pytest.approx(float(one["train/loss"]), rel=1e-10, abs=0), devices
        for name, tensor in ends[1].items():
            assert (ends[devices][name] - tensor).abs().max() <= 1e-10 * tensor.abs().max(), (devices, name)
        for name, value in tests[1].items():
            same = pytest.approx(value, rel=1e-6, abs=0) if name.endswith("/loss") else value
            assert tests[devices][name] == same, (devices, name)


def start(path: Path) -> "subprocess.Popen[str]":
    """Start a training in a session of its own, as a terminal does."""
    program = [sys.executable, "-m", "src.train", *TINY, *PAIR, f"hydra.run.dir={path}"]
    with path.with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            program, cwd=ROOT, stdout=log, stderr=log, text=True, env=environment(), start_new_session=True
        )


def find_ranks(session: int) -> dict[int, int]:
    """Return the process ids of a session's ranks."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and os.getsid(int(folder.name)) == session:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            variables = (folder / "environ").read_bytes().split(b"\0")
            if b"src.train" in words:
                local = [variable for variable in variables if variable.startswith(b"LOCAL_RANK=")]
                found[int(local[0].partition(b"=")[2]) if local else 0] = int(folder.name)
    return found


def has_ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc, to find the ranks")
def test_the_others_end_where_a_rank_is_lost_and_the_same_command_resumes(tmp_path: Path) -> None:
    assert train(tmp_path / "whole", *PAIR, timeout=PATIENCE).returncode == 0
    for number, lost in ((signal.SIGKILL, 1), (signal.SIGKILL, 0), (signal.SIGSTOP, 1), (signal.SIGSTOP, 0)):
        path = tmp_path / f"{number.name}-{lost}"
        process = start(path)
        wait_for(path / "checkpoints" / "last.ckpt", process, seconds=PATIENCE)
        ranks = find_ranks(process.pid)
        assert ranks.keys() == {0, 1}
        os.kill(ranks[lost], number)
        began, other = time.monotonic(), ranks[1 - lost]
        while time.monotonic() - began < 2 * (PROMISED + BUSY) and not (
            has_ended(other) or (process.poll() is not None)
        ):
            time.sleep(0.1)
        took = time.monotonic() - began
        for rank in ranks.values():
            if not has_ended(rank):
                os.kill(rank, signal.SIGKILL)
        process.wait(PATIENCE)
        log = path.with_suffix(".log").read_text()
        assert took < PROMISED + BUSY and f"Rank {lost} (process {ranks[lost]} on " in log and "Traceback" not in log, (
            log
        )
        if lost == 1 or os.environ.get("FAULTS") == "all":
            again = train(path, *PAIR, timeout=PATIENCE)
            assert again.returncode == 0, again.stderr
            assert_equal(weights(path), weights(tmp_path / "whole"))


@pytest.fixture
def nodes() -> Iterator[tuple[str, str]]:
    """Two network namespaces, each with an address and a link to the other."""

    def ip(*words: str) -> bool:
        return subprocess.run(["ip", *words], capture_output=True).returncode == 0

    names, addresses = (f"node-a-{os.getpid()}", f"node-b-{os.getpid()}"), ("10.77.0.1/24", "10.77.0.2/24")
    if not all(ip("netns", "add", name) for name in names):
        pytest.skip("needs the right to make network namespaces")
    assert ip("link", "add", "end-a", "type", "veth", "peer", "name", "end-b")
    for name, address, end in zip(names, addresses, ("end-a", "end-b"), strict=True):
        assert ip("link", "set", end, "netns", name, "name", "eth0")
        assert ip("-n", name, "addr", "add", address, "dev", "eth0")
        assert ip("-n", name, "link", "set", "lo", "up") and ip("-n", name, "link", "set", "eth0", "up")
    yield names
    for name in names:
        ip("netns", "del", name)


@pytest.mark.needs("ip")
def test_two_machines_name_each_other_where_one_is_cut_off(nodes: tuple[str, str], tmp_path: Path) -> None:
    run, logs = tmp_path / "run", [tmp_path / f"{name}.log" for name in nodes]
    words = (*TINY, "trainer=ddp", "trainer.accelerator=cpu", "trainer.num_nodes=2", "trainer.max_epochs=400")
    starter = ("torch.distributed.run", "--nnodes=2", "--nproc-per-node=1")
    place = ("--master-addr=10.77.0.1", "--master-port=29555", "-m", "src.train", *words, f"hydra.run.dir={run}")
    processes = []
    for number, (name, log) in enumerate(zip(nodes, logs, strict=True)):
        program = ["ip", "netns", "exec", name, sys.executable, "-m", *starter, f"--node-rank={number}", *place]
        with log.open("w") as file:
            variables = environment() | {"GLOO_SOCKET_IFNAME": "eth0"}
            processes.append(subprocess.Popen(program, cwd=ROOT, stdout=file, stderr=file, text=True, env=variables))
    try:
        wait_for(run / "checkpoints" / "last.ckpt", processes[0], seconds=PATIENCE)
        subprocess.run(["ip", "-n", nodes[1], "link", "set", "eth0", "down"], check=True)
        began = time.monotonic()
        while not all("has been silent" in log.read_text() for log in logs):
            assert time.monotonic() - began < PROMISED + BUSY, [log.read_text() for log in logs]
            time.sleep(0.2)
        assert "\nRank 1 (process " in logs[0].read_text() and "\nRank 0 (process " in logs[1].read_text()
    finally:
        for process in processes:
            process.kill()
            process.wait()
