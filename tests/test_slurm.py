"""Sweeps on a cluster, with programs that stand for SLURM's; tests/slurm_trial.sh tries a real one."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import TINY, compose
from made_runs import make_results

from src.errors import UserError
from src.files import write_json
from src.machine.hardware import resolve_hardware
from src.machine.ranks import NODE_GPUS
from src.runs.directory import Run
from src.sweep import slurm
from src.sweep.jobs import Job
from src.sweep.slurm import Slurm, SlurmConf, get_record, read_queue
from src.sweep.slurm_task import Command

pytest.importorskip("submitit")

PROGRAMS = {
    "sbatch": '[ -e refuse ] && { echo "sbatch: error: invalid partition" >&2; exit 1; }\n'
    'cat "$1" >> scripts; echo "Submitted batch job $((++n + $(grep -c ^srun scripts)))"',
    "squeue": "[ -e down ] && exit 1; cat queue",
    "srun": "exit 1",
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose file `queue` is what squeue says, and whose file `scripts` is what was given to sbatch."""
    for name, text in PROGRAMS.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\ncd {tmp_path}\n{text}\n")
        program.chmod(0o755)
    (tmp_path / "queue").touch()
    (tmp_path / "scripts").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "LOOK", 0.0)
    monkeypatch.setattr(slurm, "UNSEEN", 0.0)
    return tmp_path


def make_launcher(**settings: Any) -> Slurm:
    conf = vars(SlurmConf(**settings))
    conf.pop("_target_")
    return Slurm(**conf)


def make_jobs(root: Path, count: int = 3) -> list[Job]:
    config = compose(*TINY, f"output_root={root}")
    config.trainer.devices = 1
    jobs = [Job(number=n, words=[f"seed={n}"], label=f"seed={n}", config=config) for n in range(count)]
    for job in jobs:
        job.run = Run(root / "digits" / str(job.number), "0123456789")
    return jobs


def finish(job: Job, **content: Any) -> None:
    job.path.mkdir(exist_ok=True)
    write_json(job.path / "results.json", make_results() | content)


def test_an_array_is_submitted_once_and_followed_to_its_end(cluster: Path) -> None:
    jobs, first = (
        make_jobs(cluster),
        make_launcher(slots=2, partition="long", minutes=30, cpus=4, sbatch={"account": "me"}),
    )
    first.step(jobs)
    script = (cluster / "scripts").read_text()
    for option in ("array=0-2%2", "partition=long", "time=30", "nodes=1", "ntasks-per-node=1", "account=me", "requeue"):
        assert f"#SBATCH --{option}\n" in script
    assert "--signal=" in script and "--kill-on-bad-exit=1" in script
    assert [job.state for job in jobs] == ["queued"] * 3
    assert [get_record(job).read_text() for job in jobs] == ["1_0\n", "1_1\n", "1_2\n"]

    now = time.strftime("%Y-%m-%dT%H:%M:%S")
    (cluster / "queue").write_text(f"1_0|RUNNING|None|{now}\n1_1|PENDING|BeginTime|N/A\n1_2|TIMEOUT|None|{now}\n")
    again, second = make_jobs(cluster), make_launcher()  # the same command, typed a second time
    second.step(again)
    first.step(jobs)
    for seen in (again, jobs):
        assert [job.state for job in seen[:2]] == ["running", "queued"]
        assert abs(seen[0].started - time.time()) < 60 and "1_1 (BeginTime)" in seen[1].reason
    assert jobs[2].state == "failed" and "1_2: TIMEOUT" in jobs[2].reason
    assert again[2].state == "queued" and get_record(again[2]).read_text() == "2\n"  # it had ended: a new one
    assert (cluster / "scripts").read_text().count("#!/bin/bash") == 2

    (cluster / "down").touch()
    assert read_queue() is None
    first.step(jobs)
    assert jobs[0].state == "running"
    (cluster / "down").unlink()

    finish(jobs[0], metrics={"test/accuracy": 0.5})
    finish(jobs[1], status="failed", reason="The loss is no longer a finite number.")
    (cluster / "queue").write_text("")  # SLURM forgets what has ended
    first.step(jobs)
    assert jobs[0].state == "done" and jobs[0].results["metrics"] == {"test/accuracy": 0.5}
    assert jobs[1].state == "failed" and "finite number" in jobs[1].reason
    second.stop(again)
    assert again[0].make_entry()["status"] == "running" and "goes on as SLURM job 1_0" in again[0].reason


def test_what_slurm_refuses_is_told(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cluster / "refuse").touch()
    jobs = make_jobs(cluster, 1)
    make_launcher(partition="nowhere").step(jobs)
    assert jobs[0].state == "failed" and "invalid partition" in jobs[0].reason
    with pytest.raises(UserError, match="hydra.launcher.cpus"):
        make_launcher(cpus=0)
    (cluster / "down").touch()
    with pytest.raises(UserError, match="no answer"):
        make_launcher().launch([], 0)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="there is no sbatch here"):
        make_launcher().launch([], 0)


def test_what_the_nodes_would_decide_must_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is named by its precision: this machine must not guess what another one is good at."""
    monkeypatch.setenv(NODE_GPUS, "4")
    config = compose(*TINY, "trainer=ddp", "trainer.precision=auto").trainer
    with pytest.raises(UserError, match="trainer.precision=auto"):
        resolve_hardware(config)
    config.precision, config.num_nodes = "bf16", 2
    assert resolve_hardware(config) == ("gpu", 4, "bf16")


def test_a_job_saves_when_slurm_tells_it_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text('#!/bin/bash\ntrap "echo saved; exit 130" TERM\necho "$@"\nwhile :; do sleep 0.1; done\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    log = tmp_path / "job.log"
    command = Command(["fresh=true"], log)

    def warn() -> None:
        while not log.exists() or not log.read_text():
            time.sleep(0.05)
        assert command.checkpoint().function.words == ["fresh=true"]

    before, thread = signal.getsignal(signal.SIGTERM), threading.Thread(target=warn)
    thread.start()
    try:
        with pytest.raises(UserError, match="exit code 130"):
            command()
    finally:
        signal.signal(signal.SIGTERM, before)
        thread.join()
    assert log.read_text().splitlines() == ["-m src.train fresh=true fresh=false", "saved"]
