"""Identity, locking and atomic writing of run directories."""

import dataclasses
import json
from pathlib import Path

import pytest
from helpers import TINY, compose

from src.config import TrainConfig
from src.errors import UserError
from src.runs import Run, config_hash, identity, read_json, write_atomic, write_json

GOLDEN = {
    (): "a44f7b0e33",
    ("seed=1",): "4b73f57063",
    ("model=resnet110", "data=cifar10"): "fc0e6f33c5",
    ("model=cifar_resnet", "model.depth=74", "model.shortcut=B", "data=cifar10"): "e03f47868b",
    ("model=plain20", "data=cifar100"): "e2b4a4abe1",
    ("model=resnet18_cifar", "data=fashion_mnist"): "6f1ffdbb60",
    ("experiment=cifar10_short",): "00dd8fcfc0",
    ("experiment=cifar10_short", "model=resnet56", "optim.ema=0.99"): "e5f227d954",
    ("data=cifar10", "data.limit_train=0.5", "optim=adam_plateau"): "02e20f2ac9",
    ("data=cifar10", "data.classes=[cat,dog]", "trainer.precision=bf16"): "5454f2fa85",
}


@pytest.mark.parametrize("overrides", GOLDEN)
def test_golden_hashes(overrides: tuple[str, ...]) -> None:
    """A changed hash loses every user's finished runs: change one only together with the meaning of a setting."""
    assert config_hash(compose(*overrides), "content") == GOLDEN[overrides]


def test_only_identity_leaves_that_differ_are_hashed() -> None:
    base = compose()
    for setting in (
        "logger=wandb",
        "trainer.progress=false",
        "output_root=/tmp/x",
        "data.root=/y",
        "fresh=true",
        "debug=true",
    ):
        assert identity(compose(setting)) == identity(base), setting
    for setting in ("seed=3", "optim.lr=0.3", "data.batch_size=32", "trainer.max_epochs=3", "task.label_smoothing=0.1"):
        assert identity(compose(setting)) != identity(base), setting
    assert config_hash(base, "a") != config_hash(base, "b")


def test_a_new_field_with_its_default_changes_no_hash() -> None:
    @dataclasses.dataclass
    class Grown(TrainConfig):
        brand_new: int = dataclasses.field(default=7, metadata={"identity": True})

    grown = Grown(**{f.name: getattr(compose(), f.name) for f in dataclasses.fields(TrainConfig)})
    assert config_hash(grown, "c") == config_hash(compose(), "c")
    grown.brand_new = 8
    assert config_hash(grown, "c") != config_hash(compose(), "c")


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
        (path / "kept").touch()
    assert sorted(p.name for p in path.iterdir()) == [".lock", "kept"]
    with Run(path, "x").hold():
        Run(path, "x").clear()
    assert not path.exists()


def test_a_directory_of_another_config_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", {"config_hash": "other", "status": "finished"})
    with pytest.raises(UserError, match="holds another configuration"):
        Run(tmp_path, "mine").results()
    assert Run(tmp_path, "other").results()
    assert Run(tmp_path, "mine", adopt=True).results()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    write_atomic(file, lambda f: f.write(b"old") and None)

    def fail(f: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="space"):
        write_atomic(file, fail)
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_json_of_what_is_no_number(tmp_path: Path) -> None:
    write_json(tmp_path / "r.json", {"a": float("nan"), "b": [1.5, float("inf")]})
    assert json.loads((tmp_path / "r.json").read_text()) == {"a": None, "b": [1.5, None]}


@pytest.mark.parametrize("content", ["{", "[]", "\x00\xff"])
def test_a_damaged_results_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match="results.json"):
        read_json(tmp_path / "results.json")


def test_tiny_is_small() -> None:
    assert compose(*TINY).model.name == "cifar_resnet"
