"""The numbers of trust by hand and by the definition, and the command on real runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TINY, compose, refuse
from made_runs import make_config, make_results, write_run
from torch.nn.functional import cross_entropy

from src import api
from src.analysis.corruption_error import find_published, read_array
from src.analysis.trust import measure_run
from src.analysis.trust_numbers import (
    fit_temperature,
    measure_calibration,
    measure_conformal,
    measure_selective,
)
from src.errors import UserError
from src.report.groups import collect_runs
from src.report.render.formats import format_text
from src.report.trust import build_trust_view
from src.runs.find import resolve_runs
from src.trust import run_command


def draw(n: int, temperature: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels drawn from softmax(logits / temperature)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((n, 5), generator=generator, dtype=torch.float64)
    return logits, torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature: float) -> None:
    found = fit_temperature(*draw(20_000, temperature, seed=1))
    assert found == pytest.approx(temperature, rel=0.05)
    logits, labels = draw(20_000, temperature, seed=2)
    plain, scaled = measure_calibration(logits, labels), measure_calibration(logits, labels, found)
    assert scaled.nll <= plain.nll + 1e-4 and scaled.ece < 0.02
    assert scaled.ece < plain.ece or temperature == 1
    nearby = [float(cross_entropy(logits / (found * factor), labels)) for factor in (0.8, 1.25)]
    assert scaled.nll < min(nearby)


def test_without_an_error_on_validation_the_probabilities_stay_below_one() -> None:
    logits, labels = 8 * torch.eye(4, dtype=torch.float64).repeat(90, 1), torch.arange(4).repeat(90)
    sure = (logits / fit_temperature(logits, labels)).softmax(1).max(1).values
    assert sure.mean() == pytest.approx(1 - 3 / 4 / 361, abs=1e-5)  # one image in 361 is of any class


def test_selective_accuracy_by_hand() -> None:
    logits = torch.tensor([[9.0, 0], [8, 0], [7, 0], [6, 0], [5, 0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 0, 1])
    found = measure_selective(logits, labels)
    assert found["accuracy_at_80"] == pytest.approx(3 / 4) and found["accuracy_at_90"] == pytest.approx(3 / 4)
    assert found["aurc"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 4 + 2 / 5) / 5)
    even = measure_selective(torch.zeros(4, 2, dtype=torch.float64), torch.tensor([0, 1, 1, 0]))
    assert even["aurc"] == pytest.approx(0.5)  # of one confidence: their order does not matter


def test_conformal_sets_hold_the_label_as_often_as_promised() -> None:
    held = []
    for seed in range(30):
        logits, labels = draw(1000, 1.0, seed)
        sets = measure_conformal(logits[:200], labels[:200], logits[200:], labels[200:])
        assert sets is not None and 0 < sets["mean_size"] <= 5
        held.append(sets["coverage"])
    assert np.mean(held) == pytest.approx(0.9, abs=0.015)
    assert measure_conformal(logits[:5], labels[:5], logits, labels) is None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trust") / "run"
    config = compose(*TINY, "trainer.max_epochs=1", f"output_root={path.parent}")
    return Path(api.fit(api.assemble(api.settle(config)))["run"])


def test_a_run_is_measured_and_keeps_the_numbers(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from src.analysis import corruption_error

    chosen = {name: corruption_error.CORRUPTIONS[name] for name in ("contrast", "frost")}
    monkeypatch.setattr(corruption_error, "CORRUPTIONS", chosen)
    before = json.loads((run / "results.json").read_text())
    found = measure_run(run, [], corruptions=None, cifar_c=None, seed=0)
    stored = json.loads((run / "trust.json").read_text())
    assert stored == json.loads(json.dumps(found))
    assert stored["accuracy"] == pytest.approx(before["metrics"]["test/accuracy"])
    assert stored["plain"]["nll"] == pytest.approx(before["metrics"]["test/loss"], abs=1e-5)
    assert 0.05 < stored["temperature"] < 50 and stored["n_val"] == before["n_val"]
    assert sum(each[2] for each in stored["plain"]["bins"]) == before["n_test"]
    assert list(stored["corruptions"]["errors"]) == ["contrast", "frost"]
    page = (run / "trust.html").read_text()
    assert "frost (procedural)" in page and "<svg" in page and "no published ones" not in page
    view = build_trust_view(collect_runs([str(run)]).groups)
    assert view is not None and "ECE" in format_text(view)


def test_wrong_words_are_one_sentence(run: Path, tmp_path: Path) -> None:
    cases = {
        "seed=1": "run= is missing",
        f"run={tmp_path}": "no run directory",
        f"run={tmp_path}/*": "matches no finished run",
        f"run={run} corruptions=yes": "true or false",
        f"run={run} data.val_fraction=0.5": "trust is measured on a run's own images",
        f"run={run} cifar_c={tmp_path}": "arrays were published for cifar10",
    }
    refuse(run_command, cases)
    (tmp_path / "alone.ckpt").write_bytes((run / "checkpoints" / "last.ckpt").read_bytes())
    with pytest.raises(UserError, match="lies in no directory of a finished run"):
        measure_run(tmp_path / "alone.ckpt", [], corruptions=False, cifar_c=None, seed=0)
    assert resolve_runs(f"[{run}, {run}]") == [run, run]


def test_published_arrays_are_read_without_pickle_and_only_of_the_right_shape(tmp_path: Path) -> None:
    assert find_published("cifar10", tmp_path, None) is None
    (tmp_path / "CIFAR-10-C").mkdir()
    assert find_published("cifar10", tmp_path, None) == tmp_path / "CIFAR-10-C"
    np.save(tmp_path / "good.npy", np.zeros((2, 3), np.uint8))
    assert read_array(tmp_path / "good.npy", (2, 3)).shape == (2, 3)
    np.save(tmp_path / "objects.npy", np.array([{}, None], dtype=object), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:-3])
    for name, sentence in {
        "objects": "cannot be read",
        "cut": "cannot be read",
        "none": "no such file",
        "good": "of shape",
    }.items():
        with pytest.raises(UserError, match=sentence):
            read_array(tmp_path / f"{name}.npy", (3, 2))


def test_reports_show_trust_beside_published_numbers(tmp_path: Path) -> None:
    config = make_config("model=resnet110", "data=cifar10")
    for seed in range(2):
        path = write_run(tmp_path / str(seed), make_results(seed=seed, model="resnet110"), config | {"seed": seed})
        trust = {"temperature": 1.5, "plain": {"ece": 0.04 + seed / 100}, "scaled": {"ece": 0.01}, "conformal": None}
        (path / "trust.json").write_text(json.dumps(trust))
    view = build_trust_view(collect_runs([str(tmp_path)]).groups)
    assert view is not None
    assert [column.title for column in view.columns] == ["temperature", "ECE %", "ECE % with temperature"]
    ece = view.lines[0].entries[1]
    assert (ece.ours, ece.printed, ece.source, ece.verdict) == ("4.50 ± 0.71", "4.6", "Guo et al. (2017)", None)
    (tmp_path / "0" / "trust.json").write_text("{")
    damaged = build_trust_view(collect_runs([str(tmp_path)]).groups)
    assert damaged is not None and any("cannot be read" in note for note in damaged.notes)
