"""The lesson: its figures, its two networks in JavaScript, and the page as a browser shows it."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

from src.errors import UserError
from src.files import write_rows
from src.lesson.__main__ import make_lesson
from src.lesson.cases import read_cases
from src.lesson.figures import compare_depths, draw_all
from src.lesson.page import pack_digits

BROWSERS = "chromium|chromium-headless-shell|chromium-browser|google-chrome"
CHECK = """
const n = require(process.argv[1]), digits = JSON.parse(require("fs").readFileSync(process.argv[2]));
const train = n.readDigits(digits.train, 64), test = n.readDigits(digits.test, 64), out = {};
for (const residual of [false, true]) {
  const net = n.makeNet({inputs: 64, width: 7, classes: 10, blocks: 3, residual, seed: 1});
  const batch = n.drawBatch(train, 5, n.makeRandom(1));
  for (const layer of net.layers) layer.bias.forEach((_, i) => { layer.bias[i] = 0.1 * i - 0.2; });
  n.computeGradient(net, batch.x, batch.labels);
  const pairs = net.layers.flatMap(layer => [
    [layer.weights, layer.weightGradient.slice()], [layer.bias, layer.biasGradient.slice()],
  ]);
  let worst = 0;
  for (const [values, gradient] of pairs) {
    for (let i = 0; i < values.length; i += Math.ceil(values.length / 9)) {
      const kept = values[i], step = 1e-5;
      const [above, below] = [step, -step].map(move => {
        values[i] = kept + move;
        return n.computeGradient(net, batch.x, batch.labels);
      });
      values[i] = kept;
      worst = Math.max(worst, Math.abs((above - below) / (2 * step) - gradient[i]));
    }
  }
  out[`gradient ${residual}`] = worst;
}
const blocks = Number(process.argv[3]), steps = Number(process.argv[4]);
for (const residual of steps ? [false, true] : []) {
  const net = n.makeNet({inputs: 64, width: 16, classes: 10, blocks, residual, seed: 0}), random = n.makeRandom(7);
  for (let step = 0; step < steps; step++) {
    const batch = n.drawBatch(train, 32, random);
    n.takeStep(net, batch.x, batch.labels, {rate: 0.03 * (1 - step / steps)});
  }
  out[`accuracy ${residual}`] = n.measureAccuracy(net, test.x, test.labels);
}
console.log(JSON.stringify(out));
"""


def run_node(tmp_path: Path, blocks: int, steps: int) -> dict[str, float]:
    """Check the gradients of both networks, and train them for so many steps."""
    (digits := tmp_path / "digits.json").write_text(json.dumps(pack_digits()))
    net = ROOT / "src" / "lesson" / "net.js"
    program = ["node", "-e", CHECK, str(net), str(digits), str(blocks), str(steps)]
    found: dict[str, float] = json.loads(subprocess.run(program, check=True, capture_output=True, text=True).stdout)
    return found


@pytest.mark.needs("node")
def test_the_gradients_are_those_of_finite_differences(tmp_path: Path) -> None:
    found = run_node(tmp_path, 0, 0)
    assert len(found) == 2 and all(worst < 1e-8 for worst in found.values())


@pytest.mark.slow
@pytest.mark.needs("node")
def test_at_the_depth_that_the_page_begins_with_only_the_residual_network_learns(tmp_path: Path) -> None:
    text = (ROOT / "src" / "lesson" / "lesson.html.j2").read_text()
    (blocks,) = re.findall(r'id="depth".* value="(\d+)"', text)
    found = run_node(tmp_path, int(blocks), 500)
    assert found["accuracy true"] > 0.9 and found["accuracy false"] < 0.4, found


def write_run(path: Path, model: str, depth: int, errors: list[float], *, probes: bool = True, **data: Any) -> Path:
    """Write a run as the lesson reads it: its configuration, its epochs, and what probes have found."""
    shortcut = "none" if model.startswith("plain") else "A"
    path.mkdir(parents=True)
    config = {
        "model": {"name": model, "family": "cifar_resnet", "depth": depth, "shortcut": shortcut},
        "data": {"name": "digits", "limit_train": None} | data,
        "trainer": {"max_epochs": len(errors)},
        "seed": 0,
    }
    (path / "config.yaml").write_text(json.dumps(config))
    (path / "run.json").write_text(json.dumps({"command": f"python -m src.train model={model} '<b>'"}))
    rows = [[i, 1 - error / 100, 1 - error / 90] for i, error in enumerate(errors, 1)]
    write_rows(path / "metrics.csv", [["epoch", "train/accuracy", "val/accuracy"], *rows])
    if probes:
        (path / "probes").mkdir()
        layers = [[model, "init", f"l{i}", "conv", i, 2.0 / i, 1, 1] for i in range(1, depth + 1)]
        head = ["network", "at", "layer", "kind", "depth", "gradient", "weight", "ratio"]
        write_rows(path / "probes" / "gradient_flow.csv", [head, *layers])
        points = [[model, "last", x, y, 1 + x * x + y * y] for y in (-1, 0, 1) for x in (-1, 0, 1)]
        write_rows(path / "probes" / "loss_landscape.csv", [["network", "at", "x", "y", "loss"], *points])
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for model, depth, errors in (
        ("plain20", 20, [60, 40.0]),
        ("plain56", 56, [80, 70.0]),
        ("resnet20", 20, [60, 30.0]),
        ("resnet56", 56, [60, 20.0]),
    ):
        write_run(tmp_path / "runs" / model, model, depth, errors)
    write_run(tmp_path / "runs" / "more", "resnet20", 20, [50.0, 45.0], probes=False, name="cifar10")
    (tmp_path / "runs" / "odd").mkdir()
    (tmp_path / "runs" / "odd" / "run.json").write_text("{}")
    (tmp_path / "runs" / "odd" / "config.yaml").write_text("- 1")
    return tmp_path / "runs"


class Links(HTMLParser):
    """Collect what a page links to and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            kept = self.links if tag == "a" else self.loads
            kept += [value or ""] if name in ("href", "src", "xlink:href") else []


