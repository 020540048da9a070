"""Identity, locking and atomic writing of run directories."""

import dataclasses
import json
import signal
from pathlib import Path

import pytest
from helpers import compose
from omegaconf import OmegaConf

from src.cli.compose import to_train_config
from src.config.run import TrainConfig
from src.errors import UserError
from src.files import read_json, write_atomic, write_json
from src.runs.directory import Run
from src.runs.identity import collect_identity, compute_config_hash, to_plain
from src.runs.stored import restore_config
from src.training.messages import describe_stop
from src.training.settle import settle_machine, settle_weights
from src.training.stopping import InterruptedAtOnce, Stopping
from src.zoo.resnet import CifarResNet, ImageNetResNet

FIXED = ("trainer.precision=fp32",)  # what "auto" would read off this machine
GOLDEN = {
    (): "f1cd5f9b7a",
    ("seed=1",): "0d9392f824",
    ("model=resnet110", "data=cifar10"): "8e17d4beda",
    ("model=cifar_resnet", "model.depth=74", "model.shortcut=B", "data=cifar10"): "ac1e96c7f8",
    ("model=plain20", "data=cifar100"): "bc47052415",
    ("model=resnet18_cifar", "data=fashion_mnist"): "af85670ab9",
    ("experiment=cifar10_short", "trainer.max_epochs=40"): "f3638bdeaf",
    ("experiment=cifar10_short", "trainer.max_epochs=40", "model=resnet56", "optim.ema=0.99"): "c1bb61496a",
    ("data=cifar10", "data.limit_train=0.5", "optim=adam_plateau"): "9e22c3b4bc",
    ("data=cifar10", "data.classes=[cat,dog]", "trainer.precision=bf16"): "e066eb96d0",
}


@pytest.mark.parametrize("overrides", GOLDEN)
def test_golden_hashes(overrides: tuple[str, ...]) -> None:
    """A changed hash loses every user's finished runs: change one only together with the meaning of a setting."""
    config = compose(*overrides, "trainer=cpu", *(() if "trainer.precision=bf16" in overrides else FIXED))
    config = settle_machine(settle_weights(config))
    assert compute_config_hash(config, "content") == GOLDEN[overrides]


def test_only_identity_leaves_that_differ_are_hashed() -> None:
    base = compose()
    for setting in (
        "logger=wandb",
        "trainer.progress=false",
        "output_root=/tmp/x",
        "data.eval_batch_size=100",
        "fresh=true",
        "debug=true",
    ):
        assert collect_identity(compose(setting)) == collect_identity(base), setting
    for setting in ("seed=3", "optim.lr=0.3", "data.batch_size=32", "trainer.max_epochs=3", "task.label_smoothing=0.1"):
        assert collect_identity(compose(setting)) != collect_identity(base), setting
    assert compute_config_hash(base, "a") != compute_config_hash(base, "b")


def test_a_new_field_with_its_default_changes_no_hash() -> None:
    @dataclasses.dataclass
    class Grown(TrainConfig):
        brand_new: int = dataclasses.field(default=7, metadata={"identity": True})

    grown = Grown(**{f.name: getattr(compose(), f.name) for f in dataclasses.fields(TrainConfig)})
    assert compute_config_hash(grown, "c") == compute_config_hash(compose(), "c")
    grown.brand_new = 8
    assert compute_config_hash(grown, "c") != compute_config_hash(compose(), "c")


def test_every_field_says_whether_it_is_identity() -> None:
    def check(config: object) -> None:
        for f in dataclasses.fields(config):  # type: ignore[arg-type]
            value = getattr(config, f.name)
            if dataclasses.is_dataclass(value):
                check(value)
            else:
                assert isinstance(f.metadata["identity"], bool), f.name
                assert f.metadata["help"], f.name

    check(compose())
    check(compose("model=imagenet_resnet"))


def test_a_lock_keeps_a_second_process_out_and_empty_directories_go(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with Run(path, "x").hold(), pytest.raises(UserError, match="another process"), Run(path, "x").hold():
        pass
    assert not path.exists()
    with Run(path, "x").hold():
        write_json(path / "run.json", {"config_hash": "x", "code_hash": "y"})
    assert sorted(p.name for p in path.iterdir()) == [".lock", "run.json"]
    with Run(path, "x").hold():
        Run(path, "x").clear()
    assert not path.exists()


def made_run(path: Path) -> Path:
    """A directory with a file of each kind that a run writes."""
    for name in ("metrics.csv", "checkpoints/last.ckpt", "pictures/epoch_0001.png", "wandb/debug.log", ".lock"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("x")
    (path / "wandb" / "offline-run-20260101_000000-abc").mkdir()
    (path / "wandb" / "latest-run").symlink_to("offline-run-20260101_000000-abc")
    (path / ".results.json.123.tmp").touch()
    write_json(path / "run.json", {"config_hash": "x", "code_hash": "y", "wandb_id": "abc"})
    return path


def test_fresh_deletes_what_a_run_has_written(tmp_path: Path) -> None:
    Run(made_run(tmp_path), "x").clear()
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    "name", ["thesis.tex", ".git/HEAD", "checkpoints/mine.ckpt", "wandb/run-20260101_000000-other/x", "seed1/run.json"]
)
def test_fresh_refuses_where_anything_else_lies(tmp_path: Path, name: str) -> None:
    stranger = made_run(tmp_path) / name
    stranger.parent.mkdir(parents=True, exist_ok=True)
    stranger.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=name.split("/")[0].replace(".", r"\.")):
        Run(tmp_path, "x").clear()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["config.yaml", "results.json"])
