"""Checkpoints that a bad day has damaged: what was written is read, or it is refused."""

import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from src.errors import UserError
from src.files import keep_second_name
from src.models.pretrained.reading import read_weights
from src.runs.archive import DamagedError, read_archive, write_archive
from src.training.checkpoints import load_checkpoint, load_newest

CONTENT = {
    "state_dict": {"model.stem.weight": torch.arange(64.0).reshape(8, 8), "model.head.bias": torch.ones(4)},
    "info": {"classes": ("cat", "dog"), "channels": 3},
    "config": {"model": {"name": "x"}},
    "epoch": 3,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_archive(tmp_path / "last.ckpt", CONTENT)
    return tmp_path / "last.ckpt"


def test_what_is_written_is_read_also_by_torch_itself(file: Path) -> None:
    for found in (load_checkpoint(file), torch.load(file, weights_only=True)):
        assert torch.equal(found["state_dict"]["model.stem.weight"], CONTENT["state_dict"]["model.stem.weight"])  # type: ignore[index]
    assert zipfile.ZipFile(file).comment.startswith(b"sha256:")
    torch.save(CONTENT, file)  # as an earlier version and other programs write it
    assert load_checkpoint(file)["epoch"] == 3  # type: ignore[typeddict-item]


def test_every_flipped_bit_is_refused(file: Path) -> None:
    content, draw = file.read_bytes(), random.Random(0)
    places = [*range(4), *range(len(content) - 100, len(content)), *(draw.randrange(len(content)) for _ in range(300))]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << draw.randrange(8)
        file.write_bytes(changed)
        with pytest.raises(DamagedError, match="last.ckpt: damaged"):
            load_checkpoint(file)


def test_every_cut_is_refused(file: Path) -> None:
    content = file.read_bytes()
    for length in (0, 1, 4, 100, len(content) // 2, len(content) - 72, len(content) - 71, len(content) - 1):
        for cut in (content[:length], content[:length] + bytes(len(content) - length)):
            file.write_bytes(cut)
            with pytest.raises(DamagedError, match="damaged"):
                load_checkpoint(file)
            with pytest.raises(UserError, match="model.weights=.*damaged"):
                read_weights(file)


def test_a_few_bytes_that_mean_gigabytes_are_not_unfolded(tmp_path: Path) -> None:
    file = tmp_path / "huge.ckpt"
    torch.save({"state_dict": {"model.x": torch.zeros(1).as_strided((2**36,), (0,))}}, file)
    with pytest.raises(DamagedError, match="a tensor of 68,719,476,736 values"):
        load_checkpoint(file)
    with pytest.raises(UserError, match="model.weights=.*a tensor of"):
        read_weights(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(1 << 20))
    with pytest.raises(DamagedError, match="unfold"):
        read_archive(file)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.pop("state_dict"), "state_dict"),
        (lambda c: c.update(state_dict={"model.x": 1}), "model.x is no tensor"),
        (lambda c: c.update(config=[1]), "its config is of the type list"),
        (lambda c: c["config"].update(x=c["config"]), "its config is endless"),
        (lambda c: c.update(state_dict={3: torch.ones(1)}), "3 is no tensor"),
        (lambda c: c.update(info={"classes": 7, "channels": 3}), "its info.classes is of the type int"),
        (lambda c: c.update(info={"classes": (1, 2), "channels": 3}), "its info.classes are no names"),
        (lambda c: c.update(info={"classes": ("a",)}), "its info.channels is missing"),
        (lambda c: c.update(normalization={"name": "x", "mean": 0.5, "std": []}), "its normalization.mean is"),
        (lambda c: c.update(epoch="x"), "its epoch is of the type str"),
        (lambda c: c.update(loops=None), "its loops is"),
    ],
)
def test_parts_of_another_type_are_named(file: Path, change: Callable[[dict[str, Any]], object], named: str) -> None:
    content: dict[str, Any] = CONTENT | {"config": {"model": {"name": "x"}}}
    change(content)
    write_archive(file, content)
    with pytest.raises(DamagedError, match=named):
        load_checkpoint(file)


def test_the_checkpoint_before_a_damaged_one_is_taken(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = file.with_name("previous.ckpt")
    write_archive(before, CONTENT | {"epoch": 2})
    assert load_newest([file, before])[0] == file  # type: ignore[index]
    file.write_bytes(file.read_bytes()[:-9])
    path, checkpoint = load_newest([file, before])  # type: ignore[misc]
    assert path == before and checkpoint["epoch"] == 2  # type: ignore[typeddict-item]
    assert "last.ckpt: damaged" in capsys.readouterr().err
    before.write_bytes(b"")
    with pytest.raises(UserError, match=r"last.ckpt: damaged .*; .*previous.ckpt: damaged .*fresh=true"):
        load_newest([file, before])
    assert load_newest([]) is None


@pytest.mark.parametrize("links", [True, False])
def test_a_second_name_outlives_the_first(file: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def refuse(*names: object) -> None:
        raise OSError(95, "Operation not supported")

    if not links:
        monkeypatch.setattr("os.link", refuse)
    content, other = file.read_bytes(), file.with_name("previous.ckpt")
    for _ in range(2):  # the second time both names have the same content already
        keep_second_name(file, other)
        assert other.read_bytes() == content and len(list(file.parent.iterdir())) == 2
    write_archive(file, {"new": 1})
    assert other.read_bytes() == content
    keep_second_name(file.with_name("none.ckpt"), other)
    assert other.read_bytes() == content
