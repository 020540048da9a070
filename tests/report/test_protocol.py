"""A published number is compared with runs of its protocol: what the study states, what others do, and what is ours."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from made_runs import make_config, make_results, write_run

from src.report.__main__ import make_report
from src.report.groups import collect_runs
from src.report.protocol import Protocol, list_differences
from src.report.published import list_published, read_published
from src.report.render.formats import format_markdown
from src.report.result import Result, read_result
from src.report.views import Line, View, build_study_view

TABLE6 = "experiment=he2016_table6"


def view(path: Path, study: str, table: str = "") -> View:
    """The (named) table of a study over the runs in a directory."""
    tables = read_published(study).tables
    chosen = next(each for each in tables if each.name == (table or tables[0].name))
    return build_study_view(chosen, collect_runs([str(path)]).groups)


def line(shown: View, label: str) -> Line:
    return next(line for line in shown.lines if line.keys[0] == label)


def word(shown: View, label: str, metric: str) -> str:
    found = [entry.verdict for entry in line(shown, label).entries if entry.column.metric == metric]
    return str(found[0])


def write(
    path: Path,
    name: str,
    words: str,
    values: tuple[float, ...] = (8.7, 8.75, 8.8),
    changes: dict[str, Any] | None = None,
    **facts: Any,
) -> None:
    """Runs of `python -m src.train <words>` under changed settings with these test errors, a seed each."""
    config = copy.deepcopy(make_config(*words.split()))
    for setting, value in (changes or {}).items():
        *group, leaf = setting.split(".")
        (config[group[0]] if group else config)[leaf] = value
    known = {
        "model": config["model"]["name"],
        "data": config["data"]["name"],
        "task": config["task"]["name"],
        "epochs": config["trainer"]["max_epochs"],
        "protocol": config["protocol"],
    }
    for seed, error in enumerate(values):
        write_run(path / f"{name}{seed}", make_results(error, seed, **known | facts), config | {"seed": seed})


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("seed", 0, ""),
        ("optim.name", "adam", "optim.name=adam (stated: sgd)"),
        ("optim.lr", 0.05, "optim.lr=0.05 (stated: 0.1)"),
        ("data.augment", "none", "data.augment=none (stated: pad_crop_flip)"),
        ("data.batch_size", 1024, "data.batch_size=1024 (stated: 128)"),
        ("task.label_smoothing", 0.1, "task.label_smoothing=0.1 (stated: 0)"),
        ("data.normalize", "dataset", "data.normalize=dataset (stated: per_pixel_mean)"),
        ("model.weights", "foreign.pth", "model.weights=foreign.pth (stated: null)"),
        ("model.stochastic_depth", 0.5, "model.stochastic_depth=0.5 (stated: 0)"),
        ("data.limit_train", 0.5, "data.limit_train=0.5 (stated: null)"),
        ("data.classes", ["0", "1"], "data.classes=[0,1] (stated: null)"),
        ("trainer.max_epochs", 3, "3 epochs (stated: 182)"),
    ],
)
def test_what_the_study_states_must_be_met(tmp_path: Path, setting: str, value: object, reason: str) -> None:
    write(tmp_path, "a", TABLE6, changes={setting: value})
    found = line(view(tmp_path, "he2016_table6"), "ResNet-20")
    assert found.reasons == ([reason] if reason else []) and found.entries[0].verdict is not None
    assert found.entries[0].verdict.word == ("not comparable" if reason else "consistent with")


def test_what_nobody_states_is_ours_and_listed(tmp_path: Path) -> None:
    write(tmp_path, "a", TABLE6, changes={"data.val_fraction": 0.02, "protocol": "best_val"})
    found = line(view(tmp_path, "he2016_table6"), "ResNet-20")
    assert not found.reasons and found.entries[0].verdict is not None
    assert found.entries[0].verdict.word == "consistent with"
    assert found.flags == [
        "differs in what no source states: data.val_fraction=0.02 (ours: 0.1), protocol=best_val (ours: last)"
    ]


def test_fewer_epochs_are_not_comparable_whoever_chose_them(tmp_path: Path) -> None:
    write(tmp_path, "a", "experiment=arslan2025", (5.5, 5.5, 5.5), {"trainer.max_epochs": 5})
    write(tmp_path, "b", "experiment=arslan2025", (5.5, 5.5, 5.5), {"trainer.max_epochs": 200})
    shown = [line for line in view(tmp_path, "arslan2025").lines if line.group and line.keys[0] == "ResNet-18"]
    assert [line.reasons for line in shown] == [[], ["5 epochs (ours: 100)"]]
    assert shown[0].flags[-1] == "differs in what no source states: 200 epochs (ours: 100)"


def test_another_source_counts_as_a_statement_and_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a", "experiment=kilari2025_cifar", (6.6, 6.6, 6.6), {"optim.lr": 0.2})
    found = line(view(tmp_path, "kilari2025_cifar"), "ResNet-110, CIFAR-10")
    assert found.reasons == ["optim.lr=0.2 (He et al. 2016: 0.1)"]


def test_alexnet_with_dropout_under_adamw_is_not_that_of_the_study(tmp_path: Path) -> None:
    words = "experiment=kittipipatthanapong2023 model=alexnet_cifar optim=adamw"
    write(tmp_path, "a", words, (22.4, 22.4, 22.4))
    reasons = line(view(tmp_path, "kittipipatthanapong2023"), "AlexNet, CIFAR-10").reasons
    assert {"model.dropout=0.5 (stated: 0)", "optim.name=adamw (stated: sgd)"} <= set(reasons)


def test_coco_2017_at_224_pixels_is_not_coco_2014_at_448(tmp_path: Path) -> None:
    words = "data=coco task=multilabel model=resnet101 model.weights=IMAGENET1K_V1 data.image_size=224"
    facts = {"n_train": 112373, "n_val": 5914, "metrics": {"test/map": 0.773}}
    write(tmp_path, "a", words, **facts)
    found = line(view(tmp_path, "zoo_coco_multilabel", "Multi-label, COCO 2014"), "ResNet-101 at 448 px, average pool")
    assert found.reasons == ["data.image_size=224 (stated: 448)", "118,287 training images, of 82,783"]


def test_a_resized_set_is_not_the_published_one(tmp_path: Path) -> None:
    write(tmp_path, "a", TABLE6, n_train=9000, n_val=1000)
    assert line(view(tmp_path, "he2016_table6"), "ResNet-20").reasons == ["10,000 training images, of 50,000"]


def test_settings_of_plugins_and_of_other_versions_are_no_difference(tmp_path: Path) -> None:
    config = make_config(TABLE6)
    older = {key: value for key, value in config.items() if key != "finetune"} | {"gone": {"with": "the wind"}}
    older["optim"] = {key: value for key, value in config["optim"].items() if key != "ema"}
    path = write_run(tmp_path / "a", make_results(), older)
    run = read_result(path, "today")
    assert list_differences(read_published("he2016_table6").tables[0].protocol, {"model": "resnet20"}, run) == []


def test_a_run_without_config_is_flagged(tmp_path: Path) -> None:
    write_run(tmp_path / "a", make_results())
    assert line(view(tmp_path, "he2016_table6"), "ResNet-20").flags == [
        "settings not compared, config.yaml is missing: 1 of 1"
    ]


@pytest.mark.slow
def test_each_setting_that_a_file_names_is_one_of_its_runs() -> None:
    """A name that is misspelt, or of another optimizer, would state nothing."""
    from src.report.protocol import compose_settings

    for study in list_published():
        for match, protocol in read_published(study).cells:
            want = compose_settings(protocol, match)
            for name in (*protocol.stated, *protocol.elsewhere):
                assert any(leaf == name or leaf.startswith(f"{name}.") for leaf in want), (study, name)


def test_nothing_that_is_ours_is_shown_as_published(tmp_path: Path) -> None:
    """No study says how many photos we hold out, how many parameters we count, or our epochs where it has none."""
    write(tmp_path / "runs", "a", "experiment=arslan2025", (5.5, 5.6), params=11_173_962)
    make_report([str(tmp_path / "runs")], "arslan2025", tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert not re.search(r"published (100\b|45,000|1,268,355)", page)
    assert '<dt class="ours">Ours, where no source says anything</dt>' in page
    assert "trainer.max_epochs=100" in page and '<dt class="stated">' not in page
    for study in list_published():
        for table in read_published(study).tables:
            for printed in (row for row in table.rows if "params" in row.values):
                assert len(f"{printed.values['params']:g}") <= 5 or study.startswith("zoo_"), printed.label


def test_the_page_says_who_states_what(tmp_path: Path) -> None:
    write(tmp_path / "runs", "a", TABLE6)
    write(tmp_path / "runs", "b", "experiment=kilari2025_cifar", (6.6, 6.7))
    make_report([str(tmp_path / "runs")], "he2016_table6", tmp_path / "table6")
    page = (tmp_path / "table6" / "index.html").read_text()
    assert '<dt class="stated">Stated by the study</dt>' in page and "data.normalize=per_pixel_mean" in page
    assert "Ours, where no source says anything</dt><dd>data.val_fraction=0.1" in page
    assert "Stated by the study: " in (tmp_path / "table6" / "table-6.md").read_text()
    make_report([str(tmp_path / "runs")], "kilari2025_cifar", tmp_path / "kilari")
    page = (tmp_path / "kilari" / "index.html").read_text()
    assert (
        '<dt class="elsewhere">Stated by He et al. 2016</dt>' in page
        and "He et al. 2016 error %" in page
        and "published error" not in page
    )


def test_rows_by_seed_select_within_a_group(tmp_path: Path) -> None:
    losses = {"train/loss": 0.5, "val/loss": 0.7, "test/loss": 0.7, "val/accuracy": 0.75}
    write(tmp_path / "runs", "a", "experiment=waghmode2023", (23.2, 21.05, 22.0), metrics=losses)
    shown = view(tmp_path / "runs", "waghmode2023")
    assert [[run.seed for run in line.group.runs] if line.group else [] for line in shown.lines] == [[0], [1]]
    assert word(shown, "Trial 2", "test/accuracy") == "inconclusive: one run, which shows no spread"
    make_report([str(tmp_path / "runs")], "waghmode2023", tmp_path / "out")
    assert "no run yet" not in (tmp_path / "out" / "trials.csv").read_text()


def test_a_constant_answer_is_no_result(tmp_path: Path) -> None:
    """No label at all is right for .95 of the labels: better than the published .7123, and worth nothing."""
    facts = {"n_train": 112373, "n_val": 5914, "n_test": 100}
    metrics = {"test/accuracy": 0.951, "test/recall": 0.9, "test/precision": 0.02, "test/f1": 0.0, "test/map": 0.05}
    write(tmp_path / "runs", "a", "experiment=rafi2024_coco", **facts, metrics=metrics)
    for run in (tmp_path / "runs").iterdir():
        lines = [f"class {i},{5 if i else 4},0.1,0,0,0" for i in range(80)]
        (run / "per_class.csv").write_text("\n".join(["class,positives,ap,precision,recall,f1", *lines, ""]))
    shown = view(tmp_path / "runs", "rafi2024_coco")
    assert word(shown, "ResNet-101", "test/accuracy") == "not judged: no label at all scores 0.9501"
    assert word(shown, "ResNet-101", "test/recall") == "not judged: every label at once scores 1.0000"
    assert word(shown, "ResNet-101", "test/f1") == word(shown, "ResNet-101", "test/precision")
    assert word(shown, "ResNet-101", "test/f1") == "inconclusive: all 3 runs gave the same number"
    make_report([str(tmp_path / "runs")], "rafi2024_coco", tmp_path / "out")
    assert (
        "<h1>No published number is left to judge, only 4 that the source itself contradicts.</h1>"
        in (tmp_path / "out" / "index.html").read_text()
    )
    for run in (tmp_path / "runs").iterdir():
        (run / "per_class.csv").unlink()
    assert "per_class.csv is missing" in word(view(tmp_path / "runs", "rafi2024_coco"), "ResNet-101", "test/accuracy")


def test_figures_show_the_number_of_their_own_row_in_percent(tmp_path: Path) -> None:
    """Shares are percent there; a network with shortcut A has the number of A, not of C."""
    import csv

    def points(study: str) -> dict[str, str]:
        make_report([str(tmp_path / study)], study, tmp_path / "out" / study)
        (file,) = (tmp_path / "out" / study / "figures").glob("error-against-depth-*.csv")
        with file.open() as text:
            return {row["runs"].split()[0]: row["published"] for row in csv.DictReader(text)}

    for model, error in (("resnet20", 15.2), ("resnet110", 6.9)):
        write(tmp_path / "rafi2024_cifar10", model, f"experiment=rafi2024_cifar10 model={model}", (error,))
    found = points("rafi2024_cifar10")
    assert [float(found[name]) for name in ("resnet20", "resnet110")] == pytest.approx([9.23, 6.91])
    for model, error in (("resnet18_a", 27.9), ("resnet34_a", 25.1), ("resnet34_c", 24.2)):
        words = f"experiment=he2016_imagenet model={model}"
        write(tmp_path / "he2016_imagenet", model, words, (error,), n_train=1268355, n_val=12812)
    assert points("he2016_imagenet") == {"resnet18_a": "27.88", "resnet34_a": "25.03", "resnet34_c": "24.19"}


def test_a_table_has_settings_of_its_own_over_the_experiment(tmp_path: Path) -> None:
    words = "data=cifar10 model=wrn16_8"
    recipe = {"trainer.max_epochs": 200, "data.val_fraction": 0, "optim.nesterov": True, "optim.weight_decay": 5e-4}
    recipe |= {"optim.milestones": [0.3, 0.6, 0.8], "optim.gamma": 0.2}
    write(tmp_path, "a", words, (4.2, 4.3, 4.25), recipe, n_train=50000, n_val=0)
    write(tmp_path, "b", words, (4.2, 4.3, 4.25))
    shown = [line for line in view(tmp_path, "zoo_cifar").lines if line.keys[0] == "WRN-16-8, CIFAR-10"]
    assert [bool(line.reasons) for line in shown] == [False, True]
    assert Protocol().attribute("data.limit_train") == ("stated", "")


def test_results_json_is_read_as_it_is(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a", make_results(epochs=3))
    run = Result(path, json.loads((path / "results.json").read_text()), {}, stale=False)
    found = list_differences(Protocol("he2016_table6", stated=["trainer.max_epochs"]), {"model": "resnet20"}, run)
    assert [(each.name, each.have, each.want.value) for each in found] == [("trainer.max_epochs", "3", "182")]


def test_a_quoted_number_bears_the_name_of_its_source(tmp_path: Path) -> None:
    facts = {"epochs": 90, "n_train": 1268355, "n_val": 12812, "metrics": {"test/top5": 0.91}}
    write_run(tmp_path / "a", make_results(26.7, model="resnet34", data="imagenet", **facts))
    text = format_markdown(view(tmp_path, "kilari2025_imagenet"))
    assert "torchvision 73.31 (−0.01)" in text and "published" not in text