def test_the_page_teaches_with_the_runs_and_loads_nothing(runs: Path, tmp_path: Path) -> None:
    page = make_lesson(str(runs), tmp_path / "deep" / "lesson.html")
    text = page.read_text()
    assert len(text) < 2 * 2**20 and "No runs for this figure" not in text
    assert "With 56 layers the plain network ends at a training error of 70.0 %, higher than the 40.0 %" in text
    assert "With 56 layers the residual network ends at a training error of 20.0 %, lower than the 30.0 %" in text
    assert "plain56, at initialisation: first layer ÷ last layer = 56." in text
    assert "&lt;b&gt;" in text and "'<b>'" not in text and str(runs / "odd") in text
    found = Links(text)
    assert all(load.startswith(("#", "data:")) for load in found.loads), found.loads
    runs_linked = {(page.parent / link).resolve() for link in found.links}
    assert {runs / name for name in ("plain20", "plain56", "resnet20", "resnet56")} <= runs_linked
    assert all(place.exists() for place in runs_linked)


def test_without_runs_the_page_says_which_commands_make_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = make_lesson(None, tmp_path / "lesson.html").read_text()
    assert text.count("No runs for this figure yet") == 4
    assert "src.train -m model=plain20,plain56,resnet20,resnet56" in text and "probe=loss_landscape" in text
    with pytest.raises(UserError, match="no run is there"):
        make_lesson("nothing", tmp_path / "lesson.html")


def test_only_runs_of_one_setting_are_compared(runs: Path) -> None:
    cases, left_out = read_cases([str(runs)])
    assert len(cases) == 5 and [path.name for path, _ in left_out] == ["odd"]
    shown = draw_all(cases)
    assert {case.setting("data.name") for case in shown["degradation"].cases} == {"digits"}
    assert compare_depths([cases[0], cases[0]]).count("as high as") == 1


def test_damaged_probes_of_a_run_are_one_sentence(runs: Path) -> None:
    (runs / "plain20" / "probes" / "gradient_flow.csv").write_text("network,at,depth\nplain20,init,x\n")
    cases, _ = read_cases([str(runs)])
    with pytest.raises(UserError, match=r"gradient_flow.csv: damaged"):
        draw_all(cases)


@pytest.mark.slow
@pytest.mark.needs(BROWSERS)
def test_a_browser_trains_both_networks_and_asks_for_nothing(runs: Path, tmp_path: Path) -> None:
    page = make_lesson(str(runs), tmp_path / "lesson.html")
    browser = next(filter(None, map(shutil.which, BROWSERS.split("|"))))
    options = ["--headless", "--no-sandbox", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=60000"]
    done = subprocess.run(
        [browser, *options, "--enable-logging=stderr", "--dump-dom", page.as_uri()], capture_output=True, text=True
    )
    (live,) = re.findall(r'<div class="live"[^>]*>', done.stdout)
    numbers = {name: float(value) for name, value in re.findall(r'data-(\w+)="([\d.]+)"', live)}
    assert numbers["steps"] == 500 and numbers["residual"] > 0.85 and numbers["plain"] < 0.5, numbers
    assert "Refused to" not in done.stderr and "Uncaught" not in done.stderr
