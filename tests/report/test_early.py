"""Test the early verdict: how many bands hold the end, and where it is shown."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import ROOT
from made_runs import make_results

from src.cli.compose import compose_run
from src.config.run import TrainConfig
from src.errors import UserError
from src.report import early
from src.report.early import (
    Curve,
    collect_curves,
    measure_coverage,
    predict_final,
    read_curves,
    write_curves,
)
from src.report.groups import collect_runs
from src.report.render.formats import format_markdown
from src.report.unfinished import build_early_view
from src.runs.directory import Run
from src.runs.identity import to_plain
from src.runs.results import Results, write_metrics
from src.sweep.board import Board
from src.sweep.jobs import Job

METRIC = "val/accuracy"


def make_curves(n: int, seed: int = 0, epochs: int = 10) -> list[Curve]:
    """Curves whose first epochs say something of the last one, with noise that is neither even nor Gaussian."""
    rng = np.random.RandomState(seed)
    curves = []
    for talent in rng.normal(0, 0.01, n):
        noise = rng.laplace(0, 0.006, epochs)
        curves.append(
            [
                {"epoch": e + 1.0, METRIC: 0.9 - 0.3 * 0.6**e + talent + noise[e], "val/loss": 0.3 - talent}
                for e in range(epochs)
            ]
        )
    return curves


def write_curve(path: Path, config: TrainConfig, curve: Curve, results: Results | None = None) -> None:
    """Write a run directory as far as the early verdict reads it; without `results` the run has not finished."""
    path.mkdir(parents=True)
    if results:
        (path / "results.json").write_text(json.dumps(results | {"seed": config.seed}))
    (path / "run.json").write_text("{}")
    (path / "config.yaml").write_text(yaml.dump(to_plain(config), Dumper=yaml.CSafeDumper))
    write_metrics(path / "metrics.csv", curve)


def test_nine_of_ten_bands_hold_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "SPLITS", 200)
    found = measure_coverage(make_curves(200), METRIC)
    assert 0.88 <= found.covered <= 0.92, found
    assert found.width < 0.8 * found.spread, "the first epochs say something"


def test_the_curves_of_the_documentation_give_its_figures() -> None:
    metric, curves = read_curves(ROOT / "docs" / "results" / "early-digits.csv")
    found = measure_coverage(curves, metric)
    assert 0.88 <= found.covered <= 0.92, found
    said = " ".join((ROOT / "docs" / "health.md").read_text().split())
    assert f"{found.covered:.1%}".replace("%", " %") in said and f"{100 * found.width:.1f} points" in said, found
    assert f"{len(curves)} runs" in said


def test_a_band_follows_the_first_epochs_and_needs_enough_finished_runs() -> None:
    curves = make_curves(61)
    good, bad = ([{**row, METRIC: row[METRIC] + shift} for row in curves[0]] for shift in (0.02, -0.02))
    high, low = (predict_final(curves[1:], curve[:3], epochs=10, metric=METRIC) for curve in (good, bad))
    assert high is not None and low is not None and high.n == 60
    assert high.low > low.low and high.high > low.high and low.low < low.high
    later = predict_final(curves[1:], good[:9], epochs=10, metric=METRIC)
    assert later == high, "only the first 30 % count"
    assert predict_final(curves[1:], good[:2], epochs=10, metric=METRIC) is None
    assert predict_final(curves[2:], good[:3], epochs=10, metric=METRIC) is None
    assert predict_final(curves, good[:3], epochs=3, metric=METRIC) is None
    broken = [{**row, METRIC: float("nan")} for row in good]
    assert predict_final(curves[1:], broken, epochs=10, metric=METRIC) is None


def test_it_is_on_the_page_in_the_sweep_and_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = compose_run(
        "model=resnet20", "data=digits", "trainer=cpu", "trainer.max_epochs=10", "data.limit_train=300"
    )
    results = make_results(model="resnet20", data="digits", epochs=10, n_train=300)
    runs, curves = tmp_path / "runs", make_curves(61)
    for seed, curve in enumerate(curves[:60]):
        write_curve(runs / f"seed{seed}", replace(config, seed=seed), curve, results)
    new = replace(config, seed=99, output_root="elsewhere")
    write_curve(runs / "new", new, curves[60][:4])
    other = replace(config, optim=replace(config.optim, lr=0.01))  # of another recipe
    write_curve(runs / "other", other, curves[60][:4])
    expected = predict_final(curves[:60], curves[60], epochs=10, metric=METRIC)
    assert expected is not None

    collected = collect_runs([str(runs)])
    view = build_early_view(collected.groups, collected.left_out)
    assert view is not None and len(view.lines) == 1
    assert view.lines[0].keys == ["resnet20", "digits", "99", "4 of 10", METRIC]
    values = [entry.mean for entry in view.lines[0].entries]
    assert values == pytest.approx([curves[60][3][METRIC], expected.low, expected.high, 60])
    assert "90% of such ranges hold" in format_markdown(view)
    assert build_early_view(collected.groups[1:], collected.left_out) is None

    for search, said in ((False, "a 90 % range by 60 finished ones"), (True, "a rule of thumb by 10 finished ones")):
        jobs = [Job(number=0, words=[], label="seed=99", config=new, run=Run(runs / "new", "0123456789"))]
        jobs[0].state, jobs[0].started = "running", time.time()
        for seed in range(10 if search else 0):
            jobs.append(Job(number=seed + 1, words=[], config=config, run=Run(runs / f"seed{seed}", "0123456789")))
            jobs[-1].results = {
                "status": "finished",
                "task": "multiclass",
                "epochs": 10,
                "metrics": {},
                "time": {"fit_seconds": 1},
            }
            jobs[-1].end("done")
        board = Board(jobs, search=search)
        board.show(last=True)
        board.show(last=True)
        lines = [line for line in capsys.readouterr().err.splitlines() if "will end with" in line]
        assert len(lines) == 1 and said in lines[0], lines
        assert search or f"val {expected.low:.4f}-{expected.high:.4f}" in lines[0]
        board.terminal = True
        board.show(last=True)
        assert ("end (rule of thumb)" if search else "end (90 %)") in capsys.readouterr().err

    metric, found = collect_curves(str(runs / "seed*"))
    write_curves(tmp_path / "curves.csv", metric, found)
    again, read = read_curves(tmp_path / "curves.csv")
    assert (again, len(read)) == (METRIC, 60)
    np.testing.assert_allclose([c[-1][METRIC] for c in read], [c[-1][METRIC] for c in curves[:60]], rtol=1e-4)


def test_wrong_words_and_files_are_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,x\n")
    for words, part in (
        (["seeds=3"], "type runs="),
        (["runs=x", "curves=y"], "type runs="),
        ([f"curves={tmp_path}/absent.csv"], "no such file"),
        ([f"curves={tmp_path}/other.csv"], "no such file, or not one"),
        ([f"runs={tmp_path}"], "there are 0 recipes"),
    ):
        monkeypatch.setattr("sys.argv", ["early", *words])
        with pytest.raises(UserError, match=part):
            early.answer()
    with pytest.raises(UserError, match="more than 60 are needed"):
        measure_coverage(make_curves(60), METRIC)
