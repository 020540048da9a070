"""Read every file of published numbers, and check that a wrong one is named with its file and key."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from src.errors import UserError
from src.report.published import fits, list_published, load_published, read_published

GOOD: dict[str, Any] = {
    "title": "a title",
    "source": "a paper",
    "protocol": {"stated": ["trainer.max_epochs", "optim"], "settings": {"data.batch_size": 16}},
    "tables": [
        {
            "name": "Table 1",
            "protocol": {"settings": {"trainer.max_epochs": 3}, "elsewhere": {"data": "another paper"}},
            "columns": {"test/error": {"title": "error %", "scale": 100, "better": "lower", "margin": 0.5}},
            "rows": [
                {"label": "A", "match": {"model": "resnet20", "seed": 0}, "values": {"test/error": 8}, "n": 5},
                {"label": "B", "match": {"model": "resnet20", "seed": 1}, "contradictory": "no"},
                {"label": "C", "values": {"test/error": 7.5}},
            ],
        }
    ],
    "claims": [
        {"text": "all is well"},
        {"text": "deeper is better", "parts": [{"metrics": ["test/error"], "rising": [{"seed": 0}, {"seed": 1}]}]},
    ],
    "figures": ["curves"],
}

WRONG = {  # key and value in GOOD, and what the sentence names
    "tables.0.rows.0.valeus={}": "tables[0].rows[0].valeus: no such key",
    "tables.0.rows.0.values={test/accuracy: 1}": "tables[0].rows[0].values.test/accuracy: no such column",
    "tables.0.rows.0.values={test/error: high}": "tables[0].rows[0].values.test/error: a number",
    "tables.0.rows.0.n=many": "tables[0].rows[0].n: a whole number",
    "tables.0.rows.0.values={test/error: [1]}": "tables[0].rows[0].values.test/error: a number",
    "tables.0.rows.0.values={test/error: true}": "tables[0].rows[0].values.test/error: a number",
    "tables.0.rows.0.printed={test/error: {}}": "tables[0].rows[0].printed.test/error: a text",
    "tables.0.rows.0.match={seed: [1]}": "tables[0].rows[0].match.seed: a name, a number",
    "tables.0.rows.0.match={1: 2}": "tables[0].rows[0].match.1: a text is needed as the key",
    "tables.0.rows.0.match={model: resnet21}": "tables[0].rows[0].match.model=resnet21: no such model",
    "tables.0.rows.0.match={data: cifar11}": "tables[0].rows[0].match.data=cifar11: no such data",
    "tables.0.rows.1.match={model: resnet20}": "tables[0].rows[1].match: the same run",
    "tables.0.rows.2={values: {}}": "tables[0].rows[2].label: is missing",
    "tables.0.rows.2=3": "tables[0].rows[2]: a mapping",
    "tables.0.notes=[{a: 1}]": "tables[0].notes[0]: a text",
    "tables.0.columns={speed: {title: fast}}": "tables[0].columns.speed: speed is none of",
    "tables.0.columns={test/error: {title: a, metric: b}}": "tables[0].columns.test/error.metric: no such key",
    "tables.0.columns={test/error: {title: a, digits: few}}": "tables[0].columns.test/error.digits: a whole number",
    "tables.0.columns=[1]": "tables[0].columns: a mapping",
    "tables.0.columns={test/error: {title: a, better: up}}": "tables[0].columns.test/error.better: up",
    "tables.0.rows=3": "tables[0].rows: a list",
    "tables.0.rows.0.match={epochs: 3}": "tables[0].rows[0].match.epochs: is none of model, data, task, seed",
    "claims.1.parts.0.metrics=[speed]": "claims[1].parts[0].metrics: speed is none of",
    "claims.1.parts.0.metrics=[]": "claims[1].parts[0].metrics: at least one",
    "claims.1.parts.0.rising=[]": "claims[1].parts[0]: one of higher with lower, highest, lowest, rising, trend,",
    "claims.1.parts.0.rising=[{seed: 0}]": "claims[1].parts[0].rising: at least two cells",
    "claims.1.parts.0.rising=[{model: resnet21}, {}]": "claims[1].model=resnet21: no such model",
    "claims.1.parts.0.higher=[{seed: 0}]": "claims[1].parts[0]: higher and lower go together",
    "claims.1.parts.0.trend=[{seed: 0}, {seed: 1}]": "claims[1].parts[0]: one of higher with lower",
    "claims.1.parts.0.rising=[3]": "claims[1].parts[0].rising: a list of mappings",
    "claims.1.parts.0.above=published/x": "claims[1].parts[0]: one of higher with lower",
    "claims.1.parts.0={metrics: [test/error], above: published/x}": "claims[1].parts[0].above: no column published/x",
    "claims.1.parts.0={metrics: [test/error], below: test/error, across: [{seed: 0}]}": "across: goes with higher",
    "claims.1.parts.0={metrics: [epochs_to/test/80], rising: [{}, {}]}": "epochs_to/test/80 is none of",
    "claims.1.where={speed: 3}": "claims[1].where.speed: is none of",
    "protocol.stated=[optim.rate]": "protocol.stated: optim.rate is no setting",
    "protocol.experiment=mine": "protocol.experiment: is the name of the file",
    "experiment=mine": "experiment: no such key",
    "figures=[pie]": "figures: pie",
    "protocol=[1]": "protocol: a mapping",
}


@pytest.mark.parametrize("name", list_published())
def test_every_file_reads(name: str) -> None:
    published = read_published(name)
    assert published.experiment == name and published.title and published.source
    for table in published.tables:
        assert table.columns and table.rows
        if any("error" in metric or "time" in metric or "loss" in metric for metric in table.columns):
            assert any(column.better == "lower" for column in table.columns.values())


def test_a_file_becomes_dataclasses(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    OmegaConf.save(OmegaConf.create(GOOD), path)
    published = load_published(path)
    (table,) = published.tables
    assert published.experiment == "study"
    protocol = table.protocol  # the table's over the file's
    assert protocol.settings == {"trainer.max_epochs": 3, "data.batch_size": 16} and protocol.experiment == "study"
    assert [protocol.attribute(name) for name in ("optim.lr", "data.augment", "task.name", "model.depth")] == [
        ("stated", ""),
        ("elsewhere", "another paper"),
        ("ours", ""),
        ("stated", ""),
    ]
    assert [len(list(claim.cells)) for claim in published.claims] == [0, 2]
    assert table.rows[0].values == {"test/error": 8} and table.rows[2].match is None
    assert table.columns["test/error"].digits == 2


@pytest.mark.parametrize("change", WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, change: str) -> None:
    key, value = change.split("=")
    content = OmegaConf.create(GOOD)
    *parents, last = key.split(".")
    node: Any = content
    for part in parents:
        node = node[int(part) if part.isdigit() else part]
    node[int(last) if last.isdigit() else last] = OmegaConf.create(f"x: {value}")["x"]
    path = tmp_path / "study.yaml"
    OmegaConf.save(content, path)
    with pytest.raises(UserError) as error:
        load_published(path)
    assert str(error.value).startswith(f"{path}: ") and WRONG[change] in str(error.value)


def test_missing_broken_and_unknown_files(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("title: [")
    with pytest.raises(UserError, match="cannot be read"):
        load_published(path)
    path.write_text("title: a\nsource: b\n")
    with pytest.raises(UserError, match="tables: is missing"):
        load_published(path)
    with pytest.raises(UserError, match="he2016_table6"):
        read_published("he2016_table7")


def test_conditions_look_into_results_and_settings() -> None:
    results, config = {"model": "resnet20", "epochs": 50}, {"data": {"limit_train": None}}
    assert fits({"model": "resnet20", "data.limit_train": None}, results, config)
    assert not fits({"model": "resnet20", "data.limit_train": 0.5}, results, config)
    assert not fits({"epochs": 182}, results, config)
    assert not fits({"task.detector": "retinanet"}, results, config)


def test_each_margin_has_a_reason() -> None:
    for study in list_published():
        for table in read_published(study).tables:
            judged = [
                metric
                for metric, column in table.columns.items()
                if column.better != "none" and column.has_counterpart and (column.margin or column.scale == 100)
                if any(metric in row.values and row.match for row in table.rows)
            ]
            assert bool(table.margin_why) >= bool(judged), f"{study}, {table.name}: why these margins?"
