"""``python -m src.models``: the table, its JSON, and its refusals."""

import json
import subprocess
import sys

import pytest
from helpers import command

from src.models.__main__ import list_models, select_rows
from src.zoo.registry import rows


def test_without_globs_every_network_is_listed() -> None:
    assert select_rows([]) == list(rows().values())


def test_json_has_a_network_a_line_with_its_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["models", "--json", "resnet20", "*18_cifar"])
    assert list_models() == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "resnet20", "params": 269_722, "macs": 40_551_040, "family": "cifar_resnet"},
        {"name": "resnet18_cifar", "params": 11_173_962, "macs": 555_422_720, "family": "imagenet_resnet"},
        {"name": "plain18_cifar", "params": 11_000_138, "macs": 549_131_264, "family": "imagenet_resnet"},
    ]


def test_table_is_aligned(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["models", "resnet20", "plain*_cifar"])
    assert list_models() == 0
    header, _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["resnet20", "plain18_cifar", "plain34_cifar"]
    assert {line.index("He et al. 2016") for line in lines} == {header.index("source")}


def test_a_glob_without_match_is_one_sentence() -> None:
    done = command("src.models", "resnet20", "resnt56")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("model=resnt56: no such model") and "resnet56" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_closed_pipe_leaves_no_traceback() -> None:
    program = [sys.executable, "-m", "src.models", "resnet20"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
