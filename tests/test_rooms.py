"""The rooms of src/: a result depends on the code that its hash is of, and only its row knows a task."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, TINY, environment

from src.runs.identity import ROOMS, compute_code_hash, dump_syntax

NEUTRAL = (
    "cli",
    "config",
    "files",
    "errors",
    "machine",
    "runs",
    "text",
    "train",
    "zoo",
)  # their effect is in the config
TRACE = """
import runpy, sys
sys.argv = ["train", *sys.argv[1:]]
try:
    runpy.run_module("src.train", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
print("MODULES", *sorted(name for name in sys.modules if name.startswith("src.")))
"""
COCO = ("model=resnet18", "data=coco", "data.workers=0", "trainer.limit_test_batches=1", "trainer.limit_val_batches=1")
RUNS = {
    "multiclass": (*TINY, "optim=muon", "optim.ema=0.9"),
    "multilabel": (*COCO, "data.image_size=32", "data.batch_size=4"),
    "detection": (*COCO, "task=detection", "data.image_size=64", "data.batch_size=2", "task.box_samples=8"),
}


@pytest.mark.parametrize(
    "name", [*list(RUNS)[:1], *(pytest.param(name, marks=pytest.mark.slow) for name in list(RUNS)[1:])]
)
def test_all_code_that_a_run_uses_is_hashed_or_has_its_effect_in_the_configuration(tmp_path: Path, name: str) -> None:
    words = [*RUNS[name], "trainer=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.threads=1"]
    if "data=coco" in words:
        import coco_set

        words.append(f"data.root={coco_set.make(tmp_path / 'coco')}")
    program = [sys.executable, "-c", TRACE, *words, f"hydra.run.dir={tmp_path / 'run'}"]
    done = subprocess.run(program, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    modules = done.stdout.rpartition("MODULES ")[2].split()
    rooms = {module.split(".")[1] for module in modules}
    # the launcher's plug-in for Hydra is imported by every command
    assert set(ROOMS) <= rooms <= {*ROOMS, *NEUTRAL, "sweep", "report"}, rooms


def test_words_change_no_hash_of_the_code() -> None:
    import ast

    one = 'def f(x: int) -> int:\n    """Doubles."""\n    return 2 * x  # because\n'
    two = 'def f(x: int) -> int:\n    """Return twice the number."""\n\n    return 2 * x\n'
    three = one.replace("2 * x", "3 * x")
    hashes = [dump_syntax(ast.parse(text)) for text in (one, two, three)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert re.fullmatch(r"[0-9a-f]{10}", compute_code_hash())


def test_only_its_row_knows_a_task() -> None:
    asked = re.compile(r"DETECTION|== \"(multiclass|multilabel|detection|instance_segmentation)\"")
    files = [file for file in (ROOT / "src").rglob("*.py") if file.parent.name != "tasks"]
    assert not [str(file) for file in files if asked.search(file.read_text())]


def test_modules_and_functions_are_short() -> None:
    import ast

    for file in (ROOT / "src").rglob("*.py"):
        text = file.read_text()
        assert text.count("\n") <= 300, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 50, f"{file}: {node.name}"


def test_few_entries_lie_directly_in_src() -> None:
    commands = {"train.py", "evaluate.py", "predict.py", "export.py", "pack.py", "new.py", "analyze.py"}
    commands |= {"audit.py", "mistakes.py", "trust.py"}
    entries = {entry.name for entry in (ROOT / "src").iterdir()} - commands - {"__pycache__"}
    assert len(entries) <= 25, sorted(entries)
