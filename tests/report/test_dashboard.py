"""Make the dashboard's definition without key or network; tests/test_train.py checks that its metrics are logged."""

import json
from pathlib import Path
from typing import Any

import pytest

from src.errors import UserError
from src.report.published import list_published, read_published
from src.report.render.dashboard import list_wandb_groups, make_dashboard
from src.report.render.figures import KINDS


def definition(tmp_path: Path, study: str | None) -> dict[str, Any]:
    out = tmp_path / "made" / "dashboard.json"
    assert make_dashboard("me/mine", read_published(study) if study else None, out) == str(out)
    return json.loads(out.read_text())


def test_a_study_is_its_group_its_tables_and_its_figures(tmp_path: Path) -> None:
    made = definition(tmp_path, "he2016_table6")
    assert (made["entity"], made["project"], made["displayName"]) == ("me", "mine", "he2016_table6")
    section = made["spec"]["section"]
    (runs,) = section["runSets"]
    (condition,) = runs["filters"]["filters"]
    assert condition["key"]["name"] == "group" and condition["value"] == ["he2016_table6"]
    assert runs["grouping"] == [{"section": "config", "name": "pool.value"}]
    columns = {"run:displayName", "summary:test/error", "summary:params", "summary:macs"}
    assert set(runs["runFeed"]["columnPinned"]) == columns
    table, figures = section["panelBankConfig"]["sections"]
    printed, bar, *_ = (panel["config"] for panel in table["panels"])
    assert table["name"] == "Table 6" and "| ResNet-20 | 8.75 | 0.27 |" in printed["value"]
    assert bar["metrics"] == ["test/error"]
    curve, _, loss, _, depth, *_ = (panel["config"] for panel in figures["panels"])
    assert (curve["xAxis"], curve["metrics"]) == ("epoch", ["val/accuracy"])
    assert loss["metrics"] == ["val/loss"]
    for seeds in (bar, curve, loss):
        assert (seeds["groupBy"], seeds["groupAgg"], seeds["groupArea"]) == ("pool.value", "mean", "stddev")
    assert (depth["xAxis"], depth["yAxis"]) == ("config:model.value.depth", "summary:test/error")


@pytest.mark.parametrize("study", [None, *list_published()])
def test_every_study_and_all_runs_have_one(tmp_path: Path, study: str | None) -> None:
    sections = definition(tmp_path, study)["spec"]["section"]["panelBankConfig"]["sections"]
    wanted = read_published(study).figures if study else KINDS
    drawn = len(sections[-1]["panels"])
    assert all(section["panels"] for section in sections[:-1])
    assert drawn >= len(set(wanted) - {"confusion", "per_class", "reliability", "training_time_bars"})


def test_what_only_adds_to_a_study_is_of_its_group() -> None:
    assert list_wandb_groups(read_published("zoo_cifar")) == ["zoo_cifar", "zoo_cifar_fashion_mnist"]
    assert list_wandb_groups(read_published("rafi2024_scalability")) == ["rafi2024_scalability"]
    assert list_wandb_groups(None) == []


def test_without_a_key_a_sentence_says_what_works_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no key for W&B.*out=<file.json>"):
        make_dashboard("me/mine", None, None)
    with pytest.raises(UserError, match="not of the form <entity>/<project>"):
        make_dashboard("mine", None, None)
