"""Test a study's rows beside our numbers: what is compared, with which verdict, and how it is printed."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from made_runs import make_config, make_results, write_run

from src.report.claims import judge_claims
from src.report.families import collect_verdicts
from src.report.groups import Group, collect_runs
from src.report.headline import summarize_study
from src.report.overview import build_across_view, build_general_view
from src.report.protocol import Protocol
from src.report.published import Claim, Column, Part, Published, Row, Table
from src.report.render.formats import build_rows, format_latex, format_markdown, format_text
from src.report.views import build_study_view, select_comparable

ERROR = Column("test/error", "error %", better="lower", scale=100, margin=0.35)
PARAMS = Column("params", "parameters", better="none", digits=0)
F1 = Column("test/f1", "F1 %", scale=100)
TABLE6 = "experiment=he2016_table6"
RESNET20 = {"model": "resnet20", "data": "cifar10"}
PROTOCOL = Protocol("he2016_table6", stated=["trainer.max_epochs", "optim", "data.augment"])


def published(*rows: Row, columns: tuple[Column, ...] = (ERROR, PARAMS), claims: tuple[Claim, ...] = ()) -> Published:
    table = Table("Table 6", {column.metric: column for column in columns}, rows, PROTOCOL)
    return Published("he2016_table6", "He et al.", "CVPR", (table,), PROTOCOL, claims)


def row(**changed: Any) -> Row:
    given: dict[str, Any] = {"label": "ResNet-20", "match": RESNET20, "values": {"test/error": 8.75, "params": 269722}}
    return Row(**given | changed)


def groups(path: Path, *contents: dict[str, Any]) -> list[Group]:
    for i, content in enumerate(contents):
        write_run(path / str(i), content)
    return list(collect_runs([str(path)]).groups)


def cells(study: Published, found: list[Group]) -> list[dict[str, Any]]:
    """Read the table as a program would."""
    text = io.StringIO()
    csv.writer(text).writerows(build_rows(build_study_view(study.tables[0], found)))
    return list(csv.DictReader(io.StringIO(text.getvalue())))


def test_a_row_shows_ours_beside_the_published_number(tmp_path: Path) -> None:
    found = groups(tmp_path, *(make_results(error, seed) for seed, error in enumerate((8.6, 8.7, 8.8))))
    line = cells(published(row()), found)[0]
    assert line["row"] == "ResNet-20" and line["n"] == "3" and line["seeds"] == "0 1 2"
    assert float(line["error % mean"]) == pytest.approx(8.7) and float(line["error % std"]) == pytest.approx(0.1)
    assert float(line["error % published"]) == 8.75 and float(line["error % difference"]) == pytest.approx(-0.05)
    assert line["error % verdict"].startswith("consistent with") and line["parameters verdict"] == ""
    assert float(line["error % low"]) < 0 < float(line["error % high"]) and float(line["error % p"]) > 0.05
    assert float(line["error % p over the table"]) == float(line["error % p"])
    markdown = format_markdown(build_study_view(published(row()).tables[0], found))
    assert "| 8.75 | 8.70 ± 0.10 | 3 | −0.05 [95 %: −0.547 to +0.447, p = 0.71 (table: 0.71)]" in markdown


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"epochs": 10}, "10 epochs (stated: 182)"),
        ({"n_train": 4500}, "9,500 training images, of 50,000"),
    ],
)
def test_a_narrowed_run_is_not_comparable(tmp_path: Path, changed: dict[str, Any], reason: str) -> None:
    found = groups(tmp_path, make_results(8.75, **changed))
    assert cells(published(row()), found)[0]["error % verdict"] == f"not comparable: {reason}"
    assert cells(published(row()), found)[0]["error % difference"] == ""


def test_limited_batches_are_not_comparable_and_test_curves_are(tmp_path: Path) -> None:
    write_run(tmp_path / "a", make_results(), make_config(TABLE6, "trainer.limit_train_batches=3", "monitor_test=true"))
    write_run(tmp_path / "b", make_results(), make_config(TABLE6, "monitor_test=true"))
    lines = cells(published(row()), list(collect_runs([str(tmp_path)]).groups))
    assert [line["error % verdict"] for line in lines] == [
        "inconclusive: one run, which shows no spread",
        "not comparable: trainer.limit_train_batches=3 (stated: null)",
    ]


def test_comparable_runs_come_first_and_decide(tmp_path: Path) -> None:
    content = [make_results(12.0, seed, epochs=10) for seed in range(4)] + [
        make_results(8.7 + seed / 20, seed) for seed in range(3)
    ]
    found = groups(tmp_path, *content)
    study = published(row(n=5, std={"test/error": 0.16}), row(label="ResNet-32", match={"model": "resnet32"}))
    view = build_study_view(study.tables[0], found)
    assert [line.group.n if line.group else 0 for line in view.lines] == [3, 4, 0]
    assert [verdict.word for verdict in collect_verdicts(view)] == ["matches", "no run yet"]
    assert summarize_study([view], []) == ["1 of 2 published numbers match, 1 without a run."]
    assert [group.n for group in select_comparable(study, found)] == [3]


def test_several_judged_columns_keep_a_cell_each(tmp_path: Path) -> None:
    found = groups(tmp_path, make_results(8.75, metrics={"test/f1": 0.9}))
    study = published(row(values={"test/error": 8.75, "test/f1": 91.0}), columns=(ERROR, F1))
    text = format_text(build_study_view(study.tables[0], found))
    assert "published 91.00 (−1.00)" in format_markdown(build_study_view(study.tables[0], found))
    assert text.splitlines()[0].split() == ["runs", "n", "error", "%", "F1", "%", "beware"]


def test_contradictions_and_stale_runs_are_flagged(tmp_path: Path) -> None:
    found = groups(tmp_path, make_results(code_hash="older"), make_results(seed=1))
    study = published(row(contradictory="accuracy .8478 beside error .0923"))
    markdown = format_markdown(build_study_view(study.tables[0], found))
    assert "contradicts itself: accuracy .8478 beside error .0923" in markdown and "stale: 1 of 2" in markdown


def test_figures_that_the_source_contradicts_stay_out_of_the_headline(tmp_path: Path) -> None:
    found = groups(tmp_path, *(make_results(8.6 + seed / 20, seed) for seed in range(3)))
    wrong = row(contradictory="accuracy .8478 beside error .0923", n=5, std={"test/error": 0.16})
    view = build_study_view(published(wrong).tables[0], found)
    verdict = view.lines[0].entries[0].verdict
    assert verdict and verdict.word == "matches" and verdict.adjusted_p is None
    assert summarize_study([view], []) == [
        "No published number is left to judge, only 1 that the source itself contradicts."
    ]
    other = row(label="ResNet-32", match={"model": "resnet32"})
    assert summarize_study([build_study_view(published(wrong, other).tables[0], found)], []) == [
        "0 of 1 published numbers match, 1 without a run, not counting 1 that the source itself contradicts."
    ]


def test_accuracy_and_error_are_one_number(tmp_path: Path) -> None:
    accuracy, recall = Column("test/accuracy", "accuracy %", scale=100), Column("test/recall", "recall %", scale=100)
    found = groups(
        tmp_path, *(make_results(e, s, metrics={"test/recall": 1 - e / 100}) for s, e in enumerate((8.6, 8.7, 8.8)))
    )
    values = {"test/error": 8.75, "test/accuracy": 91.25, "test/recall": 91.25}
    view = build_study_view(published(row(values=values), columns=(ERROR, accuracy, recall)).tables[0], found)
    verdicts = [entry.verdict for entry in view.lines[0].entries]
    assert all(v and v.adjusted_p == pytest.approx(v.p) for v in verdicts) and len(collect_verdicts(view)) == 1


def test_runs_that_diverged_are_part_of_the_row(tmp_path: Path) -> None:
    """Two of five seeds diverged: what is left of them does not stand for the recipe."""
    study = published(row(n=5, std={"test/error": 0.16}), row(label="ResNet-32", match={"model": "resnet32"}))
    config = make_config(TABLE6)
    reason = "The loss is no longer a finite number (epoch 3, step 1). Lower optim.lr, warm up or clip."
    for seed in range(5):
        write_run(tmp_path / f"a{seed}", make_results(8.7 + seed / 20, seed), config)
    for name, seed, model, why in [("x3", 3, "resnet20", reason), ("x4", 4, "resnet20", "Out of memory: 3 GB")]:
        content = {key: value for key, value in make_results(0, seed, model=model).items() if key != "metrics"}
        write_run(tmp_path / name, content | {"status": "failed", "reason": why}, config)
    assert cells(study, list(collect_runs([str(tmp_path)]).groups))[0]["error % verdict"] == "matches"  # done again
    for seed in (3, 4):
        for file in (tmp_path / f"a{seed}").iterdir():
            file.unlink()
    collected = collect_runs([str(tmp_path)])
    line = cells(study, list(collected.groups))[0]
    assert (line["n"], line["started"]) == ("3", "5")
    assert line["error % verdict"] == "failed: 1 of 5 runs diverged"
    text = format_markdown(build_study_view(study.tables[0], collected.groups))
    assert "| 3 of 5 |" in text and "2 of 5 runs failed: The loss is no longer" in text
    # a machine's failure is no result of the recipe: said, and judged by the others
    (tmp_path / "x3" / "results.json").unlink()
    line = cells(study, list(collect_runs([str(tmp_path)]).groups))[0]
    assert (line["n"], line["started"], line["error % verdict"]) == ("3", "4", "matches")
    # a row of which no run has finished
    write_run(tmp_path / "y", content | {"status": "failed", "reason": reason, "model": "resnet32"}, config)
    collected = collect_runs([str(tmp_path)])
    view = build_study_view(study.tables[0], collected.groups, collected.lost)
    assert [str(verdict) for verdict in collect_verdicts(view)] == ["matches", "failed: 1 of 1 runs diverged"]


def test_a_finished_run_without_a_finite_number_has_diverged(tmp_path: Path) -> None:
    broken = make_results(8.7, 2, metrics={"test/accuracy": None})  # as nan is written
    found = groups(tmp_path, make_results(8.7), make_results(8.8, 1), broken)
    line = build_study_view(published(row()).tables[0], found).lines[0]
    assert str(line.entries[0].verdict) == "failed: 1 of 3 runs diverged" and "2 of 3" in format_markdown(
        build_study_view(published(row()).tables[0], found)
    )


def test_a_claim_compares_like_with_like(tmp_path: Path) -> None:
    claim = Claim(
        "deeper plain nets train worse", [Part(["train/error"], [{"model": "plain56"}], [{"model": "plain20"}])]
    )
    content = [
        make_results(13, seed, model=model, epochs=epochs, metrics={"train/accuracy": accuracy + seed / 1000})
        for model, accuracy in (("plain56", 0.92), ("plain20", 0.97))
        for epochs in ((182, 10) if model == "plain56" else (182,))
        for seed in range(3)
    ]
    found = groups(tmp_path, *content)
    judged = judge_claims(published(row(), claims=(claim, Claim("networks are deep"))), found)
    assert [each.verdict.word for each in judged] == ["holds", "not judged"]
    assert "train error %: plain56 epochs=182 7.90 ± 0.10 (n = 3) against plain20 2.90 ± 0.10 (n = 3)" in str(judged[0])
    backwards = Claim("the other way", [Part(["train/error"], rising=[{"model": "plain56"}, {"model": "plain20"}])])
    assert judge_claims(published(row(), claims=(backwards,)), found)[0].verdict.word == "reversed"
    assert judge_claims(published(row(), claims=(claim,)), [])[0].verdict.word == "no run yet"
    short = [group for group in found if group.epochs == 10]
    assert judge_claims(published(row(), claims=(claim,)), short)[0].verdict.word == "no run yet"


def test_a_claim_on_narrowed_runs_says_so(tmp_path: Path) -> None:
    claim = Claim("degradation", [Part(["train/error"], [{"model": "plain56"}], [{"model": "plain20"}])])
    found = groups(tmp_path, *(make_results(9, 0, model=m, epochs=5) for m in ("plain20", "plain56")))
    judged = judge_claims(published(row(), claims=(claim,)), found)[0]
    unknown = [f"{model} settings not compared, config.yaml is missing: 1 of 1" for model in ("plain20", "plain56")]
    assert judged.verdict.word == "undecided"
    assert list(judged.flags) == ["not as published: 5 epochs (stated: 182)", *unknown]
    assert "Undecided: degradation (not as published: 5 epochs (stated: 182)" in summarize_study([], [judged])[0]


def test_the_general_table_has_the_columns_that_there_are_numbers_for(tmp_path: Path) -> None:
    found = groups(
        tmp_path, make_results(), make_results(seed=1), make_results(task="multilabel", metrics={"test/map": 0.5})
    )
    view = build_general_view(found)
    assert [column.metric for column in view.columns][:3] == ["test/error", "test/map", "val/error"]
    lines = format_text(view).splitlines()
    assert "cifar10, multilabel" in lines[3] and "0.500" in lines[3] and "8.75" not in lines[3]


def test_markup_in_names_stays_text(tmp_path: Path) -> None:
    found = groups(tmp_path, make_results(model="a|b_<i>&%"))
    assert "a\\|b_&lt;i>&%" in format_markdown(build_general_view(found))
    assert r"a|b\_<i>\&\%" in format_latex(build_general_view(found))


def test_of_many_that_are_not_comparable_a_few_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    found = groups(tmp_path, make_results(seed=9), *(make_results(9.0, epochs=epochs) for epochs in (1, 2, 3, 4, 200)))
    view = build_study_view(published(row()).tables[0], found)
    assert len(view.lines) == 3 and view.notes[0] == "ResNet-20: 3 more groups of runs that are not comparable"
    alone = build_study_view(published(row()).tables[0], [group for group in found if group.epochs == 200])
    assert str(alone.lines[0].entries[0].verdict) == "not comparable: 200 epochs (stated: 182)"


def test_what_a_run_has_not_measured_is_no_missing_run(tmp_path: Path) -> None:
    found = groups(tmp_path, make_results())
    study = published(row(values={"test/error": 8.75, "test/f1": 91.0}), columns=(ERROR, F1))
    assert [line["F1 % verdict"] for line in cells(study, found)] == ["not measured"]
    assert [line["F1 % verdict"] for line in cells(study, [])] == ["no run yet"]


def test_networks_are_compared_across_data_sets_by_their_mean(tmp_path: Path) -> None:
    errors = {("resnet20", "cifar10"): 8.0, ("resnet20", "fashion_mnist"): 6.0}
    errors |= {("resnet32", "cifar10"): 7.0, ("resnet32", "fashion_mnist"): 6.5, ("resnet44", "cifar10"): 5.0}
    found = groups(tmp_path, *(make_results(e, model=model, data=data) for (model, data), e in errors.items()))
    view = build_across_view(found)
    assert view is not None and [line.keys[0] for line in view.lines] == ["resnet32", "resnet20", "resnet44"]
    assert [column.title for column in view.columns] == [
        "mean error %",
        "best on sets",
        "cifar10 error %",
        "fashion_mnist error %",
    ]
    assert [entry.ours for entry in view.lines[0].entries] == ["6.75", "0", "7.00", "6.50"]
    assert [entry.ours for entry in view.lines[2].entries] == ["", "1", "5.00", ""], "a set is missing: no mean"
    printed = {group.runs[0].path: 0.1 if group.data == "cifar10" else 0.05 for group in found}
    view = build_across_view(found, printed)
    assert view is not None and view.columns[2].title == "published mean error %"
    assert [line.entries[2].ours for line in view.lines] == ["7.50", "7.50", ""]
    assert build_across_view([group for group in found if group.data == "cifar10"]) is None


@pytest.mark.parametrize("other", [{"protocol": "best_val"}, {"epochs": 7}, {"n_train": 40_000}])
def test_no_mean_is_over_networks_that_were_trained_otherwise(other: dict[str, object], tmp_path: Path) -> None:
    alike = [make_results(8.0, model=m, data=d) for m in ("resnet20", "resnet32") for d in ("cifar10", "fashion_mnist")]
    sets = ("cifar10", "fashion_mnist")
    unlike = [make_results(1.0, model="resnet44", data=data) | other for data in sets]
    view = build_across_view(groups(tmp_path, *alike, *unlike))
    assert view is not None and [line.keys[0] for line in view.lines] == ["resnet20", "resnet32"]
    assert view.notes[-1].startswith("2 of 6 configurations are left out")
