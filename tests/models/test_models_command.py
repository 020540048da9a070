"""``python -m src.models``: the table, its JSON, and its refusals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import command

from src.models import counts
from src.models.__main__ import list_models, select_rows
from src.zoo.registry import rows


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_what_was_counted_is_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["models", "resnet20"])
    assert list_models() == 0
    first = capsys.readouterr().out
    monkeypatch.setattr(counts, "measure_network", None)
    assert list_models() == 0 and capsys.readouterr().out == first
    known = counts.read_counts(counts.locate_counts())
    assert known == {"resnet20": (269_722, 40_551_040)}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"resnet20": [1]}', '{"resnet20": [-1, 2]}', '{"resnet20": [true, "a"]}', "[" * 9999, "\xff"],
)
def test_a_wrong_file_of_counts_is_no_file(content: str) -> None:
    path = counts.locate_counts()
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode("latin-1"))
    assert counts.read_counts(path) == {}
    assert list(counts.count_networks(select_rows(["resnet20"]))) == [(269_722, 40_551_040)]
    assert counts.read_counts(path) == {"resnet20": (269_722, 40_551_040)}


def test_a_place_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file := tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    assert list(counts.count_networks(select_rows(["resnet20"]))) == [(269_722, 40_551_040)]


def test_other_code_has_other_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = counts.locate_counts()
    monkeypatch.setattr(counts, "hash_networks", lambda: "0" * 10)
    assert counts.locate_counts() != before


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
