"""Whole runs of `python -m src.train` and `src.evaluate`: on real digits, with a net that trains in seconds."""

import csv
import json
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import (
    ROOT,
    SHARED_DATA,
    TINY,
    assert_equal,
    command,
    environment,
    results,
    start,
    table,
    train,
    wait_for,
    weights,
)
from lightning import Trainer

from src.evaluate import evaluate
from src.report.published import read_published
from src.report.render.dashboard import build_workspace

RESULT_KEYS = {
    "run", "command", "status", "config_hash", "code_hash", "model", "data", "data_fingerprint", "n_train", "n_val",
    "n_test", "task", "seed", "params", "macs", "epochs", "steps", "ema", "protocol", "monitor_test", "metrics", "time",
    "peak_memory_bytes", "wandb_id", "environment",
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, brought to its end."""
    path = tmp_path_factory.mktemp("finished") / "run"
    done = train(path)
    assert done.returncode == 0, done.stderr
    return path


def test_a_finished_run_leaves_everything(finished: Path) -> None:
    content = results(finished)
    assert content.keys() == RESULT_KEYS
    assert content["status"] == "finished"
    assert (content["n_train"], content["n_val"], content["n_test"]) == (1077, 360, 360)
    assert (content["epochs"], content["steps"]) == (2, 2 * (1077 // 64))
    assert content["protocol"] == "last" and content["wandb_id"] is None
    for split in ("train", "val", "test"):
        assert {f"{split}/{name}" for name in ("accuracy", "precision", "recall", "f1", "loss")} <= content[
            "metrics"
        ].keys()
    assert content["time"].keys() == {"fit_seconds", "epoch_seconds", "images_per_second"}
    assert content["environment"]["torch"] == torch.__version__
    rows = table(finished / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[-1]["val/accuracy"]) == content["metrics"]["val/accuracy"]
    confusion = list(csv.reader((finished / "confusion_matrix.csv").read_text().splitlines()))
    assert sum(int(cell) for row in confusion[1:] for cell in row[1:]) == 360
    assert len(table(finished / "per_class.csv")) == 10
    predictions = np.load(finished / "test_predictions.npz")
    assert predictions["index"].tolist() == list(range(360))
    right = (predictions["label"] == predictions["prediction"]).mean()
    assert right == pytest.approx(content["metrics"]["test/accuracy"], abs=1e-6)
    assert {p.stem for p in (finished / "checkpoints").iterdir()} == {"last", "previous", "best"}


def test_checkpoints_are_plain_and_carry_the_configuration(finished: Path) -> None:
    checkpoint = torch.load(finished / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["config"]["model"]["depth"] == 8
    assert checkpoint["info"]["classes"] == tuple("0123456789") or list(checkpoint["info"]["classes"]) == list(
        "0123456789"
    )
    assert checkpoint["normalization"]["name"] == "dataset"
    assert not [name for name in checkpoint["state_dict"] if "_orig_mod" in name]


def test_the_same_command_again_trains_nothing(finished: Path) -> None:
    before = (finished / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    again = train(finished)
    assert again.returncode == 0
    assert "Finished before" in again.stderr and str(finished) in again.stderr
    assert (finished / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before


def test_a_directory_of_another_run_is_refused(finished: Path) -> None:
    other = train(finished, "seed=7")
    assert other.returncode == 1
    assert "another configuration" in other.stderr


def test_evaluate_gives_the_same_numbers_also_after_a_move(finished: Path, tmp_path: Path) -> None:
    import shutil

    moved = shutil.copytree(finished, tmp_path / "moved")
    done = command("src.evaluate", f"run={moved}")
    assert done.returncode == 0, done.stderr
    assert f"{results(finished)['metrics']['test/accuracy']:.4f}" in done.stdout
    val = command("src.evaluate", f"run={moved}/checkpoints/last.ckpt", "split=val", "trainer=cpu")
    assert f"{results(finished)['metrics']['val/accuracy']:.4f}" in val.stdout
    wrong = command("src.evaluate", f"run={moved}", "data.classes=[1,2]")
    assert wrong.returncode == 1 and "2 classes" in wrong.stderr
    assert "no run directory" in command("src.evaluate", f"run={tmp_path}").stderr
    assert "split=tets" in command("src.evaluate", f"run={moved}", "split=tets").stderr


def test_resume_continues_under_more_epochs(finished: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(finished, tmp_path / "copy")
    done = command("src.train", f"resume={copy}", "trainer.max_epochs=3")
    assert done.returncode == 0, done.stderr
    assert results(copy)["epochs"] == 3 and results(copy)["steps"] == 48
    assert "Resuming" in done.stderr and "epoch   1/3" not in done.stderr
    refused = command("src.train", f"resume={copy}", "optim.lr=3")
    assert refused.returncode == 1 and "optim.lr" in refused.stderr


def test_an_interrupted_evaluation_is_no_success(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def test(*args: Any, **kwargs: Any) -> None:
        sys.exit(0)  # as Lightning does after SIGTERM

    monkeypatch.setattr(Trainer, "test", test)
    with pytest.raises(KeyboardInterrupt):
        evaluate(finished)


@pytest.mark.parametrize(
    "extra",
    [
        (),
        pytest.param(("optim.ema=0.9",), marks=pytest.mark.slow),
        pytest.param(("optim=adam_plateau", "optim.patience=0"), marks=pytest.mark.slow),
    ],
    ids=["sgd", "ema", "plateau"],
)
def test_a_run_killed_inside_an_epoch_ends_with_the_same_bits(tmp_path: Path, extra: tuple[str, ...]) -> None:
    words = (*extra, "trainer.max_epochs=4")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train(whole, *words).returncode == 0
    process = start(killed, *words, "trainer.checkpoint_minutes=0")  # saves after each step too
    wait_for(killed / "metrics.csv", process)
    last = killed / "checkpoints" / "last.ckpt"
    while not 0 < torch.load(last, weights_only=True)["global_step"] % 16 < 10:  # it trains on until it is killed
        assert process.poll() is None
    process.kill()
    process.communicate()
    cut_short = torch.load(last, weights_only=True)
    step, kept = cut_short["global_step"], cut_short["callbacks"]["History"]
    assert 16 < step < 64 and step % 16 == kept["epoch_batches"] > 0
    done = train(killed, *words)
    assert done.returncode == 0 and "Resuming" in done.stderr, done.stderr
    if "optim=adam_plateau" in extra:
        a, b = (torch.load(p / "checkpoints/last.ckpt", weights_only=True) for p in (whole, killed))
        assert_equal(a["state_dict"], b["state_dict"])
        assert a["plateau"] == b["plateau"]
    else:
        assert_equal(weights(whole), weights(killed))
    assert results(whole)["metrics"] == results(killed)["metrics"]
    rows = table(killed / "metrics.csv")
    assert float(rows[step // 16]["seconds"]) > kept["epoch_seconds"] > 0, "the epoch's time before the kill counts"
    for a, b in zip(table(whole / "metrics.csv"), rows, strict=True):
        timed = ("seconds", "images_per_second")
        assert {k: v for k, v in a.items() if k not in timed} == {k: v for k, v in b.items() if k not in timed}


def test_two_starts_at_once_are_one_run(tmp_path: Path) -> None:
    first = start(tmp_path / "run", "trainer.max_epochs=2000")
    wait_for(tmp_path / "run" / "run.json", first)
    second = train(tmp_path / "run", "trainer.max_epochs=2000")
    assert second.returncode == 1
    assert "another process is training" in second.stderr
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_and_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "run"
    process = start(path, "trainer.max_epochs=200")
    wait_for(path / "metrics.csv", process)
    process.send_signal(number)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Stopped; all is saved" in message and "Traceback" not in message
    assert not (path / "results.json").exists()
    step = torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert step >= 16
    done = command("src.train", f"resume={path}", f"trainer.max_epochs={step // 16 + 2}")
    assert done.returncode == 0, done.stderr


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run"
    done = train(
        path,
        "optim.lr=1e29",
        "optim.warmup=0.6",
        "optim.warmup_start=1e-32",
        "optim.warmup_shape=constant",
        "trainer.max_epochs=3",
    )
    assert done.returncode == 1
    assert "no longer a finite number" in done.stderr and "last.ckpt" in done.stderr
    assert results(path)["status"] == "failed" and "finite" in results(path)["reason"]
    assert all(t.isfinite().all() for t in weights(path).values())


def test_fresh_starts_over(tmp_path: Path) -> None:
    path = tmp_path / "run"
    train(path, "trainer.max_epochs=1")
    (path / "mine.txt").touch()
    refused = train(path, "trainer.max_epochs=1", "fresh=true")
    assert refused.returncode == 1 and "mine.txt" in refused.stderr and results(path)["status"] == "finished"
    (path / "mine.txt").unlink()
    again = train(path, "trainer.max_epochs=1", "fresh=true")
    assert again.returncode == 0 and "Finished before" not in again.stderr
    assert results(path)["status"] == "finished"


@pytest.mark.parametrize(
    "optim", ["adamw", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sgd_multistep", "adam", "muon"))]
)
def test_gradients_are_clipped_in_bf16(tmp_path: Path, optim: str) -> None:
    """In the default precision of machines that have it: to a norm of 1e-9 the network learns something else."""
    words = ("trainer.precision=bf16", f"optim={optim}", "optim.weight_decay=0", "trainer.max_epochs=1")
    assert train(tmp_path / "run", *words, "optim.clip_norm=1e-9").returncode == 0
    assert train(tmp_path / "free", *words).returncode == 0
    moved, free = (weights_of_stem(tmp_path / name) for name in ("run", "free"))
    assert not torch.equal(moved, free)


def weights_of_stem(path: Path) -> torch.Tensor:
    state = torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return next(iter(state.values()))


def test_a_run_of_other_code_is_not_resumed_unasked(tmp_path: Path) -> None:
    path = tmp_path / "run"
    process = start(path, "trainer.max_epochs=200")
    wait_for(path / "checkpoints" / "last.ckpt", process)
    process.kill()
    process.communicate()
    record = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(record | {"code_hash": "0123456789"}))
    refused = train(path, "trainer.max_epochs=200")
    assert refused.returncode == 1 and "resume_anyway=true" in refused.stderr


def test_a_damaged_checkpoint_is_named(finished: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(finished, tmp_path / "copy")
    (copy / "results.json").unlink()
    for name in ("last", "previous"):
        (copy / "checkpoints" / f"{name}.ckpt").write_bytes(b"PK\x03\x04 no zip")
    done = train(copy)
    assert done.returncode == 1 and "last.ckpt: damaged" in done.stderr and "Traceback" not in done.stderr


def test_a_sweep_ends_in_one_table_and_names_what_failed(tmp_path: Path) -> None:
    done = command(
        "src.train",
        "-m",
        *TINY,
        "seed=0,1",
        "data.batch_size=64,5000",
        "trainer.max_epochs=1",
        f"output_root={tmp_path}",
    )
    assert done.returncode == 1
    assert len(list(tmp_path.glob("digits/*/*/results.json"))) == 2
    assert done.stdout.count(": failed: ") == 2
    assert "5000" in done.stdout and "1077 training images" in done.stdout
    assert "Traceback" not in done.stderr
    again = command("src.train", "-m", *TINY, "seed=0,1", "trainer.max_epochs=1", f"output_root={tmp_path}")
    assert again.returncode == 0 and again.stderr.count("Finished before") == 2


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: the write fails half-way, with an OSError."""
    path = tmp_path / "run"
    assert train(path, "trainer.max_epochs=1").returncode == 0
    limited = ["bash", "-c", f'ulimit -f 10; exec "$0" -m src.train resume={path} trainer.max_epochs=2', sys.executable]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode != 0
    assert torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 16
    assert not list(path.rglob("*.tmp"))


def test_wandb_offline_keeps_its_id_and_the_newest_folder_holds_all_that_a_dashboard_shows(tmp_path: Path) -> None:
    path, study = tmp_path / "run", read_published("he2016_table6")
    done = train(path, "logger=wandb", "trainer.max_epochs=1", f"experiment_name={study.experiment}")
    assert done.returncode == 0, done.stderr
    done = command("src.train", f"resume={path}", "trainer.max_epochs=2")
    assert done.returncode == 0, done.stderr
    first, second = sorted((path / "wandb").glob("offline-run-*/*.wandb"))
    assert first.stem == second.stem == f"run-{results(path)['wandb_id']}"
    assert (path / "wandb" / "latest-run").resolve() == second.parent
    config, summary, rows = wandb_records(second)
    assert config.run_group == study.experiment and config.job_type == "train"
    assert config.display_name == "cifar_resnet-digits-seed0"
    assert set(config.tags) == {study.experiment, "cifar_resnet", "digits", "multiclass"}
    epochs = [row for row in rows if "epoch" in row]
    assert [row["epoch"] for row in epochs] == ["1", "2"]
    assert [float(row["val/loss"]) for row in epochs] == [float(row["val/loss"]) for row in table(path / "metrics.csv")]
    shown = json.dumps(build_workspace("me", "mine", study)._to_model().model_dump(mode="json", by_alias=True))
    logged = {item.key: item.value_json for item in config.config.update}
    assert re.findall(r'"summary:([^"]+)"', shown) and set(re.findall(r'"summary:([^"]+)"', shown)) <= summary
    assert set(re.findall(r'"metrics": \["([^"]+)"\]', shown)) <= summary | set(epochs[0])
    assert "depth" in json.loads(logged["model"]) and json.loads(logged["pool"]).startswith("cifar_resnet-digits-")


def wandb_records(path: Path) -> tuple[Any, set[str], list[dict[str, str]]]:
    """A W&B file's run, the names in its summary, and its history. The file is a log in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, part, records = path.read_bytes(), 7, b"", []
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        part += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            records.append(Record.FromString(part))
            part = b""
    of = {
        kind: [getattr(r, kind) for r in records if r.WhichOneof("record_type") == kind]
        for kind in ("run", "summary", "history")
    }
    names = {item.key for summary in of["summary"] for item in summary.update}
    rows = [{item.key or item.nested_key[0]: item.value_json for item in row.item} for row in of["history"]]
    return of["run"][-1], names, rows


def test_tensorboard_writes_events(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert train(path, "logger=tensorboard", "trainer.max_epochs=1").returncode == 0
    assert list((path / "tensorboard").glob("events.out.tfevents.*"))


def test_training_on_everything_and_test_curves(tmp_path: Path) -> None:
    path = tmp_path / "run"
    done = train(path, "data.val_fraction=0", "monitor_test=true")
    assert done.returncode == 0, done.stderr
    content = results(path)
    assert content["n_val"] == 0 and content["n_train"] == 1437 and content["monitor_test"] is True
    rows = table(path / "metrics.csv")
    assert "test/accuracy" in rows[0] and "val/accuracy" not in rows[0]
    assert not (path / "checkpoints" / "best.ckpt").exists()


def test_the_best_validation_epoch_is_tested_where_that_is_the_protocol(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert train(path, "protocol=best_val", "trainer.max_epochs=3").returncode == 0
    rows = [float(row["val/accuracy"]) for row in table(path / "metrics.csv")]
    assert results(path)["metrics"]["val/accuracy"] == max(rows)


def test_two_processes_see_each_sample_once_and_agree_with_one(tmp_path: Path) -> None:
    """360 test images in batches of 7 over two processes: nothing divides."""
    path = tmp_path / "two"
    words = ("data.eval_batch_size=7", "trainer.max_epochs=1")
    done = train(path, *words, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    assert done.returncode == 0, done.stderr
    assert np.load(path / "test_predictions.npz")["index"].tolist() == list(range(360))
    trained = results(path)
    assert (trained["steps"], trained["n_test"]) == (16, 360)
    confusion = list(csv.reader((path / "confusion_matrix.csv").read_text().splitlines()))
    assert sum(int(cell) for row in confusion[1:] for cell in row[1:]) == 360
    for split in ("test", "val"):
        alone = evaluate(path, split=split, overrides=["data.eval_batch_size=360"])
        for name, value in alone.items():
            assert trained["metrics"][name] == pytest.approx(value, abs=1e-6), name


def test_fresh_then_resume_keeps_the_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert train(path, "fresh=true", "trainer.max_epochs=1").returncode == 0
    done = command("src.train", f"resume={path}", "trainer.max_epochs=2")
    assert done.returncode == 0 and "Resuming" in done.stderr, done.stderr
    assert "resume=" in results(path)["command"]
    fewer = command("src.train", f"resume={path}", "trainer.max_epochs=1")
    assert fewer.returncode == 1 and "has trained 2 epochs already; set at least 2" in fewer.stderr
    assert results(path)["status"] == "finished"


def test_fresh_with_a_wrong_input_deletes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert train(path, "trainer.max_epochs=1").returncode == 0
    assert train(path, "trainer.max_epochs=1", "fresh=true", "data.batch_size=5000").returncode == 1
    assert results(path)["status"] == "finished"


def test_a_network_of_ones_own_is_evaluated_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    words = ("model=example", "data=digits", "trainer.max_epochs=1", "trainer.limit_train_batches=2")
    assert command("src.train", *words, f"hydra.run.dir={path}").returncode == 0
    assert evaluate(path)["test/accuracy"] == pytest.approx(results(path)["metrics"]["test/accuracy"], abs=1e-6)
    assert command("src.train", f"resume={path}", "trainer.max_epochs=2").returncode == 0


@pytest.mark.slow
def test_a_sweep_into_directories_of_ones_choice(tmp_path: Path) -> None:
    words = ("-m", *TINY, "seed=0,1", "trainer.max_epochs=1", f"hydra.sweep.dir={tmp_path}/sweep")
    assert command("src.train", *words, "hydra.sweep.subdir=${hydra.job.num}").returncode == 0
    assert [(tmp_path / "sweep" / n / "results.json").exists() for n in "01"] == [True, True]


@pytest.mark.skipif(not SHARED_DATA.exists(), reason=f"the real CIFAR-10 is not at {SHARED_DATA}")
def test_a_damaged_cifar_file_is_named(tmp_path: Path) -> None:
    subprocess.run([sys.executable, SHARED_DATA / "unpack.py", tmp_path, "cifar10"], check=True, capture_output=True)
    file = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    done = command("src.train", "data=cifar10", f"data.root={tmp_path}", f"output_root={tmp_path}/o")
    assert done.returncode == 1 and "data_batch_3" in done.stderr and "damaged" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "o").exists()
