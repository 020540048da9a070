"""``python -m src.models``: the table, its JSON, and its refusals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import command

from src.errors import UserError
from src.models import counts
from src.models.__main__ import list_models, select_rows
from src.models.build import create_model
from src.models.complexity import count_macs
from src.models.summary import summarize_layers, summarize_totals
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


def test_the_layers_of_resnet50_are_torchvisions() -> None:
    """Shape by shape and parameter by parameter, in their order, as torchinfo lists them too."""
    from torchvision.models import resnet50

    found: list[tuple[str, tuple[int, ...], int]] = []

    def note(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        found.append((type(module).__name__, tuple(output.shape[1:]), sum(p.numel() for p in module.parameters())))

    with torch.device("meta"):
        theirs, ours = resnet50().eval(), create_model("resnet50", 1000)
    for module in theirs.modules():
        if not any(module.children()):
            module.register_forward_hook(note)
    with torch.no_grad():
        theirs(torch.empty(1, 3, 224, 224, device="meta"))
    layers = summarize_layers(ours, 3, 224)
    assert [(layer.kind, layer.shape, layer.params) for layer in layers if layer.params] == [
        layer for layer in found if layer[2]
    ]
    assert sum(layer.params for layer in layers) == 25_557_032
    assert sum(layer.macs for layer in layers) == count_macs(ours, 3, 224) == 4_089_184_256


def test_the_totals_of_resnet152v2_are_those_of_keras() -> None:
    with torch.device("meta"):
        model = create_model("resnet152v2_convhead")
    layers = summarize_layers(model.train(), 3, 32)
    assert model.training and not any(module._forward_hooks for module in model.modules())
    assert summarize_totals(layers, model) == {
        "parameters": 58_880_842,
        "with buffers, as Keras counts": 59_024_586,
        "the same without the head": 58_331_648,
        "multiply-adds": 223_236_096,
    }
    first = next(layer for layer in layers if layer.name.startswith("head."))
    assert (first.kind, first.shape, first.params) == ("Conv2d", (32, 1, 1), 589_856)


def test_layers_are_listed_in_words_and_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["models", "resnet20", "small_cnn", "--layers", "--classes=100"])
    assert list_models() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "resnet20: 100 classes, images of 3 x 32 x 32" and "parameters: 275,572" in lines
    assert lines[4].split() == ["backbone.stem.0.0", "Conv2d", "16", "x", "32", "x", "32", "432", "442,368"]
    monkeypatch.setattr(sys, "argv", ["models", "resnet20", "--layers", "--json"])
    assert list_models() == 0
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == "resnet20" and found["totals"]["parameters"] == 269_722
    assert found["layers"][0] == {
        "name": "backbone.stem.0.0",
        "kind": "Conv2d",
        "shape": [16, 32, 32],
        "params": 432,
        "statistics": 0,
        "macs": 442_368,
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--layers"], "--layers: name a network"),
        (["resnet20", "--classes=5"], "--classes 5: goes with --layers"),
        (["resnet20", "--layers", "--classes=0"], "--classes 0: type a whole number from 1"),
        (["resnet20", "--layers", "--classes=ten"], "--classes ten: type a whole number"),
    ],
)
def test_wrong_words_for_layers_are_one_sentence(
    words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["models", *words])
    with pytest.raises(UserError, match=sentence):
        list_models()
