"""Run the commands as a person types them, and read the page that they write."""

import json
import re
import time
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import command
from made_runs import CLASSES, make_results, write_run

from src.errors import UserError
from src.report.__main__ import make_report
from src.report.compare import compare
from src.report.groups import collect_runs
from src.report.overview import build_general_view
from src.report.render.formats import format_text

VOID = {"meta", "br", "link", "img", "input"}


class Reader(HTMLParser):
    """Collect links, tags and ids, and insist that tags are closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open += [tag] if tag not in VOID else []
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def grid(path: Path, **changed: Any) -> Path:
    for model, error in (("resnet20", 8.7), ("resnet56", 7.0)):
        for seed in range(2):
            write_run(
                path / f"{model}-{seed}", make_results(error + seed / 10, seed, model=model, **changed), beside=True
            )
    return path


def test_a_study_becomes_a_page_that_needs_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid(tmp_path / "runs")
    make_report([str(tmp_path / "runs")], "he2016_table6", tmp_path / "out")
    printed = capsys.readouterr().out
    headline = "0 of 6 published numbers match, 2 consistent with the one published run, 4 without a run."
    assert headline in printed
    page = (tmp_path / "out" / "index.html").read_text()
    reader = Reader(page)
    assert f"<h1>{headline}</h1>" in page
    for link in reader.links:
        assert not re.match(r"\w+:|//", link), link
        target = link.removeprefix("#")
        assert (tmp_path / "out" / link).exists() if target == link else target in reader.ids, link
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.tags.count("svg") == len(list((tmp_path / "out" / "figures").glob("*.svg"))) >= 4
    assert not re.search(r"#fe0[12]", page) and "aria-sort" in page and "prefers-color-scheme:dark" in page
    assert "url(http" not in page and "@import" not in page
    for figure in (tmp_path / "out" / "figures").glob("*.svg"):
        assert figure.with_suffix(".csv").read_text().count("\n") > 2
    assert {path.name for path in (tmp_path / "out").glob("table-6.*")} == {"table-6.md", "table-6.csv", "table-6.tex"}


def test_the_same_runs_make_the_same_page(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", make_results(epochs=5), beside=True)
    make_report([str(tmp_path / "runs")], None, tmp_path / "out")
    first = (tmp_path / "out" / "index.html").read_bytes()
    make_report([str(tmp_path / "runs")], None, tmp_path / "out")
    assert (tmp_path / "out" / "index.html").read_bytes() == first


def test_what_comes_from_files_cannot_become_markup(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script><img src=http://x onerror=alert(2)>$\\frac{$\ud800\x00'
    classes = [f"{name}{evil}".replace("\n", "").replace("\ud800\x00", "\x01").replace(",", "") for name in CLASSES]
    content = make_results(model=evil, data=evil, command=evil, environment={"device": evil, "git_commit": evil})
    write_run(tmp_path / "runs" / "a", content | {"classes": [name.replace('"', "'") for name in classes]}, beside=True)
    write_run(tmp_path / "runs" / "b", make_results(status="failed", reason=evil))
    write_run(tmp_path / "runs" / "<b>c", make_results(model=evil + "2", data=evil), beside=True)
    make_report([str(tmp_path / "runs")], None, tmp_path / "out")
    reader = Reader((tmp_path / "out" / "index.html").read_text())
    assert reader.tags.count("script") == 1 and "img" not in reader.tags
    assert not [link for link in reader.links if "x onerror" in link or link.startswith("http")]
    import xml.etree.ElementTree as ElementTree

    for figure in (tmp_path / "out" / "figures").glob("*.svg"):
        assert not [node for node in ElementTree.parse(figure).iter() if node.tag.endswith(("script", "img"))]


def test_a_run_with_a_damaged_file_is_named_and_the_others_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(("confusion_matrix.csv", "per_class.csv", "metrics.csv")):
        run = write_run(tmp_path / "runs" / name[:3], make_results(seed=seed), beside=True)
        (run / name).write_bytes(b"\xff\x00no,table\n1")
    write_run(tmp_path / "runs" / "whole", make_results(seed=3), beside=True)
    make_report([str(tmp_path / "runs")], None, tmp_path / "out")
    told = capsys.readouterr()
    assert all(f"{name}: damaged" in told.err for name in ("confusion_matrix.csv", "per_class.csv", "metrics.csv"))
    assert "Left out" in told.err and "resnet20" in told.out


def test_many_classes_are_shown_by_their_worst_confusions(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "a", make_results())
    names = [f"class {i}" for i in range(30)]
    counts = np.eye(30, dtype=int) * 90 + np.roll(np.eye(30, dtype=int), 1, axis=1) * 10
    lines = [["true", *names], *([name, *map(str, row)] for name, row in zip(names, counts, strict=True))]
    (run / "confusion_matrix.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    make_report([str(tmp_path / "runs")], None, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "class 28 → class 29<" in page and "20 most frequent confusions of 30 classes" in page


def test_six_figures_are_open_and_what_is_alike_stands_once(tmp_path: Path) -> None:
    grid(tmp_path / "runs")
    make_report([str(tmp_path / "runs")], None, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    opened, summary, folded = page.partition("more figure")
    assert summary and opened.count("<svg") == 6 and folded.count("<svg") >= 1
    assert "The same in every row: data cifar10, epochs 182, training images 45,000, protocol last." in page


def test_a_wide_table_is_parted_for_a_terminal(tmp_path: Path) -> None:
    for model in ("resnet20", "resnet56"):
        for lr in (0.1, 0.2):
            settings = {"model": {"name": model, "family": "cifar_resnet", "depth": 20}, "optim": {"lr": lr}}
            write_run(tmp_path / f"{model}-{lr}", make_results(8 + lr, 0, model=model), settings)
    view = build_general_view(collect_runs([str(tmp_path)]).groups)
    whole, parted = format_text(view), format_text(view, 60)
    assert max(map(len, whole.splitlines())) > 60 >= max(map(len, parted.splitlines()))
    cells = {cell for line in whole.splitlines()[:-1] for cell in line.split("  ") if cell.strip("- ")}
    assert all(cell.strip() in parted for cell in cells) and "lr=0.2" in parted and "optim.lr" not in parted


def test_five_hundred_runs_take_seconds(tmp_path: Path) -> None:
    config = {"model": {"name": "resnet20", "family": "cifar_resnet", "depth": 20}, "optim": {"lr": 0.1}}
    for i in range(500):
        settings = config | {"optim": {"lr": 0.1 + (i % 50) / 100}, "seed": i // 50}
        write_run(
            tmp_path / "runs" / str(i),
            make_results(8 + (i * 7 % 100) / 100, i // 50, epochs=20),
            settings,
            beside=i < 40,
        )
    start = time.process_time()
    make_report([str(tmp_path / "runs")], None, tmp_path / "out")
    assert time.process_time() - start < 10
    assert (tmp_path / "out" / "all-runs.csv").read_text().count("\n") == 51


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs={empty}"], "no runs there"),
        (["runs={empty}", "study=nothing"], "study=nothing: no such study"),
        (["run={empty}"], "not understood"),
        (["compare=[{empty}]"], "two are needed"),
        (["compare=[{empty},{empty}]", "runs={empty}"], "stands alone"),
    ],
)
def test_a_wrong_input_gets_a_sentence(tmp_path: Path, words: list[str], said: str) -> None:
    result = command("src.report", *(word.format(empty=tmp_path) for word in words), f"out={tmp_path}/out")
    assert result.returncode == 1 and said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 and not (tmp_path / "out").exists()


def test_neither_torch_nor_lightning_is_imported(tmp_path: Path) -> None:
    import subprocess
    import sys

    grid(tmp_path / "runs")
    code = (
        f"import sys; from src.report.__main__ import make_report; from pathlib import Path; "
        f"make_report([{str(tmp_path / 'runs')!r}], 'he2016_table6', Path({str(tmp_path / 'out')!r})); "
        "sys.exit(bool({'torch', 'lightning', 'scipy.stats', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def pair(path: Path, a: list[float], b: list[float], **changed: Any) -> list[str]:
    for name, errors in (("a", a), ("b", b)):
        for seed, error in enumerate(errors):
            model = "resnet20" if name == "a" else "resnet56"
            write_run(path / f"{name}{seed}", make_results(error, seed, model=model, **changed), beside=True)
    return [f"{path}/a*", f"{path}/b*"]


def test_compare_pairs_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patterns = pair(tmp_path, [9.0, 9.2, 9.4], [8.0, 8.1, 8.5])
    found = compare(patterns, tmp_path / "pair.json")
    # differences 1.0, 1.1, 0.9: mean 1, std 0.1, half width 4.303 * 0.1 / sqrt 3
    assert found.difference == pytest.approx(1.0) and found.paired_seeds == [0, 1, 2]
    assert found.interval == pytest.approx([1 - 0.2484, 1 + 0.2484], abs=1e-3)
    out, said = capsys.readouterr()
    assert json.loads(out) == asdict(found) == json.loads((tmp_path / "pair.json").read_text())
    assert said.startswith(
        "A - B = +1.00 points of test error on cifar10 (95 % interval +0.75 to +1.25, 3 pairs of one"
    )
    assert "B is better" in said
    assert [test.n for test in found.mcnemar] == [10000] * 3


def test_mcnemar_counts_the_stored_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patterns = pair(tmp_path, [9.0], [8.0])
    label = np.zeros(20, dtype=int)
    for name, wrong in (("a0", range(3, 12)), ("b0", (0, 5))):
        predicted = label.copy()
        predicted[list(wrong)] = 1
        arrays = {"index": np.arange(20), "label": label, "prediction": predicted}
        np.savez(tmp_path / name / "test_predictions.npz", **arrays)
    found = compare(patterns)
    test = found.mcnemar[0]
    assert (test.only_a_right, test.only_b_right) == (1, 8)
    assert test.p == pytest.approx(2 * (1 + 9) / 2**9)
    assert found.interval is None and "no interval: neither side shows a spread" in capsys.readouterr().err


def test_compare_gives_one_answer_for_all_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of five and five runs that share one seed, all count: their means and the difference say the same."""
    patterns = pair(tmp_path, [8.2, 8.1, 8.3, 8.15, 8.25], [9.2, 9.1, 9.3, 9.15, 9.25])
    for path in tmp_path.glob("b*/results.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"seed": content["seed"] + 4}))
    found = compare(patterns)
    assert found.difference == pytest.approx(-1.0) == found.a.mean - found.b.mean
    assert found.paired_seeds == [] and found.interval is not None and found.interval[1] < -0.8
    assert "Welch" in capsys.readouterr().err


def test_compare_without_shared_seeds_or_images(tmp_path: Path) -> None:
    patterns = pair(tmp_path, [9.0, 9.2, 9.4], [8.0, 8.1, 8.5])
    for path in tmp_path.glob("b*/results.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"seed": content["seed"] + 10}))
    found = compare(patterns)
    assert found.paired_seeds == [] and found.mcnemar == [] and found.interval is not None
    write_run(tmp_path / "c0", make_results(data_fingerprint="cifar10:other"))
    with pytest.raises(UserError, match="same data"):
        compare([patterns[0], f"{tmp_path}/c0"])
    with pytest.raises(UserError, match="2 different configurations"):
        compare([f"{tmp_path}/*[ab]0", patterns[0]])
