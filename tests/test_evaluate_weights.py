"""Weights of others are measured without a training, and a function that they were not trained in is noticed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TINY, compose, results
from torch import Tensor

from src.errors import UserError
from src.evaluate import evaluate, evaluate_others
from src.inference.foreign import evaluate_weights
from src.inference.names import rename_tensors
from src.inference.network import open_predictor
from src.inference.variants import Variant, change_dials, describe_variant
from src.models.pretrained.naming import TORCHVISION, strip_prefixes, translate_names
from src.models.pretrained.statistics import Mismatch
from src.report.__main__ import make_report
from src.report.result import read_result
from src.runs.identity import compute_code_hash
from src.training.assemble import assemble
from src.training.checkpoints import extract_network_weights, load_checkpoint
from src.training.run import train
from src.training.settle import settle

DATA = ("data=digits", "trainer=cpu", "trainer.threads=1")
NET = ("model=cifar_resnet", "model.depth=8", "model.width=4")
BOTH = "model.zero_padding=both"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose zeros lie on both sides, and whose pixels are scaled by ImageNet's mean and deviation."""
    path = tmp_path_factory.mktemp("weights") / "run"
    train(compose(*TINY, BOTH, "data.normalize=imagenet", "trainer.max_epochs=5"), path)
    return path


@pytest.fixture(scope="module")
def weights(run: Path) -> Path:
    """Its tensors under the names, and in the container, that are most used for networks of CIFAR."""
    state = rename_tensors(
        extract_network_weights(load_checkpoint(run / "checkpoints" / "last.ckpt")), own(run), "timm"
    )
    theirs = {f"module.{name.replace('fc.', 'linear.')}": value for name, value in state.items()}
    torch.save({"state_dict": theirs, "best_prec1": 91.7}, run.parent / "resnet.th")
    return run.parent / "resnet.th"


def own(run: Path) -> Any:
    return open_predictor(run).config.model


def measured(weights: Path, out: Path, *words: str) -> dict[str, Any]:
    evaluate_weights(str(weights), [*DATA, *words], out)
    return results(out)


