"""What is exported computes what the run computes, on real images; what cannot be exported says why."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import TINY, compose
from torch import nn

from src.cli.messages import explain_error
from src.config.run import TrainConfig
from src.data.info import DatasetInfo
from src.errors import UserError
from src.export import export_run, run_command
from src.inference import exporting, hub
from src.inference.exporting import export
from src.inference.names import rename_tensors
from src.inference.network import Predictor, build_predictor, open_predictor
from src.models.build import create_model
from src.models.pretrained.reading import read_weights
from src.models.pretrained.weights import load_weights
from src.runs.identity import to_plain
from src.training.run import train
from src.zoo.registry import row

FAMILIES = (  # one of each, and the side of its images
    ("resnet20", 32),
    ("resnet18", 64),
    ("preact_resnet20", 32),
    ("wrn16_8", 32),
    ("resnext29_8x64d", 32),
    ("se_resnet50", 64),
    ("densenet_bc100_12", 32),
    ("densenet121", 64),
    ("speednet8", 32),
    ("resnet50v2", 64),
    ("vgg16_bn_cifar", 32),
    ("alexnet_cifar", 32),
    ("small_cnn", 32),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "run"
    train(compose(*TINY, "trainer.max_epochs=2"), path)
    return path


def shake(network: nn.Module, side: int) -> nn.Module:
    """Scales and shifts of the norms unequal, and their statistics those of images: no mistake hides, no map dies."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.2, 0.2)
    with torch.no_grad():
        for seed in range(3):
            network.train()(torch.randn(8, 3, side, side, generator=torch.Generator().manual_seed(seed)))
    return network.eval()


def make_predictor(name: str, side: int, classes: int = 10) -> Predictor:
    """A network of the registry with random weights, as if it were trained."""
    config: TrainConfig = compose("data=cifar10", f"model={name}", f"data.image_size={side}", "trainer=cpu")
    torch.manual_seed(0)
    network = shake(create_model(name, num_classes=classes), side)
    normalization = {"name": "dataset", "mean": [0.49, 0.48, 0.44], "std": [0.24, 0.24, 0.26], "mean_image": None}
    checkpoint: Any = {
        "state_dict": {f"model.{key}": value for key, value in network.state_dict().items()},
        "config": to_plain(config),
        "info": {"classes": tuple(map(str, range(classes))), "channels": 3, "image_size": side},
        "normalization": normalization,
    }
    return build_predictor(Path("made.ckpt"), checkpoint, config)


def photos(side: int, count: int = 3) -> list[torch.Tensor]:
    return list(
        torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    )


def test_the_tensors_round_trip_and_open_again(run: Path, tmp_path: Path) -> None:
    found = export_run(run, ["safetensors", "torchvision", "timm"], out=tmp_path)
    assert all(difference < 1e-6 for difference in found.values())
    assert {path.name for path in tmp_path.iterdir()} == {
        "model.safetensors",
        "model_torchvision.pth",
        "model_timm.safetensors",
        "model-card.md",
    }
    again, predictor = open_predictor(tmp_path / "model.safetensors"), open_predictor(run)
    images = list(torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8))
    assert torch.equal(again.compute_logits(images), predictor.compute_logits(images))
    assert again.classes == predictor.classes
    assert "conv1.weight" in torch.load(tmp_path / "model_torchvision.pth", weights_only=True)
    stored = (tmp_path / "model.safetensors").read_bytes()
    assert str(run).encode() not in stored and str(run) not in (tmp_path / "model-card.md").read_text()


def test_a_program_takes_bytes_and_gives_probabilities(run: Path, tmp_path: Path) -> None:
    (run / "trust.json").write_text('{"temperature": 1.7}')
    try:
        found = export_run(run, ["torch_export"], out=tmp_path, preprocess=True)
        export_run(run, ["safetensors"], out=tmp_path)
        assert open_predictor(tmp_path / "model.safetensors").temperature == 1.7
        predictor = open_predictor(run)
    finally:
        (run / "trust.json").unlink()
    assert found["torch_export"] < 1e-5
    extra = {"metadata.json": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=extra).module()
    images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    expected = predictor.compute_probabilities(predictor.compute_logits(list(images)))
    assert torch.allclose(program(images), expected, atol=1e-5)
    metadata = json.loads(extra["metadata.json"])
    assert json.loads(metadata["classes"]) == list("0123456789") and metadata["output"] == "probabilities"


