"""What src/bench/gpu.sh runs and reads, as far as a machine without a GPU can tell."""

import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT

from src.bench import bundle
from src.bench.gpu import NETS, parse_options
from src.bench.speedrun import parse_peer_output, summarize_runs
from src.zoo.registry import rows

PRINTED = """\
-----
|  run     |  epoch  |  train_loss  |  train_acc  |  val_acc  |  tta_val_acc  |  total_time_seconds  |
-----
|       1  |     38  |      1.2210  |     0.9910  |   0.9540  |               |             19.5000  |
|          |     39  |      1.2110  |     0.9920  |   0.9550  |               |             20.0000  |
|          |   eval  |      1.2110  |     0.9920  |   0.9550  |       0.9605  |             20.2500  |
-----
"""


def test_a_bundle_lays_out_the_same_bytes_from_either_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "SHEETS", 2)
    monkeypatch.setattr(bundle, "GRID", (2, 3))
    source = tmp_path / "source"
    source.mkdir()
    random = np.random.default_rng(0)
    for half, name in (("1", "data_batch_1"), ("2", "test_batch")):
        pixels = random.integers(0, 256, (12, 3072), dtype=np.uint8)
        (source / name).write_bytes(pickle.dumps({b"labels": list(range(12)), b"data": pixels, b"end": "x"}))
        (tmp_path / half).mkdir()
        bundle.pack(source / name, tmp_path / half)
        bundle.unpack([tmp_path / half], tmp_path / "root")
    for file in source.iterdir():
        assert (tmp_path / "root" / bundle.FOLDER / file.name).read_bytes() == file.read_bytes()


def test_the_peers_figures_are_read_from_its_table() -> None:
    figures = {"seconds": 20.0, "seconds_with_test": 20.25, "accuracy": 0.955, "accuracy_tta": 0.9605}
    assert parse_peer_output(PRINTED) == figures


def test_times_are_held_against_the_peers_training_alone() -> None:
    ours = [
        {"seed": s, "seconds": 20.0 + s, "fit_seconds": 30.0, "accuracy": 0.95, "accuracy_flip": 0.959}
        for s in range(3)
    ]
    found = summarize_runs(ours, [parse_peer_output(PRINTED)])
    assert found["ours"]["seconds"] == {"mean": 21.0, "std": 1.0, "n": 3} and "seed" not in found["ours"]
    assert found["time_ratio"]["ours_over_airbench96"] == pytest.approx(1.05)
    assert found["time_ratio"]["with_checkpoints_and_recording"] == pytest.approx(1.5)
    assert found["reached_96"] == {"ours": False, "airbench96": True}
    assert "time_ratio" not in summarize_runs(ours, [])


def test_a_wrong_word_is_said() -> None:
    assert set(NETS) <= rows().keys()
    with pytest.raises(SystemExit):
        parse_options(["speed", "resnet21", "--root", "data", "--out", "here"])
    done = subprocess.run(["src/bench/gpu.sh", "sped"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "no such step: sped" in done.stdout