def test_the_function_that_weights_were_trained_in_is_found_and_measured(
    run: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measured(weights, tmp_path / "out", *NET)
    told = " ".join(capsys.readouterr().err.split())
    assert "Warning: the statistics of the BatchNorms do not agree" in told and f"with {BOTH}, so" in told
    trained = results(run)["metrics"]
    for name in ("test/accuracy", "test/loss"):
        assert found["metrics"][name] == pytest.approx(trained[name], abs=1e-5)
    check = found["weights"]["check"]
    assert check["measured"]["zero_padding"] == "both" and check["measured"]["normalize"] == "imagenet"
    assert check["as_typed"]["distance"] > 0.25 > check["measured"]["distance"]
    assert (found["n_train"], found["n_val"], found["n_test"], found["epochs"]) == (0, 0, 360, 0)


def test_what_is_typed_is_measured_with_a_warning(
    run: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measured(weights, tmp_path / "out", *NET, "model.zero_padding=end")
    told = capsys.readouterr().err
    assert f"with {BOTH}; what was typed is measured" in told
    assert found["metrics"]["test/accuracy"] < results(run)["metrics"]["test/accuracy"] - 0.1


def test_the_right_function_is_measured_without_a_warning(
    run: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measured(weights, tmp_path / "out", *NET, BOTH)
    told = capsys.readouterr().err
    assert "agree with the data" in told and "Warning" not in told
    assert found["metrics"]["test/accuracy"] == pytest.approx(results(run)["metrics"]["test/accuracy"], abs=1e-6)


def test_a_wrong_scaling_of_pixels_is_named(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(weights, tmp_path / "out", *NET, BOTH, "data.normalize=none")
    assert "with data.normalize=imagenet; what was typed is measured" in capsys.readouterr().err


def test_statistics_that_no_variant_explains_are_told_with_the_usual_suspects(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = extract_network_weights(load_checkpoint(run / "checkpoints" / "last.ckpt"))
    for name, value in state.items():
        if name.endswith("running_var"):
            value *= 30
    torch.save(state, tmp_path / "odd.pth")
    measured(tmp_path / "odd.pth", tmp_path / "out", *NET)
    told = capsys.readouterr().err
    assert "None that can be tried agrees" in told and "channel order" in told


def test_the_stride_of_a_bottleneck_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Random weights whose BatchNorms have seen the data: what they have learned is all that the check looks at."""
    net = ("model=cifar_resnet", "model.depth=11", "model.block=bottleneck", "model.shortcut=B", "model.width=8")
    assembly = assemble(settle(compose(*DATA, *net, "model.stride_in=1x1")))
    network = assembly.network.train()
    with torch.no_grad():
        for _ in range(6):
            for images, _ in assembly.data.train_loader():
                network(images)
    torch.save(network.state_dict(), tmp_path / "v1.pth")
    found = measured(tmp_path / "v1.pth", tmp_path / "out", *net)
    assert "with model.stride_in=1x1, so they are measured with that" in capsys.readouterr().err
    assert found["weights"]["check"]["measured"]["stride_in"] == "1x1"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("module.layer1.0.shortcut.0.weight", "backbone.stages.0.0.shortcut.0.weight"),
        ("conv1.0.weight", "backbone.stem.0.0.weight"),
        ("conv3_x.1.residual_function.3.weight", "backbone.stages.1.1.residual.2.0.weight"),
        ("conv3_x.1.residual_function.7.bias", "backbone.stages.1.1.residual.4.1.bias"),
        ("conv2_x.0.shortcut.1.bias", "backbone.stages.0.0.shortcut.1.bias"),
        ("linear.bias", "head.linear.bias"),
    ],
)
def test_the_names_of_networks_for_cifar_are_known(theirs: str, ours: str) -> None:
    (found,) = translate_names(strip_prefixes({theirs: torch.zeros(1)}), TORCHVISION)
    assert found == ours


def test_a_named_network_is_measured_under_its_familys_name() -> None:
    config = compose("data=cifar10", "model=resnet20")
    variant = Variant((("zero_padding", "both"),), config.data.normalize, Mismatch(0.1, 19))
    assert describe_variant(variant, config) == "model=cifar_resnet model.depth=20 model.zero_padding=both"
    changed = change_dials(config, dict(variant.dials)).model
    assert changed.name == "cifar_resnet" and changed.zero_padding == "both"  # type: ignore[attr-defined]


def test_classes_in_another_order_are_suspected_where_only_the_answers_are_wrong(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state: dict[str, Tensor] = extract_network_weights(load_checkpoint(run / "checkpoints" / "last.ckpt"))
    for name in ("head.linear.weight", "head.linear.bias"):
        state[name] = state[name].roll(1, 0)
    torch.save(state, tmp_path / "turned.pth")
    measured(tmp_path / "turned.pth", tmp_path / "out", *NET, BOTH, "data.normalize=imagenet")
    assert "names the classes in another order" in capsys.readouterr().err


def test_the_directory_is_one_of_a_run(run: Path, weights: Path, tmp_path: Path) -> None:
    """A report reads it; src.evaluate and src.predict open it."""
    out = tmp_path / "out"
    found = measured(weights, out, *NET, BOTH)
    result = read_result(out, compute_code_hash())
    assert result.value("test/accuracy") == found["metrics"]["test/accuracy"] and result.epochs == 0
    assert result.value("time/fit_seconds") is None
    make_report([str(out), str(run)], None, tmp_path / "report")
    assert "2 runs" in (tmp_path / "report" / "index.html").read_text()
    assert evaluate(out)["test/accuracy"] == pytest.approx(found["metrics"]["test/accuracy"], abs=1e-6)
    assert open_predictor(out).classes == tuple("0123456789")
    assert {"config.yaml", "confusion_matrix.csv", "test_predictions.npz"} <= {path.name for path in out.iterdir()}
    assert json.loads((out / "run.json").read_text())["config_hash"] == found["config_hash"]


def test_its_own_directory_is_not_that_of_a_training_from_the_weights(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = evaluate_weights(str(weights), [*DATA, *NET, BOTH])
    assert found["run"].startswith("outputs/digits/cifar_resnet/multiclass-weights-")


def test_wrong_inputs_are_one_sentence(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="model= is missing"):
        evaluate_others("x.pth", {}, ["data=digits"])
    with pytest.raises(UserError, match="choose one"):
        evaluate_others("x.pth", {"run": "here"}, ["data=digits"])
    with pytest.raises(UserError, match="name a file"):
        evaluate_others("", {}, [])
    with pytest.raises(UserError, match="no such file"):
        measured(tmp_path / "absent.pth", tmp_path / "out", *NET)
    with pytest.raises(UserError, match="another architecture"):
        measured(weights, tmp_path / "out", "model=resnet32")
    with pytest.raises(UserError, match="nothing to measure"):
        measured(weights, tmp_path / "out", *NET, "data.classes=[3,5,8]")
    assert not (tmp_path / "out").exists()
