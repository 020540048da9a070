"""Test which runs count, which are pooled, and which are left out and why."""

from pathlib import Path
from typing import Any

import pytest
from made_runs import make_results, write_run

from src.errors import UserError
from src.report.defaults import shorten_names
from src.report.groups import build_arenas, collect_runs

Config = dict[str, Any]


def config(**changed: Any) -> Config:
    model = {"name": "resnet20", "family": "cifar_resnet", "depth": 20}
    return {"model": model, "optim": {"lr": 0.1}, "seed": 0, "logger": {"name": "csv"}} | changed


def test_seeds_are_pooled_and_settings_keep_groups_apart(tmp_path: Path) -> None:
    for seed in (2, 0, 1):
        write_run(tmp_path / f"a{seed}", make_results(8.0 + seed, seed), config(seed=seed))
    write_run(tmp_path / "b", make_results(9.0, 0), config(optim={"lr": 0.2}))
    write_run(tmp_path / "c", make_results(9.5, 0, epochs=10), config(logger={"name": "wandb"}, monitor_test=True))
    groups = collect_runs([str(tmp_path)]).groups
    assert [group.n for group in groups] == [1, 3, 1]
    assert [run.seed for run in groups[1].runs] == [0, 1, 2]
    assert groups[1].values("test/error") == pytest.approx([0.08, 0.09, 0.10])
    words = ["epochs=10 lr=0.1", "epochs=182 lr=0.1", "epochs=182 lr=0.2"]
    assert [group.label for group in groups] == [f"resnet20 {word}" for word in words]
    assert [sorted(group.differing_settings) for group in groups] == [["optim.lr"]] * 3


def test_without_config_results_alone_will_do(tmp_path: Path) -> None:
    write_run(tmp_path / "a", make_results())
    assert collect_runs([str(tmp_path)]).groups[0].label == "resnet20"


def test_last_and_best_val_are_never_pooled(tmp_path: Path) -> None:
    write_run(tmp_path / "a", make_results())
    write_run(tmp_path / "b", make_results(seed=1, protocol="best_val"))
    groups = collect_runs([str(tmp_path)]).groups
    assert sorted(group.label for group in groups) == ["resnet20 protocol=best_val", "resnet20 protocol=last"]
    assert len(build_arenas(groups)) == 2


def test_a_copy_counts_once_and_the_code_of_today_comes_first(tmp_path: Path) -> None:
    write_run(tmp_path / "a", make_results(9.9, code_hash="older"))
    write_run(tmp_path / "b", make_results(8.8))
    collected = collect_runs([str(tmp_path)])
    assert collected.groups[0].values("test/error") == pytest.approx([0.088]) and collected.groups[0].stale == 0
    assert [path.name for path, _ in collected.left_out] == ["a"] and "same" in collected.left_out[0][1]


def test_what_is_no_result_is_named_and_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "good", make_results())
    write_run(tmp_path / "failed", make_results(status="failed", reason="loss is nan\nand more"))
    (write_run(tmp_path / "cut", make_results()) / "results.json").write_text('{"model": ')
    write_run(tmp_path / "empty", {})
    write_run(tmp_path / "odd", make_results(seed="zero"))
    write_run(tmp_path / "list", make_results() | {"metrics": []})
    (write_run(tmp_path / "config", make_results()) / "config.yaml").write_text("a: [")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text("{}")
    (tmp_path / "begun" / "metrics.csv").write_bytes(b"epoch\n\xff\n")
    (write_run(tmp_path / "lost", make_results(status="failed", reason="nan")) / "config.yaml").write_text("a: [")
    collected = collect_runs([str(tmp_path)])
    assert len(collected.runs) == 1
    reasons = {path.name: reason for path, reason in collected.left_out}
    assert reasons.keys() == {"failed", "cut", "empty", "odd", "list", "config", "begun", "lost"}
    assert reasons["failed"] == "failed: loss is nan"
    assert "seed is wrong" in reasons["odd"] and "metrics" in reasons["list"] and "config.yaml" in reasons["config"]
    assert "not finished" in reasons["begun"] and "metrics.csv: damaged" in reasons["begun"]
    assert "failed: nan" in reasons["lost"] and "config.yaml: damaged" in reasons["lost"]


@pytest.mark.parametrize("pattern", ["", "/nothing-*", "/good/results.json"])
def test_a_pattern_names_a_folder_a_glob_or_a_file(tmp_path: Path, pattern: str) -> None:
    write_run(tmp_path / "good", make_results())
    if "nothing" in pattern:
        with pytest.raises(UserError, match="no runs there"):
            collect_runs([f"{tmp_path}{pattern}"])
    else:
        assert len(collect_runs([f"{tmp_path}{pattern}"]).runs) == 1


def test_convergence_is_the_first_epoch_near_the_final_validation_accuracy(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", make_results(epochs=5))
    (run / "metrics.csv").write_text("epoch,val/accuracy\n1,0.5\n2,0.894\n3,0.896\n4,0.92\n5,0.9\n")
    assert collect_runs([str(run)]).groups[0].values("epochs_to_convergence") == [3]
    (run / "metrics.csv").unlink()
    assert collect_runs([str(run)]).groups[0].values("epochs_to_convergence") == []


def test_numbers_by_name(tmp_path: Path) -> None:
    write_run(tmp_path / "a", make_results(10.0, metrics={"test/top5": 0.99, "val/loss": None, "test/f1": None}))
    run = collect_runs([str(tmp_path)]).runs[0]
    assert run.value("test/error") == pytest.approx(0.1) and run.value("test/top5_error") == pytest.approx(0.01)
    assert run.value("params") == 269722 and run.value("time/epoch_seconds") == 20
    assert run.value("val/loss") is None and run.value("test/f1") is None and run.value("test/map") is None


def test_names_of_settings_are_short_where_that_says_enough() -> None:
    chosen = {"optim.lr": 0.1, "optim.name": "adam", "model.depth": 8, "data.depth": 16, "n_train": 5}
    assert list(shorten_names(chosen)) == ["lr", "optim.name", "model.depth", "data.depth", "n_train"]