def test_fresh_empties_no_directory_without_a_runs_mark(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match="holds files, but no run.json"):
        Run(tmp_path, "x").clear()
    assert (tmp_path / name).exists()


def test_a_name_of_ones_own_does_not_hide_the_family() -> None:
    a, b = CifarResNet(name="mine"), ImageNetResNet(name="mine")
    assert collect_identity(a) != collect_identity(b)


def test_what_is_stored_is_what_was_composed() -> None:
    for overrides in (
        ("model=example",),
        ("model=resnet20",),
        ("model=imagenet_resnet", "model.depth=18", "fresh=true"),
    ):
        config = compose(*overrides)
        again = to_train_config(restore_config(OmegaConf.create(to_plain(config))))
        assert collect_identity(again) == collect_identity(config)
        assert again.fresh is False


def test_a_directory_of_another_config_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", {"config_hash": "other", "status": "finished"})
    with pytest.raises(UserError, match="holds another configuration"):
        Run(tmp_path, "mine").find_results()
    assert Run(tmp_path, "other").find_results()
    assert Run(tmp_path, "mine", adopt=True).find_results() is None


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    write_atomic(file, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="space"):
        write_atomic(file, b"new")
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_start_that_fails_leaves_the_result_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "results.json", {"config_hash": "a", "status": "finished"})

    def fail(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("src.runs.directory.write_atomic", fail)
        with pytest.raises(OSError, match="space"):
            Run(tmp_path, "b", adopt=True).start(compose(), "python …")
    assert Run(tmp_path, "a").find_results()
    for left in (tmp_path / ".run.json.7.tmp", tmp_path / "checkpoints" / ".last.ckpt.7.tmp"):  # of a killed process
        left.touch()
    Run(tmp_path, "b", adopt=True).start(compose(), "python …")
    assert Run(tmp_path, "b").find_results() is None and not list(tmp_path.rglob("*.tmp"))


def test_a_run_of_two_codes_is_marked(tmp_path: Path) -> None:
    run = Run(tmp_path, "a")
    run.start(compose(), "python …")
    run.last.touch()
    assert Run(tmp_path, "a").find_checkpoint_to_resume(anyway=True) == run.last
    write_json(tmp_path / "run.json", run.read_record() | {"code_hash": "0123456789"})
    with pytest.raises(UserError, match="resume_anyway=true"):
        Run(tmp_path, "a").find_checkpoint_to_resume(anyway=False)
    again = Run(tmp_path, "a")
    again.find_checkpoint_to_resume(anyway=True)
    again.start(compose(), "python …")
    assert again.code_hash == "mixed" == again.read_record()["code_hash"]
    with pytest.raises(UserError, match="resume_anyway=true"):
        Run(tmp_path, "a").find_checkpoint_to_resume(anyway=False)


def test_the_last_words_say_what_was_saved(tmp_path: Path) -> None:
    run = Run(tmp_path, "a")
    assert "all is saved" in describe_stop(compose(), run, at_once=False)
    assert "before anything was saved" in describe_stop(compose(), run, at_once=True)
    run.start(compose(), "python …")
    run.last.touch()
    assert "holds the last checkpoint" in describe_stop(compose(), run, at_once=True)
    stopping = Stopping()
    stopping.request(signal.SIGTERM, None)
    stopping.request(signal.SIGTERM, None)  # a system only repeats itself
    with pytest.raises(InterruptedAtOnce):
        stopping.request(signal.SIGINT, None)


def test_json_of_what_is_no_number(tmp_path: Path) -> None:
    write_json(tmp_path / "r.json", {"a": float("nan"), "b": [1.5, float("inf")]})
    assert json.loads((tmp_path / "r.json").read_text()) == {"a": None, "b": [1.5, None]}


@pytest.mark.parametrize("content", ["{", "[]", "\x00\xff"])
def test_a_damaged_results_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match="results.json"):
        read_json(tmp_path / "results.json")
