"""Mistakes are ranked, voted on and shown, of runs that were really trained."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, command, compose, refuse

from src import api
from src.analysis.mistakes import find_suspects, judge, rank_confusions, rank_mistakes, tabulate_classes, vote
from src.errors import UserError
from src.mistakes import run_command
from src.report.predictions import Predictions


def predictions(prediction: list[int], confidence: list[float]) -> Predictions:
    label = [0, 0, 1, 1, 2]
    return Predictions(np.arange(10, 15), np.array(label), np.array(prediction), np.array(confidence))


def test_runs_vote_by_their_confidence() -> None:
    one = vote([predictions([1, 0, 2, 1, 0], [0.95, 0.9, 0.6, 0.8, 0.99])], "test", 3)
    assert rank_mistakes(one).tolist() == [4, 0, 2] and find_suspects(one).tolist() == [4, 0]
    both = vote(
        [predictions([1, 0, 2, 1, 0], [0.9] * 5), predictions([1, 1, 1, 1, 0], [0.8, 0.95, 0.8, 0.8, 0.7])], "test", 3
    )
    assert both.prediction.tolist() == [1, 1, 2, 1, 0] and both.against.tolist() == [2, 1, 1, 0, 2]
    assert both.confidence[0] == pytest.approx(0.85) and both.confidence[1] == pytest.approx(0.475)
    assert find_suspects(both).tolist() == [0, 4]  # of picture 1, one run names the label
    assert [(a, b, places.tolist()) for a, b, places in rank_confusions(one)] == [(0, 1, [0]), (1, 2, [2]), (2, 0, [4])]
    rows = tabulate_classes(one, ["a", "b", "c"])
    assert (rows[0]["recall"], rows[0]["precision"], rows[0]["most often taken for"]) == (0.5, 0.5, "b (1)")
    assert rows[2]["F1"] == 0.0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("mistakes")
    made = []
    for seed in range(2):
        config = compose(*TINY, "trainer.max_epochs=1", f"seed={seed}", f"output_root={root}")
        made.append(Path(api.fit(api.assemble(api.settle(config)))["run"]))
    return made


def test_mistakes_are_written(runs: list[Path], tmp_path: Path) -> None:
    done = command("src.mistakes", f"run=[{runs[0]},{runs[1]}]", f"out={tmp_path}")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "mistakes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert f"{len(rows)} of 360 test pictures are wrong" in done.stdout
    confidence = [float(row["confidence"]) for row in rows]
    assert confidence == sorted(confidence, reverse=True) and all(row["label"] != row["prediction"] for row in rows)
    page = (tmp_path / "index.html").read_text()
    assert "Leaks between splits" in page and page.count("data:image/png") > 24
    for name in ("suspects.csv", "confusions.csv", "classes.csv", "duplicates.csv"):
        assert name in page and (tmp_path / name).is_file()


def test_another_split_is_judged_anew_and_training_pictures_are_marked(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judged, _ = judge(runs[:1], "val", [])
    assert judged.runs == 1 and len(judged.label) == 360
    words = [f"run={runs[0]}", "split=train", "duplicates=false", f"out={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["mistakes", *words])
    assert run_command() == 0 and "were trained on these pictures" in capsys.readouterr().out


def test_wrong_words_are_one_sentence(runs: list[Path], tmp_path: Path) -> None:
    cases = {
        "split=test": "run= is missing",
        f"run={runs[0]} split=all": "choose one of: test, val, train",
        f"run={runs[0]} duplicates=1": "true or false",
        f"run={tmp_path}": "no run directory",
        f"run={runs[0]} data.classes=[1]": "on a run's own images",
    }
    refuse(run_command, cases)
    (runs[1] / "test_predictions.npz").rename(tmp_path / "away.npz")
    judged, _ = judge(runs, "test", [])  # computed anew where it is not stored
    assert judged.runs == 2
    np.savez(
        runs[1] / "test_predictions.npz",
        **{n: np.arange(3) for n in ("index", "label", "prediction")},
        confidence=np.ones(3),
    )
    with pytest.raises(UserError, match="only runs of the same can vote"):
        judge(runs, "test", [])
