"""docs/studies.md has a row for every table, figure and claim of the studies, and the command of each row works.

What trains in a row is tested by tests/test_experiments.py, which runs the smallest job of every experiment.
"""

import importlib.util
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import ROOT, command, compose, train
from made_runs import make_config, make_results, write_run

from src.cli.compose import list_group_choices
from src.report.__main__ import make_report
from src.report.protocol import IMAGES
from src.report.published import list_published, read_published
from src.report.render.figures import KINDS

STATES = ("grid", "shown", "probe", "exact", "setting", "figure", "page")
STUDIES = {  # what the table is to have of each, in words of the texts' artefacts
    "He et al. 2016": ("Table 1", "Tables 2 and 3", "Table 4", "Table 5", "Table 6", "Figure 6", "Figure 7"),
    "He et al. 2016b": ("Pre-activation",),
    "Rafi & Pirkoohi 2024": (
        "Table 1",
        "Table 2",
        "Table 3",
        "Figure 1",
        "baseline",
        "Section 2.4.3",
        "ImageNet",
        "COCO",
    ),
    "Waghmode et al. 2023": ("Trials", "Parameters", "Plain CNNs", "Figure 2", "Figure 3"),
    "Kittipipatthanapong": ("Table 1", "# layers", "across sets", "Plain nets", "Quoted", "Activation", "Figure 3"),
    "Arslan et al. 2025": ("Table 1", "Table 2", "Table 3", "claims", "squared error", "gradient flow", "Grad-CAM"),
    "Kilari & Wu 2025": ("Degradation", "trains faster", "generalises", "vanishing", "VGG-19", "CIFAR-100"),
}


@dataclass(frozen=True)
class Artefact:
    """A row of the table."""

    study: str
    what: str
    words: tuple[str, ...]
    state: str


def read_artefacts() -> list[Artefact]:
    """Read the table; a study stands in the first of its rows."""
    text = (ROOT / "docs" / "studies.md").read_text().split("## Every artefact")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    found: list[Artefact] = []
    for study, *rest in (row for row in rows if len(row) == 4 and row[0] not in ("study", "---")):
        what, typed, state = rest
        found.append(Artefact(study or found[-1].study, what, tuple(shlex.split(typed.strip("`"))), state))
    return found


ARTEFACTS = read_artefacts()
COMMANDS = sorted({a.words for a in ARTEFACTS if a.words[0].startswith("src.")})


def find_study(experiment: str) -> str:
    """Return the study whose page shows an experiment's runs: its own, or the one whose name it begins with."""
    return max((name for name in list_published() if experiment.startswith(name)), key=len)


def test_no_artefact_of_the_texts_is_missing() -> None:
    for study, wanted in STUDIES.items():
        has = "\n".join(artefact.what for artefact in ARTEFACTS if artefact.study == study)
        assert not [words for words in wanted if words not in has], study
    assert all(artefact.state in STATES for artefact in ARTEFACTS)


def test_every_published_file_and_every_grid_of_a_study_is_in_the_table() -> None:
    named = {word.partition("=")[2] for artefact in ARTEFACTS for word in artefact.words if "=" in word}
    assert set(list_published()) <= named
    assert {name for name in list_group_choices("experiment") if name.startswith(tuple(list_published()))} <= named
    known = {*list_published(), *list_group_choices("experiment")}
    for artefact in ARTEFACTS:
        key, _, name = artefact.words[0].partition("=")
        assert key.startswith("src.") or (key in ("experiment", "study") and name in known), artefact.words


def test_every_printed_table_has_a_match_or_says_why_not() -> None:
    """A table without any counterpart is one of the rows that are only shown."""
    shown = {word.partition("=")[2] for artefact in ARTEFACTS if artefact.state == "shown" for word in artefact.words}
    for study in list_published():
        for table in read_published(study).tables:
            trained = any(row.match is not None for row in table.rows)
            assert trained or study in shown or table.source == "quoted", f"{study}, {table.name}"


def test_a_study_shows_the_curves_of_loss_beside_those_of_error() -> None:
    for study in list_published():
        figures = read_published(study).figures
        assert ("loss_curves" in figures) == ("curves" in figures) and set(figures) <= set(KINDS), study


@pytest.mark.parametrize("study", list_published())
def test_the_page_of_a_study_has_its_tables_claims_and_curves(study: str, tmp_path: Path) -> None:
    """Made from two runs of its experiment that were never trained."""
    config = make_config(f"experiment={study}")
    known = {group: config[group]["name"] for group in ("model", "data", "task")}
    scores = {f"test/{name}": 0.8 for name in ("top5", "precision", "recall", "f1", "map", "mask_map")}
    for seed in range(2):
        facts = {"epochs": config["trainer"]["max_epochs"], "n_train": IMAGES[known["data"]], "n_val": 0}
        content = make_results(9 + seed, seed, **known, **facts, metrics=scores)
        path = write_run(tmp_path / "runs" / str(seed), content, config | {"seed": seed})
        lines = [f"{epoch},0.8,0.8,0.5,{1 / epoch},{1 / epoch}" for epoch in range(1, facts["epochs"] + 1)]
        head = "epoch,val/accuracy,train/accuracy,val/map,val/loss,train/loss"
        (path / "metrics.csv").write_text("\n".join([head, *lines, ""]))
    make_report([str(tmp_path / "runs")], study, tmp_path / "out")
    published, page = read_published(study), (tmp_path / "out" / "index.html").read_text()
    for table in published.tables:
        assert escape(table.name) in page
        assert all(escape(row.label) in page for row in table.rows)
    assert all(escape(claim.text.rstrip(".")) in page for claim in published.claims)
    if "curves" in published.figures:
        assert "Loss in training" in page and "Course of training" in page


def escape(text: str) -> str:
    """Write a text as the page does."""
    from markupsafe import escape as escape_html

    return str(escape_html(text))


def test_the_loss_of_a_study_can_be_the_squared_error() -> None:
    (words,) = {artefact.words for artefact in ARTEFACTS if artefact.state == "setting"}
    assert compose(*words).task.loss == "mse"  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_of_the_table_works(words: tuple[str, ...], tmp_path: Path) -> None:
    """In its smallest form: on the digits, few images, and a run of eight layers."""
    module, *rest = words
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not here yet")
    if module in ("src.analyze", "src.lesson", "src.report"):
        done = train(tmp_path / "run", "trainer.max_epochs=1")
        assert done.returncode == 0, done.stderr
        small = {"data": "digits", "run": str(tmp_path / "run"), "runs": str(tmp_path)}
        named = {key: small.get(key, value) for key, _, value in (word.partition("=") for word in rest)}
        named.pop("data", None)
        rest = [f"{key}={value}" for key, value in named.items()]
        rest += ["images=8"] if module == "src.analyze" else []
        rest += ["grid=3"] if "probe=loss_landscape" in rest else []
        rest += [f"out={tmp_path / 'out'}"]
    done = command(module, *rest)
    assert done.returncode == 0, done.stderr
    if module == "src.models":
        count = re.findall(r"58,331,648|25,557,032", done.stdout)
        assert count
