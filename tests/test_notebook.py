"""The notebook in docs/notebooks: stored without outputs, and every cell runs, in a process and folder of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, environment

NOTEBOOK = ROOT / "docs" / "notebooks" / "first-steps.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
TEXT = "\n".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown")


def test_it_is_stored_without_outputs_and_its_links_lead_somewhere() -> None:
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in CELLS if "outputs" in cell)
    for number, code in enumerate(CODE):
        compile(code, f"cell {number}", "exec")
    for link in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (NOTEBOOK.parent / link).exists(), link


@pytest.mark.slow
def test_every_cell_runs(tmp_path: Path) -> None:
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join([*CODE, 'assert plt.get_fignums(), "it has drawn"']))
    env = environment() | {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test error") == 2 and len(os.listdir(tmp_path / "outputs" / "digits")) == 1
