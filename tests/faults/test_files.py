"""A kill or an error at any file operation loses nothing that was computed, and the same command again ends as if none
had been.

A command's operations are counted first; then it is typed again, once for each of those that are chosen, and something
happens at that one. FAULTS=all chooses all of them.
"""

import errno
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from faults.harness import (
    CHANGES,
    ERRORS,
    FAIL,
    KILL,
    READ,
    TEAR,
    WORDS,
    WRITE,
    Done,
    Fault,
    Left,
    Operation,
    Server,
    count_saved_epochs,
    list_trained_epochs,
    name_file,
    read_files,
    train,
)
from helpers import choose_evenly
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.needs("cc|gcc|clang")]


def try_training(server: Server, path: Path, fault: Fault, whole: Left) -> tuple[Done, str]:
    """Train with a fault, and again without; return how the first has ended, and what the second has lost."""
    done = train(server, path, fault=fault)
    again = train(server, path)
    if again.code:
        return done, f"the same command ends with {again.code}: {again.told[-300:]}"
    saved = count_saved_epochs(done.operations, fault.at)
    if repeated := [epoch for epoch in list_trained_epochs(again.told) if epoch <= saved]:
        return done, f"epochs {repeated} are trained again"
    return done, Left(path).find_difference(whole)


def test_a_kill_at_any_file_operation_loses_nothing(server: Server, whole: Left, tmp_path: Path) -> None:
    assert len(whole.changes) > 40
    tries = [(KILL, operation) for operation in choose_evenly(whole.changes, 10, get_kind)]
    writes = [operation for operation in whole.changes if operation.kind == WRITE]
    tries += [(TEAR, operation) for operation in choose_evenly(writes, 3)]
    problems = []
    for action, operation in tries:
        path = tmp_path / f"{action}-{operation.number}"
        done, lost = try_training(server, path, Fault(path, action, operation.number, kinds=CHANGES), whole)
        if done.code != 137 or lost:
            problems.append((operation, action, done.code, lost))
    assert not problems


def get_kind(operation: Operation) -> str:
    return operation.name


def list_tries(operations: Sequence[Operation], most: int) -> Iterable[tuple[Operation, int]]:
    """Yield operations, evenly chosen, each with one of the errors that it may have, in turns; a file is read once."""
    first = {(o.name, o.path): o for o in reversed(operations)}
    possible = [o for o in operations if o.kind != READ or first[o.name, o.path] is o]
    for turn, operation in enumerate(choose_evenly(possible, most, get_kind)):
        errors = [error for error, kinds in ERRORS.items() if kinds & operation.kind]
        if operation.name == "read":  # what is open may be read
            errors.remove(errno.EACCES)
        yield operation, errors[turn % len(errors)]


def describe(operation: Operation, error: int, done: Done, what: str) -> str:
    """Describe what is wrong after an error, with the last words of the command."""
    place = f"{operation.number} {operation.name} {os.path.basename(operation.path)} {errno.errorcode[error]}"
    return f"{place}: exit code {done.code}, {what}; {' '.join(done.told.split())[-250:]}"


def test_an_error_at_any_file_operation_of_a_training_is_told(server: Server, whole: Left, tmp_path: Path) -> None:
    problems = []
    for operation, error in list_tries(whole.operations, 10):
        path = tmp_path / str(operation.number)
        done, lost = try_training(server, path, Fault(path, FAIL, operation.number, error), whole)
        if done.code and (unclear := done.find_fault(names=f"{name_file(operation)}|{path}")):
            problems.append(describe(operation, error, done, unclear))
        if lost:
            problems.append(describe(operation, error, done, lost))
    assert not problems, "\n".join(problems)


def try_errors(
    server: Server,
    tmp_path: Path,
    run: Callable[[Path, Fault | None], Done],
    *,
    most: int,
    kinds: int,
    ignored: str = r"\.log$|\.lock$|study\.db",
) -> list[str]:
    """Run a command into a folder with errors at some of its operations; return what is wrong.

    What it leaves after a second start must be what it leaves without an error.
    """
    whole = tmp_path / "whole"
    counted = run(whole, Fault(whole, kinds=kinds))
    assert counted.code == 0, counted.told
    problems = []
    for operation, error in list_tries(counted.operations, most):
        path = tmp_path / str(operation.number)
        done = run(path, Fault(path, FAIL, operation.number, error, kinds))
        if done.code and (unclear := done.find_fault(names=f"{name_file(operation)}|{path}")):
            problems.append(describe(operation, error, done, unclear))
        again = run(path, None)
        if again.code:
            problems.append(describe(operation, error, again, "not mended by the same command"))
            continue
        ours, theirs = (read_files(folder, ignored) for folder in (path, whole))
        if differing := [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]:
            problems.append(describe(operation, error, done, f"other files: {sorted(differing)[:3]}"))
    return problems


def test_an_error_in_a_sweep_is_told(server: Server, tmp_path: Path) -> None:
    def sweep(path: Path, fault: Fault | None) -> Done:
        return server.run("src.train", "-m", *WORDS, "seed=0,1", f"output_root={path}", fault=fault)

    problems = try_errors(server, tmp_path, sweep, most=3, kinds=CHANGES)
    assert not problems, "\n".join(problems)


def test_an_error_in_a_search_is_told(server: Server, tmp_path: Path) -> None:
    def search(path: Path, fault: Fault | None) -> Done:
        words = ("hpo=default", "hpo.trials=2", "hpo.name=search")
        return server.run("src.train", "-m", *WORDS, *words, f"output_root={path}", fault=fault)

    problems = try_errors(server, tmp_path, search, most=3, kinds=CHANGES)
    assert not problems, "\n".join(problems)


def test_an_error_in_a_report_is_told(server: Server, whole: Left, tmp_path: Path) -> None:
    def report(path: Path, fault: Fault | None) -> Done:
        return server.run("src.report", f"runs={whole.path}", f"out={path}", fault=fault)

    problems = try_errors(server, tmp_path, report, most=8, kinds=CHANGES)
    assert not problems, "\n".join(problems)


def test_an_error_in_packing_is_told(server: Server, tmp_path: Path) -> None:
    for number in range(4):
        folder = tmp_path / "photos" / ("train", "val")[number // 2] / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (60 * number, 0, 0)).save(folder / f"{number}.png")

    def pack(path: Path, fault: Fault | None) -> Done:
        words = ("data=folder", f"data.root={tmp_path / 'photos'}", f"out={path}", "size=32", "workers=1")
        return server.run("src.pack", *words, fault=fault)

    problems = try_errors(server, tmp_path, pack, most=12, kinds=CHANGES, ignored=r"\.lock$")
    assert not problems, "\n".join(problems)


def test_unreadable_files_of_a_run_are_told(server: Server, whole: Left, tmp_path: Path) -> None:
    """Evaluating and reporting change nothing, so one run serves for all. A report goes on without what it names."""
    problems = []
    for words in (("src.evaluate", f"run={whole.path}"), ("src.report", f"runs={whole.path}", f"out={tmp_path}")):
        counted = server.run(*words, fault=Fault(whole.path, kinds=READ))
        for operation, error in list_tries(counted.operations, 10):
            done = server.run(*words, fault=Fault(whole.path, FAIL, operation.number, error, READ))
            if unclear := done.find_fault(names=f"{name_file(operation)}|{re.escape(str(whole.path))}"):
                problems.append(describe(operation, error, done, unclear))
            elif done.code == 0 and done.out != counted.out and not re.search(name_file(operation), done.told):
                problems.append(describe(operation, error, done, "another answer, without a word"))
    assert not problems, "\n".join(problems)
