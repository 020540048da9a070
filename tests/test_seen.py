"""What a person sees of a training: what is being done, the bar, the first lines, and pictures of what was found."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import TINY
from PIL import Image

from src import api
from src.cli.console import CLEAR_LINE, clear_step, say, show_step
from src.data.base import count_labels
from src.data.info import DatasetInfo
from src.tasks.sheets import MARKS, TILE, Guess, draw_guess_sheet, draw_label_sheet
from src.training.messages import describe_data


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_step_is_shown_until_the_next_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    show_step("importing torch")
    show_step("reading digits")
    say("Training")
    clear_step()
    assert terminal.getvalue() == f"importing torch …{CLEAR_LINE}reading digits …{CLEAR_LINE}Training\n"


@pytest.mark.parametrize("rank", ["0", "1"])
def test_no_step_is_shown_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    if rank == "1":
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    show_step("importing torch")
    clear_step()
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run with TensorBoard, and what it has written to a terminal."""
    words = (*TINY, "logger=tensorboard", f"output_root={tmp_path_factory.mktemp('seen')}")
    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        results = api.train(api.compose(*words))
    return Path(results["run"]), terminal.getvalue()


def test_the_bar_is_over_validation_and_test(seen: tuple[Path, str]) -> None:
    text = seen[1]
    assert text.startswith("importing torch …") and "reading digits …" in text
    for part in ("epoch 1/2 validating", "epoch 2/2 validating (", "% of the time)", "testing", "100%|"):
        assert part in text, part
    assert text.index("validating") < text.index("testing") < text.index("100%|")
    assert "\ndata" not in text.lower().partition("training")[0], "the steps leave no line"


def test_the_first_lines_tell_what_the_data_are(seen: tuple[Path, str]) -> None:
    assert "Data: 10 classes of " in seen[1] and "train/val/test 1,077/360/360; 8 × 8 pixels, gray" in seen[1]


def test_what_a_split_lacks_is_told() -> None:
    info = DatasetInfo("set", ("ant", "bee", "wasp"), 3, 32, (), ())
    counts = {"train": [5, 5, 5], "val": [2, 0, 1], "test": [1, 1, 1]}
    data = SimpleNamespace(info=info, label_counts=counts)
    lines = describe_data(data, {"n_train": 15, "n_val": 3, "n_test": 3})  # type: ignore[arg-type]
    assert lines[0].startswith("Data: 3 classes; train/val/test 15/3/3; 32 × 32 pixels, colour")
    assert lines[1:] == ["No val image of 1 of the 3 classes: 'bee'"]
    unseen = SimpleNamespace(info=info, label_counts={"train": [5, 5, 5]})
    assert "data.val_fraction=0" in describe_data(unseen, {"n_train": 15, "n_val": 0, "n_test": 3})[1]  # type: ignore[arg-type]


def test_labels_are_counted_by_class() -> None:
    assert count_labels(np.array([0, 2, 2]), 4) == [1, 0, 2, 0]
    assert count_labels(np.array([[0, 1, 1], [0, 0, 1]], dtype=np.float32), 3) == [0, 1, 2]


def test_a_classifier_leaves_a_sheet_of_its_test(seen: tuple[Path, str]) -> None:
    with Image.open(seen[0] / "pictures" / "test.png") as sheet:
        assert sheet.width > 10 * TILE and sheet.height > 3 * TILE
    assert [path.name for path in (seen[0] / "pictures").iterdir()] == ["test.png"]


def test_tensorboard_has_the_sheet_and_the_settings(seen: tuple[Path, str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(seen[0] / "tensorboard")).Reload()
    assert events.Tags()["images"] == ["test/pictures"]
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert [event.step for event in events.Scalars("val/accuracy")] == [16, 32]
    assert [event.step for event in events.Scalars("test/accuracy")] == [32]


def test_a_guess_is_framed_by_whether_it_is_right() -> None:
    picture = torch.full((1, 8, 8), 255, dtype=torch.uint8)
    for found, mark in (("cat", "right"), ("dog", "false")):
        tile = Guess(picture, "cat", found, 0.9).draw()
        frame = "#" + "".join(f"{value:02x}" for value in tile[:, 0, 0].tolist())
        assert frame == MARKS[mark] and tile[:, TILE // 2, TILE // 2].tolist() == [255] * 3
    wide = Guess(torch.zeros(3, 300, 200, dtype=torch.uint8), "cat", "cat", 1.0)
    assert draw_guess_sheet({"wrong": [], "right": [wide]}).shape[0] == 3


def test_labels_are_marked_as_right_missed_or_false(tmp_path: Path) -> None:
    Image.new("RGB", (300, 300), "white").save(path := tmp_path / "photo.png")
    sheets = [draw_label_sheet([path], [true], [{"cat": 0.9}]) for true in (["cat"], ["dog"])]
    assert sheets[0].shape == sheets[1].shape and not torch.equal(*sheets)
