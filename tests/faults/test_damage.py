"""Files of a run that were cut short or changed: each is told of or made again, and none changes a result unseen.

A changed digit of a text file is not told from another number: only checkpoints carry a checksum. So a low bit that
flips in a text file must not bring a command down, and no more.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.harness import CHANGES, KILL, Done, Fault, Left, Server, train
from helpers import choose_evenly

pytestmark = [pytest.mark.slow, pytest.mark.needs("cc|gcc|clang")]

TEXT = (".csv", ".json", ".yaml")


def damage(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the content cut at four places, and with one bit flipped at three, with a name for each."""
    for place in sorted({0, 1, len(content) // 2, len(content) - 1}):
        yield f"cut at {place}", content[:place]
    for place, bit in ((len(content) // 2, 0x80), (len(content) // 3, 0x01), (len(content) - 5, 0x10)):
        yield f"bit {bit:#x} of byte {place}", content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


@pytest.fixture(scope="module")
def stopped(server: Server, whole: Left, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after its first epoch."""
    path = tmp_path_factory.mktemp("stopped") / "run"
    second = [o.number for o in whole.changes if o.name == "rename" and o.path.endswith("last.ckpt")][1]
    assert train(server, path, fault=Fault(path, KILL, second, kinds=CHANGES)).code == 137
    return path


def try_damage(whole: Path, names: tuple[str, ...], tmp_path: Path, most: int) -> Iterator[tuple[str, str, bool, Path]]:
    """Yield copies of a run with one damaged file each: its name, the damage, whether it can be seen, and the copy."""
    cases = [(name, what, damaged) for name in names for what, damaged in damage((whole / name).read_bytes())]
    for number, (name, what, damaged) in enumerate(choose_evenly(cases, most, lambda case: case[0])):
        path = tmp_path / f"{Path(name).name}-{number}"
        shutil.copytree(whole, path)
        (path / name).write_bytes(damaged)
        yield name, what, not (name.endswith(TEXT) and what.startswith("bit 0x") and "0x80" not in what), path
        shutil.rmtree(path)


def describe(name: str, what: str, done: Done, problem: str) -> str:
    return f"{name}, {what}: {problem}, exit code {done.code}: {' '.join((done.told + done.out).split())[-250:]}"


def test_training_again_with_a_damaged_file(server: Server, whole: Left, stopped: Path, tmp_path: Path) -> None:
    """A finished run says what it said before, a stopped one ends as it would have, or a sentence names the file."""
    problems = []
    for run, names in (
        (whole.path, ("results.json", "run.json")),
        (stopped, ("run.json", "metrics.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt")),
    ):
        for name, what, visible, path in try_damage(run, names, tmp_path, 3 * len(names)):
            done = train(server, path)
            if unclear := done.find_fault(names=Path(name).name) if done.code else "":
                problems.append(describe(name, what, done, unclear))
            elif not done.code and visible and (changed := Left(path).find_difference(whole)):
                problems.append(describe(name, what, done, f"{changed} differ"))
    assert not problems, f"{len(problems)}\n" + "\n".join(problems)


def test_evaluating_a_run_with_a_damaged_file(server: Server, whole: Left, tmp_path: Path) -> None:
    expected = server.run("src.evaluate", f"run={whole.path}").out
    problems = []
    for name, what, visible, path in try_damage(whole.path, ("config.yaml", "checkpoints/last.ckpt"), tmp_path, 8):
        done = server.run("src.evaluate", f"run={path}")
        if unclear := done.find_fault(names=Path(name).name) if done.code else "":
            problems.append(describe(name, what, done, unclear))
        elif not done.code and visible and done.out != expected:
            problems.append(describe(name, what, done, "another answer"))
    assert not problems, f"{len(problems)}\n" + "\n".join(problems)


def test_reporting_a_run_with_a_damaged_file(server: Server, whole: Left, tmp_path: Path) -> None:
    """The run is shown as it was, or left out with the reason."""
    names = ("results.json", "config.yaml", "metrics.csv", "per_class.csv", "confusion_matrix.csv")
    problems = []
    expected = server.run("src.report", f"runs={whole.path}", f"out={tmp_path / 'whole'}").out.splitlines()[:6]
    for name, what, visible, path in try_damage(whole.path, names, tmp_path, 15):
        done = server.run("src.report", f"runs={path}", f"out={path}-report")
        said = done.told + done.out
        if "Traceback" in said or "(debug=true" in said or done.code not in (0, 1):
            problems.append(describe(name, what, done, "library's error"))
        elif visible and done.out.splitlines()[:6] != expected and Path(name).stem not in said:
            problems.append(describe(name, what, done, "another answer"))
    assert not problems, f"{len(problems)}\n" + "\n".join(problems)