@pytest.mark.slow
def test_onnx_takes_batches_of_any_size_and_names_its_classes(run: Path, tmp_path: Path) -> None:
    import onnx

    assert export_run(run, ["onnx"], out=tmp_path)["onnx"] < 1e-5
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["classes"]) == list("0123456789")
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert export_run(run, ["onnx"], out=tmp_path, preprocess=True)["onnx"] < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), FAMILIES)
def test_one_of_each_family_is_exported(name: str, side: int, tmp_path: Path) -> None:
    predictor = make_predictor(name, side)
    logits = predictor.compute_logits(photos(side))
    assert (logits[0] - logits[1]).abs().max() > 1e-3 * logits.abs().max()  # they depend on the image
    for kind in ("onnx", "torch_export"):
        one = export(predictor, photos(side), tmp_path, kind=kind, preprocess=False)
        assert one.difference < 1e-5, (kind, one.difference)


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("resnet18", "torchvision"),
        ("resnext50_32x4d", "torchvision"),
        ("densenet121", "torchvision"),
        ("vgg16_bn", "torchvision"),
        ("wrn50_2", "timm"),
        ("se_resnet50", "timm"),
        ("densenet121", "timm"),
    ],
)
def test_the_names_are_those_of_the_library(name: str, library: str) -> None:
    """Its own network has the same names and shapes; without numbers, for these are large."""
    import timm
    import torchvision

    with torch.device("meta"):
        state = rename_tensors(create_model(name, num_classes=7).state_dict(), row(name), library)
        theirs = {"wrn50_2": "wide_resnet50_2", "se_resnet50": "seresnet50"}.get(name, name)
        other = (
            timm.create_model(theirs, num_classes=7)
            if library == "timm"
            else torchvision.models.get_model(theirs, weights=None, num_classes=7)
        )
    expected = {key: value.shape for key, value in other.state_dict().items()}
    assert {key: value.shape for key, value in state.items()} == expected


@pytest.mark.slow
def test_their_network_computes_the_same(tmp_path: Path) -> None:
    one = export(make_predictor("resnet18", 32), photos(32), tmp_path, kind="torchvision", preprocess=False)
    assert one.difference < 1e-5 and "torchvision's network" in one.by


def test_a_family_without_their_names_is_refused(tmp_path: Path) -> None:
    for name, library in (("preact_resnet20", "torchvision"), ("speednet8", "timm"), ("vgg16", "timm")):
        with torch.device("meta"):
            state = create_model(name).state_dict()
        with pytest.raises(UserError, match=f"format={library}: {library} has no names.*use format=safetensors"):
            rename_tensors(state, row(name), library)


