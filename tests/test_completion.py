"""Tab completes commands, groups, settings and networks in real shells, without torch or Hydra."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import ROOT

from src.cli.complete import complete_line
from src.cli.scripts import SCRIPTS
from src.zoo.registry import rows


@pytest.mark.parametrize(
    ("line", "some"),
    {
        "residual tr": ["train"],
        "residual completion ": ["bash", "zsh", "fish"],
        "residual train model=": [f"model={name}" for name in rows()],
        "residual train -m model=resnet20,resnet5": ["model=resnet20,resnet56"],
        "residual train optim=sgd_c": ["optim=sgd_cosine"],
        "residual train optim.weight": ["optim.weight_decay="],
        "residual train trainer.accelerator=": ["trainer.accelerator=cpu"],
        "residual train fresh=": ["fresh=true", "fresh=false"],
        "residual train experiment=he2016_t": ["experiment=he2016_table6"],
        "residual evaluate split=v": ["split=val"],
        "residual evaluate run=l": ["run=last"],
        "residual report st": ["study="],
        "residual report study=he2016_t": ["study=he2016_table6"],
        "residual models resnet5": ["resnet56"],
        "python -m src.tra": ["src.train"],
        "python -m src.train model=resnet5": ["model=resnet56"],
        "python -m src train model='resnet5": ["model=resnet56"],
    }.items(),
)
def test_a_line_is_completed(line: str, some: list[str]) -> None:
    found = complete_line(line)
    assert set(some) <= set(found), found


def test_a_path_is_left_to_the_shell() -> None:
    assert complete_line("residual train data.root=") == [] and complete_line("residual train seed=") == []


def test_completing_imports_neither_torch_nor_hydra() -> None:
    code = (
        "import sys; sys.argv = ['src', '--complete', 'residual train model=']\n"
        "from src.__main__ import complete\n"
        "complete(); print({'torch', 'hydra', 'omegaconf', 'yaml', 'lightning'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("set()") and "model=resnet1202" in done.stdout


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a program `residual` in bin/, and the script of each shell."""
    program = tmp_path / "bin" / "residual"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m src "$@"\n')
    program.chmod(0o755)
    for shell, scripts in SCRIPTS.items():
        (tmp_path / shell).write_text(scripts["residual"] + "\n")
        (tmp_path / f"{shell}.python").write_text(scripts["python"] + "\n")
    (tmp_path / "bin" / "python").symlink_to(program.with_name("residual.python"))
    program.with_name("residual.python").write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n')
    program.with_name("residual.python").chmod(0o755)
    (tmp_path / "photos").mkdir()
    return tmp_path


def press_tab(words: list[str], lines: list[str], home: Path, expected: str, seconds: float = 60) -> str:
    """Type lines into a shell on a terminal, and return what it shows until that holds what is expected."""
    environment = {**os.environ, "TERM": "dumb", "HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}"}
    child, terminal = pty.fork()
    if not child:
        os.chdir(home)
        os.execvpe(words[0], words, environment)
    shown, limit = "", time.monotonic() + seconds
    try:
        for line in lines:
            os.write(terminal, line.encode())
            mark = len(shown)
            while time.monotonic() < limit and (expected if line is lines[-1] else "ready") not in shown[mark:]:
                if select.select([terminal], [], [], 0.2)[0]:
                    shown += os.read(terminal, 65536).decode(errors="replace").replace("\a", "")
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(terminal)
    return shown


CASES = [
    ("residual", "residual train model=resnet12", "resnet1202"),
    ("residual", "residual train optim.weight_d", "optim.weight_decay="),
    ("residual", "residual train experiment=he2016_tab", "experiment=he2016_table6"),
    ("residual", "residual train data.root=ph", "data.root=photos"),
    ("python", "python -m src.train model=resnet12", "resnet1202"),
]


@pytest.mark.needs("bash")
@pytest.mark.parametrize(("kind", "typed", "expected"), CASES)
def test_tab_in_bash(kind: str, typed: str, expected: str, home: Path) -> None:
    source = f"source {home}/bash{'.python' * (kind == 'python')}; echo rea''dy\n"
    shown = press_tab(["bash", "--norc", "--noprofile", "-i"], [source, f"{typed}\t"], home, expected)
    assert expected in shown, shown


@pytest.mark.needs("zsh")
@pytest.mark.parametrize(("kind", "typed", "expected"), CASES)
def test_tab_in_zsh(kind: str, typed: str, expected: str, home: Path) -> None:
    source = f"source {home}/zsh{'.python' * (kind == 'python')}; echo rea''dy\n"
    shown = press_tab(
        ["zsh", "-f", "-i"],
        ["autoload -Uz compinit && compinit -u; echo rea''dy\n", source, f"{typed}\t"],
        home,
        expected,
    )
    assert expected in shown, shown


@pytest.mark.needs("fish")
@pytest.mark.parametrize(("kind", "typed", "expected"), CASES)
def test_completion_in_fish(kind: str, typed: str, expected: str, home: Path) -> None:
    code = f"source {home}/fish{'.python' * (kind == 'python')}; complete -C '{typed}'"
    environment = {**os.environ, "HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}"}
    done = subprocess.run(["fish", "-N", "-c", code], cwd=home, env=environment, capture_output=True, text=True)
    assert expected in done.stdout, done.stdout + done.stderr
