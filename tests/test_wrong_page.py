"""docs/wrong-inputs.md says what a person reads after each of its wrong inputs; here they are typed."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT, command, run_here

from src.config.choices import CHOICES

PAGE = ROOT / "docs" / "wrong-inputs.md"
EVERY = 6  # of so many inputs one is typed by default; the others are slow


def read_page() -> Iterator[tuple[str, str]]:
    """Yield each command of the page with its sentence."""
    typed, said = "", list[str]()
    for block in re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL):
        for line in [*block.splitlines(), ""]:
            if line.startswith("    "):
                said.append(line.strip())
                continue
            if typed:
                yield typed, " ".join(said)
            typed, said = line, []


INPUTS = list(read_page())


def test_the_page_has_many() -> None:
    assert len(INPUTS) >= 60 and len(dict(INPUTS)) == len(INPUTS)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        pytest.param(*pair, marks=[pytest.mark.slow] * (number % EVERY > 0), id=pair[0].removeprefix("python -m src"))
        for number, pair in enumerate(INPUTS)
    ],
)
def test_a_wrong_input_gets_its_sentence(
    typed: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(CHOICES["logger"], "lines", raising=False)  # of the plug-in of another test
    for folder in ("photos/train/cats", "photos/train/dogs", "empty"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("notes.txt", "photos/train/cats/a.jpg"):
        (tmp_path / file).write_text("x\n")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    python, flag, module, *words = shlex.split(typed)
    assert (python, flag) == ("python", "-m")
    if "-m" in words:  # Hydra loads the plugins of a sweep anew each time: in a process of its own
        done = command(module, *words)
        code, shown = done.returncode, done.stdout + done.stderr
    else:
        code, shown = run_here(module, *words, capsys=capsys)
    heard = " ".join(shown.split())
    pattern = re.sub(
        r"among \d+", r"among \\d+", re.escape(" ".join(said.split())).replace("…", ".*").replace(r"\ ", " ")
    )
    assert re.fullmatch(pattern, heard), heard
    assert code == 1 and sorted(tmp_path.rglob("*")) == before