def test_a_file_that_computes_something_else_does_not_stay(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, module: nn.Module, given: Any, predictor: Any, metadata: Any) -> Any:
        path.write_text("wrong")
        return (lambda images: module(images) * 1.001), "nothing"

    monkeypatch.setitem(exporting.WRITERS, "safetensors", write)
    with pytest.raises(UserError, match="differs from the run by 1.0e-03.*it was removed"):
        export_run(run, ["safetensors"], out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_card_has_a_header_that_the_hub_reads(run: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    export_run(run, ["safetensors"], out=tmp_path, license_name="apache-2.0")
    text = (tmp_path / "model-card.md").read_text()
    header = yaml.safe_load(re.match(r"---\n(.*?)---\n", text, re.DOTALL)[1])  # type: ignore[index]
    metric = header["model-index"][0]["results"][0]["metrics"][0]
    measured = json.loads((run / "results.json").read_text())["metrics"]["test/accuracy"]
    assert metric["type"] == "accuracy" and metric["value"] == pytest.approx(measured, abs=1e-6)
    card = ModelCard(text)
    assert card.data.license == "apache-2.0" and card.data.eval_results
    assert {result.metric_type for result in card.data.eval_results} >= {"accuracy", "f1"}


def test_an_upload_goes_to_the_hub_without_a_token_of_ours(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[str, Any]] = []

    class Hub:
        def __init__(self, **arguments: Any) -> None:
            assert not arguments

        def create_repo(self, repository: str, **arguments: Any) -> str:
            calls.append((repository, arguments))
            return f"https://hub/{repository}"

        def upload_file(self, *, path_or_fileobj: Path, path_in_repo: str, repo_id: str) -> None:
            assert path_or_fileobj.is_file() and repo_id == "me/net"
            calls.append((path_in_repo, None))

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    export_run(run, ["safetensors"], out=tmp_path, push="me/net")
    assert calls == [
        ("me/net", {"private": True, "exist_ok": True}),
        ("model.safetensors", None),
        ("README.md", None),
    ]
    monkeypatch.setattr(Hub, "create_repo", lambda *_, **__: (_ for _ in ()).throw(OSError("401 for hf_secret")))
    with pytest.raises(UserError) as raised:
        hub.push(tmp_path, "me/net", public=False)
    told = capsys.readouterr()
    assert "hf_secret" not in str(raised.value) + told.out + told.err and "log in by" in str(raised.value)


def test_a_detector_is_refused_with_the_reason(tmp_path: Path) -> None:
    config = compose(
        "data=coco", "task=detection", "model=resnet18", "trainer=cpu", f"data.root={tmp_path}", "data.image_size=64"
    )
    info = DatasetInfo("coco", ("a", "b"), 3, 64, (0.5,) * 3, (0.5,) * 3)
    normalization: Any = {"name": "imagenet", "mean": [0.5] * 3, "std": [0.5] * 3, "mean_image": None}
    from src.tasks.build import build_network

    network = build_network(config, info, normalization)
    checkpoint: Any = {
        "state_dict": {f"model.{key}": value for key, value in network.state_dict().items()},
        "info": {"classes": ("a", "b"), "channels": 3, "image_size": 64},
        "normalization": normalization,
    }
    predictor = build_predictor(tmp_path / "last.ckpt", checkpoint, config)
    with pytest.raises(UserError, match="only classifiers are exported; a detector decides while it runs"):
        export(predictor, [], tmp_path, kind="onnx", preprocess=False)


def test_wrong_inputs_are_one_sentence(run: Path, tmp_path: Path) -> None:
    wrong = {
        ("format=onnx",): "run= is missing",
        (f"run={run}",): "format= is missing",
        (f"run={run}", "format=onx"): "format=onx: choose one of",
        (f"run={run}", "format=onnx", "preprocess=1"): "preprocess=1: true or false",
        (f"run={run}", "format=timm", "preprocess=true"): "holds tensors alone",
        (f"run={run}", "format=timm", "push=nobody"): "push=nobody: name a repository",
        (f"run={run}", "format=timm", "images=absent"): "images=absent: no such file",
        (f"run={tmp_path}", "format=timm"): "no run directory",
    }
    for words, sentence in wrong.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["export", *words])
            with pytest.raises(Exception) as raised:
                run_command()
            told = explain_error(raised.value)
            assert sentence in told and "\n" not in told, told


def test_an_own_safetensors_file_starts_a_training(run: Path, tmp_path: Path) -> None:
    export_run(run, ["safetensors"], out=tmp_path)
    pretrained = read_weights(tmp_path / "model.safetensors")
    assert pretrained.naming == "ours" and pretrained.normalize == "weights"
    assert pretrained.classes == tuple("0123456789")
    network = create_model("cifar_resnet", in_channels=1, depth=8, width=4)
    assert "the head among them" in load_weights(
        network, pretrained, path=tmp_path / "model.safetensors", classes=tuple("0123456789")
    )
