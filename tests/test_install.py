"""Installed like any tool: one package, residual, with conf/ inside; and one sentence for a wrong Python."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from helpers import ROOT, TINY, environment, run_here

from src.cli import console
from src.cli.commands import format_commands

SMALL = (*TINY, "trainer.max_epochs=1", "data.limit_train=64")
TREE = ("src", "conf", "hydra_plugins", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tree by the setuptools that is here."""
    if not shutil.which("pip") and subprocess.run([sys.executable, "-m", "pip", "--version"]).returncode:
        pytest.skip("needs pip")
    tree = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in TREE:
        source = ROOT / name
        shutil.copytree(source, tree / name, ignore=ignored) if source.is_dir() else shutil.copy(source, tree)
    out = tmp_path_factory.mktemp("wheels")
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(out), str(tree)]
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


def test_a_wheel_holds_one_package_with_all_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {path.relative_to(ROOT) for folder in ("src", "conf") for path in (ROOT / folder).rglob("*.*")}
    ours = {path for path in ours if (ROOT / path).is_file() and "__pycache__" not in path.parts}
    expected = {f"residual/{path.relative_to('src').as_posix()}" for path in ours if path.parts[0] == "src"}
    expected |= {f"residual/{path.as_posix()}" for path in ours if path.parts[0] == "conf"}
    assert names == expected | {"hydra_plugins/residual.py"}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin/ of a new environment elsewhere, with the wheel, and everybody else's packages from this one."""
    home = tmp_path_factory.mktemp("elsewhere") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    place = sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})
    words = ["install", "--quiet", "--no-deps", "--no-index", "--target", place, str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    (Path(place) / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth are not read
    program = home / "bin" / "residual"
    program.write_text(f"#!{home}/bin/python\nfrom residual.__main__ import run\nrun()\n")  # as pip writes it
    program.chmod(0o755)
    return home / "bin"


@pytest.mark.slow
def test_the_wheel_trains_sweeps_and_reports_elsewhere(installed: Path, tmp_path: Path) -> None:
    assert subprocess.run([installed / "python", "-c", "import src"], cwd=tmp_path, stderr=subprocess.PIPE).returncode
    (tmp_path / "src").mkdir()
    for name in ("src/__init__.py", "random.py"):
        (tmp_path / name).write_text("raise SystemExit('of another project')\n")

    def run(*words: str, code: int = 0) -> str:
        program = [str(installed / "residual"), *words]
        done = subprocess.run(program, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=600)
        assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    assert "residual train" in run()
    run("train", *SMALL)
    run("train", "-m", *SMALL, "seed=1,2")
    run("train", *SMALL, "seed=3", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    assert "Finished before" in run(
        "train", *SMALL, "seed=3", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"
    )
    assert run("runs").count("finished") == 4
    run("evaluate", "run=last")
    run("report", "runs=outputs")
    assert "(residual models lists them all)" in run("train", "model=resnet57", code=1)
    assert '"command": "residual train ' in next(tmp_path.rglob("run.json")).read_text()


def test_the_commands_are_listed_and_named_as_they_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    page = format_commands()
    assert "python -m src.runs " in page and "List runs, the newest first" in page
    monkeypatch.setattr(console, "PACKAGE", "residual")
    assert console.name_commands("type python -m src.train -m x, or python -m src completion") == (
        "type residual train -m x, or residual completion"
    )


@pytest.mark.parametrize("module", ["src", "src.train", "src.runs"])
def test_the_version_is_told(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run_here(module, "--version", capsys=capsys)
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version and code == 0 and said.startswith(f"deep-residual-learning {version[1]} (Python 3")


def test_a_first_file_that_old_pythons_can_read() -> None:
    source = (ROOT / "src" / "__init__.py").read_text()
    ast.parse(source, feature_version=(3, 4))
    code = re.sub(r"#.*", "", source)
    assert not re.search(r"\bf[\"']|->|:=", code) and source.isascii()


def find_pythons() -> dict[str, str]:
    """Return the Pythons on this machine that are too old or too new, by version."""
    names = [f"python{version}" for version in ("2.7", "3.6", "3.7", "3.8", "3.9", "3.14")]
    places = Path.home().glob(".pyenv/versions/*/bin/python") if (Path.home() / ".pyenv").is_dir() else ()
    found = {str(path): path.parents[1].name for path in places} | {
        shutil.which(name) or "": name[6:] for name in names
    }
    return {path: version for path, version in found.items() if path and "shims" not in path}


def test_a_wrong_python_gets_a_sentence() -> None:
    """As each Python that is here says it; and as this one would, if it were another or had nothing installed."""
    code = "import sys; sys.version_info = (3, 9, 1); sys.path.insert(0, '.'); import src"
    old = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert old.returncode == 1 and "Python 3.10 to 3.13 is needed" in old.stderr and len(old.stderr.splitlines()) == 1
    bare = subprocess.run([sys.executable, "-S", "-m", "src.train"], cwd=ROOT, capture_output=True, text=True)
    assert bare.returncode == 1 and "has no torch" in bare.stderr and len(bare.stderr.splitlines()) == 1
    block = "import sys, importlib.util as u; u.find_spec = lambda name: None; sys.path.insert(0, '.'); import src"
    windows = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True)
    assert windows.returncode == 1 and "no fcntl" in windows.stderr and len(windows.stderr.splitlines()) == 1
    for path, version in find_pythons().items():
        if version.startswith(("2.", "3.6", "3.7", "3.8", "3.9.", "3.14")):
            done = subprocess.run([path, "-m", "src.train"], cwd=ROOT, capture_output=True, env=dict(os.environ))
            said = done.stderr.decode()
            assert done.returncode == 1 and "Python 3.10 to 3.13 is needed" in said, said
            assert len(said.splitlines()) == 1
