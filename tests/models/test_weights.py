"""Weights of others become ours: the same logits, whatever wrapped them; everything else is refused in a sentence."""

import os
import pickle
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from helpers import TINY, compose
from safetensors.torch import save_file
from torch import Tensor, nn

from src.data.info import DatasetInfo
from src.errors import UserError
from src.models.build import build_model
from src.models.pretrained.files import compute_sha256, find_weights
from src.models.pretrained.naming import TORCHVISION, translate_names
from src.models.pretrained.reading import read_weights
from src.models.pretrained.weights import load_weights
from src.zoo.registry import row

CLASSES = tuple(map(str, range(5)))
THOUSAND = tuple(map(str, range(1000)))
THEIR_NAMES = {"wrn50_2": "wide_resnet50_2", "wrn101_2": "wide_resnet101_2"}
SHARED = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_64x4d")
SHARED += ("wrn50_2", "wrn101_2", "densenet121", "densenet161", "densenet201")
SHARED += ("vgg16", "vgg19", "vgg16_bn", "vgg19_bn", "alexnet")


def build(name: str, classes: tuple[str, ...] = CLASSES, channels: int = 3, **dials: Any) -> nn.Module:
    info = DatasetInfo("made", classes, channels, 32, mean=(0.5,) * channels, std=(0.25,) * channels)
    return build_model(replace(row(name), **dials), info).eval()


def shaken(model: nn.Module) -> nn.Module:
    """BatchNorm's values unequal, so that no mistake hides."""
    torch.manual_seed(0)
    for value in model.state_dict().values():
        if value.ndim == 1:
            value.uniform_(0.3, 0.7)
    return model.eval()


def torchvision_network(name: str, **arguments: Any) -> nn.Module:
    return shaken(torchvision.models.get_model(THEIR_NAMES.get(name, name), weights=None, **arguments))


def logits(model: nn.Module, size: int = 64) -> Tensor:
    with torch.inference_mode():
        return model(torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)))


def assert_same_logits(ours: nn.Module, theirs: nn.Module, size: int = 64) -> None:
    expected = logits(theirs, size)
    assert expected.isfinite().all() and expected.std() > 1e-3
    assert (logits(ours, size) - expected).abs().max() <= 1e-5 * expected.abs().max()


def loaded(name: str, path: Path, classes: tuple[str, ...] = THOUSAND) -> tuple[nn.Module, str]:
    model = build(name, classes)
    return model, load_weights(model, read_weights(path), path=path, classes=classes)


def refusal(path: Path, name: str = "resnet18", **arguments: Any) -> str:
    """The line with which reading the file or loading it into the network of that name, then untouched, is refused."""
    with pytest.raises(UserError) as caught:
        attempt(path, name, **arguments)
    message = str(caught.value)
    assert message.startswith(f"model.weights={path}: ") and "\n" not in message
    return message.removeprefix(f"model.weights={path}: ")


def attempt(path: Path, name: str, **arguments: Any) -> None:
    pretrained = read_weights(path)
    model = build(name, **arguments)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    try:
        load_weights(model, pretrained, path=path, classes=CLASSES)
    finally:
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return torchvision_network("resnet18")


@pytest.fixture(scope="module")
def resnet18_file(resnet18: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resnet18") / "resnet18.pth"
    torch.save(resnet18.state_dict(), path)
    return path


# torchvision and timm


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


@pytest.mark.parametrize("name", SHARED)
def test_every_name_of_torchvisions_networks_has_one_of_ours(name: str) -> None:
    with torch.device("meta"):
        ours = build(name, THOUSAND)
        theirs = torchvision.models.get_model(THEIR_NAMES.get(name, name), weights=None)
    assert shapes(translate_names(theirs.state_dict(), TORCHVISION)) == shapes(ours.state_dict())


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("resnet34", "resnet34"),
        ("resnet101", "resnet101"),
        ("wide_resnet50_2", "wrn50_2"),
        ("resnext101_32x8d", "resnext101_32x8d"),
        ("seresnet50", "se_resnet50"),
        ("seresnet101", "se_resnet101"),
        ("seresnext50_32x4d", "se_resnext50_32x4d"),
        ("densenet169", "densenet169"),
    ],
)
def test_every_name_of_timms_networks_has_one_of_ours(theirs: str, ours: str) -> None:
    import timm

    with torch.device("meta"):
        state = timm.create_model(theirs).state_dict()
        assert shapes(translate_names(state, TORCHVISION)) == shapes(build(ours, THOUSAND).state_dict())


def test_timms_vgg_gives_its_backbone() -> None:
    """Its head is of convolutions; ours stays fresh."""
    import timm

    with torch.device("meta"):
        state = translate_names(timm.create_model("vgg16").state_dict(), TORCHVISION)
        ours = build("vgg16", THOUSAND).state_dict()
    backbone = {name for name in ours if name.startswith("backbone.")}
    assert {name for name in state if not name.startswith("head.")} == backbone
    assert all(state[name].shape == ours[name].shape for name in backbone)


@pytest.mark.parametrize(
    ("prefix", "container"),
    [
        ("", "model"),
        ("module.", "state_dict"),
        ("_orig_mod.module.", None),
        ("module._orig_mod.", "model_state_dict"),
        ("model._orig_mod.", "net"),
    ],
)
def test_prefixes_and_containers_are_taken_off(
    resnet18: nn.Module, tmp_path: Path, prefix: str, container: str | None
) -> None:
    state: Any = {prefix + name: value for name, value in resnet18.state_dict().items()}
    torch.save({container: state, "epoch": 3} if container else state, tmp_path / "weights.pt")
    pretrained = read_weights(tmp_path / "weights.pt")
    assert pretrained.state.keys() == build("resnet18").state_dict().keys()
    assert (pretrained.naming, pretrained.normalize) == ("torchvision", "imagenet")
    assert pretrained.normalization is None and pretrained.classes is None


def test_wrappers_inside_and_beside_the_network_are_taken_off(resnet18: nn.Module, tmp_path: Path) -> None:
    from argparse import Namespace

    averaged = {f"module.{name}": value for name, value in resnet18.state_dict().items()}
    averaged["n_averaged"] = torch.tensor(7)
    other = {name: value + 1 for name, value in resnet18.state_dict().items()}
    content = {"state_dict_ema": averaged, "state_dict": other, "args": Namespace(lr=0.1)}
    torch.save(content, tmp_path / "timm.pth")
    model, _ = loaded("resnet18", tmp_path / "timm.pth")
    assert_same_logits(model, resnet18)
    parallel = {f"features.module.{i}.weight": torch.zeros(1) for i in (0, 3)}
    torch.save(parallel, tmp_path / "alexnet.pth")
    assert [*read_weights(tmp_path / "alexnet.pth").state] == [
        "backbone.features.0.weight",
        "backbone.features.3.weight",
    ]


def test_resnet18_gives_the_same_logits(resnet18: nn.Module, resnet18_file: Path) -> None:
    model, report = loaded("resnet18", resnet18_file)
    assert_same_logits(model, resnet18)
    assert report == (
        f"Weights from {resnet18_file} (torchvision naming): 122 tensors loaded (11.7 M values), the head among them."
    )


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("resnet50", ".safetensors"),
        ("resnext50_32x4d", ".safetensors"),
        pytest.param("wrn50_2", ".pth", marks=pytest.mark.slow),
        pytest.param("vgg19_bn", ".safetensors", marks=pytest.mark.slow),
        ("alexnet", ".pth"),
    ],
)
def test_torchvisions_networks_give_the_same_logits(name: str, suffix: str, tmp_path: Path) -> None:
    theirs = torchvision_network(name)
    path = tmp_path / f"weights{suffix}"
    state = {f"module._orig_mod.{name}": value for name, value in theirs.state_dict().items()}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    model, _ = loaded(name, path)
    assert_same_logits(model, theirs)


def test_densenet_of_the_published_files_gives_the_same_logits(tmp_path: Path) -> None:
    """They were written when the layers were called norm.1; and before torch wrote zip files."""
    theirs = torchvision_network("densenet121")
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): value
        for name, value in theirs.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    model, _ = loaded("densenet121", tmp_path / "old.pth")
    assert_same_logits(model, theirs)


def test_timms_squeeze_and_excitation_gives_the_same_logits(tmp_path: Path) -> None:
    import timm

    theirs = shaken(timm.create_model("seresnet50"))
    save_file(theirs.state_dict(), tmp_path / "timm.safetensors")
    model, _ = loaded("se_resnet50", tmp_path / "timm.safetensors")
    assert_same_logits(model, theirs)
    assert "such as backbone.stages.0.0.squeeze.fc1.bias" in refusal(tmp_path / "timm.safetensors", "resnet50")


def test_weights_take_the_models_memory_format_and_type(resnet18: nn.Module, resnet18_file: Path) -> None:
    model = build("resnet18", THOUSAND).to(memory_format=torch.channels_last, dtype=torch.bfloat16)
    load_weights(model, read_weights(resnet18_file), path=resnet18_file, classes=THOUSAND)
    expected = resnet18.state_dict()["layer1.0.conv1.weight"]
    got = model.state_dict()["backbone.stages.0.0.residual.0.0.weight"]
    assert got.is_contiguous(memory_format=torch.channels_last) and got.dtype == torch.bfloat16
    assert torch.equal(got, expected.bfloat16())


# The head


def test_a_head_of_other_classes_stays_fresh(resnet18: nn.Module, resnet18_file: Path) -> None:
    model = build("resnet18")
    before = model.get_parameter("head.linear.weight").clone()
    report = load_weights(model, read_weights(resnet18_file), path=resnet18_file, classes=CLASSES)
    assert torch.equal(model.get_parameter("head.linear.weight"), before)
    assert torch.equal(model.get_parameter("backbone.stem.0.0.weight"), resnet18.get_parameter("conv1.weight"))
    assert report == (
        f"Weights from {resnet18_file} (torchvision naming): 120 tensors loaded (11.2 M values); "
        "skipped: the file's head (1000 classes); fresh: head (5 classes)."
    )


def test_a_head_is_not_needed(resnet18: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    state = resnet18.state_dict()
    save_file({name: value for name, value in state.items() if not name.startswith("fc.")}, path)
    assert loaded("resnet18", path, CLASSES)[1].endswith("(11.2 M values); fresh: head (5 classes).")
    state |= {"fc.1.weight": torch.zeros(7, 512), "fc.1.bias": torch.zeros(7)}  # a dropout before it
    del state["fc.weight"], state["fc.bias"]
    save_file(state, path)
    assert "skipped: the file's head (7 classes); fresh" in loaded("resnet18", path, CLASSES)[1]


# Ours


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A network and a checkpoint of it, as a run leaves it."""
    model, path = shaken(build("resnet20")), tmp_path_factory.mktemp("ours") / "last.ckpt"
    checkpoint = {
        "state_dict": {f"model.{name}": value for name, value in model.state_dict().items()},
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.zeros(3)}}}],
        "info": {"classes": CLASSES, "channels": 3},
        "normalization": {"name": "dataset", "mean": [0.5] * 3, "std": [0.25] * 3, "mean_image": None},
        "config": {"model": {"name": "resnet20"}},
    }
    torch.save(checkpoint, path)
    return model, path


def test_our_checkpoint_brings_its_normalization_and_classes(ours: tuple[nn.Module, Path]) -> None:
    model, path = ours
    pretrained = read_weights(path)
    assert (pretrained.naming, pretrained.normalize, pretrained.classes) == ("ours", "weights", CLASSES)
    assert pretrained.normalization == {"name": "dataset", "mean": [0.5] * 3, "std": [0.25] * 3, "mean_image": None}
    other = build("resnet20")
    assert load_weights(other, pretrained, path=path, classes=list(CLASSES)).endswith("the head among them.")
    assert torch.equal(logits(other), logits(model))


def test_a_head_that_learned_other_classes_of_the_same_number_stays_fresh(ours: tuple[nn.Module, Path]) -> None:
    report = loaded("resnet20", ours[1], tuple("abcde"))[1]
    assert report.endswith("skipped: the file's head (5 other classes); fresh: head (5 classes).")


def test_our_weights_alone_say_nothing_of_their_pixels(ours: tuple[nn.Module, Path], tmp_path: Path) -> None:
    save_file(ours[0].state_dict(), tmp_path / "ours.safetensors")
    pretrained = read_weights(tmp_path / "ours.safetensors")
    assert (pretrained.naming, pretrained.normalize) == ("ours", "dataset")
    assert pretrained.normalization is None and pretrained.classes is None


# Keras


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor]:
    """ResNet50V2 as Keras writes it, in its three layouts, and its logits of our images."""
    folder = tmp_path_factory.mktemp("keras")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(folder / "home"))
        warnings.simplefilter("ignore")
        import keras

        keras.utils.set_random_seed(0)
        arguments = {"weights": None, "classifier_activation": None, "input_shape": (64, 64, 3)}
        network = keras.applications.ResNet50V2(**arguments)
        for variable in network.variables:
            if len(variable.shape) == 1:
                variable.assign(keras.random.uniform(variable.shape, 0.3, 0.7))
        for name in ("k.h5", "k.keras"):
            network.save(folder / name)
        network.save_weights(folder / "k.weights.h5")
        images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        output = network(images.permute(0, 2, 3, 1)).detach().cpu()
    return folder, output


@pytest.mark.parametrize("name", ["k.h5", "k.weights.h5", "k.keras"])
def test_keras_resnet50v2_gives_the_same_logits(keras_files: tuple[Path, Tensor], name: str) -> None:
    folder, expected = keras_files
    pretrained = read_weights(folder / name)
    assert (pretrained.naming, pretrained.normalize) == ("keras", "half")
    model, report = loaded("resnet50v2", folder / name)
    assert expected.isfinite().all() and expected.std() > 1e-3
    assert (logits(model) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert report.endswith("(keras naming): 272 tensors loaded (25.6 M values), the head among them.")


def test_keras_names_of_older_versions_are_understood(keras_files: tuple[Path, Tensor], tmp_path: Path) -> None:
    """They count layers of the same name, mark outputs, and put a network that is a layer in a group of its own."""
    import h5py

    expected = read_weights(keras_files[0] / "k.h5").state
    with h5py.File(keras_files[0] / "k.h5") as new, h5py.File(tmp_path / "old.h5", "w") as old:
        for layer, group in new["model_weights"].items():
            for variable, value in group.get(layer, {}).items():
                name = "dense_1" if layer == "predictions" else layer
                old[f"model_weights/resnet50v2/{name}/{name}_7/{variable}:0"] = value[()]
        old["optimizer_weights/conv1_conv/bias"] = [0.0]
    given = read_weights(tmp_path / "old.h5").state
    assert all(torch.equal(given[name], value) for name, value in expected.items() if name.startswith("backbone."))
    assert {name for name in given if name.startswith("head.")} == {"head.dense_1_7.weight", "head.dense_1_7.bias"}


def test_keras_weights_without_a_head_fit_the_network_with_another(keras_files: tuple[Path, Tensor]) -> None:
    report = loaded("resnet50v2", keras_files[0] / "k.h5", CLASSES)[1]
    assert report.endswith("skipped: the file's head (1000 classes); fresh: head (5 classes).")


def test_another_keras_file_is_refused(keras_files: tuple[Path, Tensor], tmp_path: Path) -> None:
    import h5py

    assert refusal(keras_files[0] / "k.h5", "resnet50").startswith("weights of another architecture: ")
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        file["block1_conv1/block1_conv1/kernel:0"] = torch.zeros(3, 3, 3, 64).numpy()
        file["layers/conv2d/vars/0"] = torch.zeros(3, 3, 3, 64).numpy()
    assert refusal(tmp_path / "vgg.h5") == (
        "its names (block1_conv1.weight, conv2d.weight, …) are not those of Keras's ResNetV2, "
        "as model.save('x.h5') writes them"
    )


# Finding


def test_a_file_is_itself(resnet18_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_weights(str(resnet18_file), "resnet18") == resnet18_file
    monkeypatch.setenv("HOME", str(resnet18_file.parent))
    assert find_weights("~/resnet18.pth", "resnet18") == resnet18_file


def test_sha256_is_the_files(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert compute_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_run_directory_is_its_checkpoint(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    from src.runs.identity import to_plain

    with pytest.raises(UserError, match=f"^model.weights={tmp_path}: no run directory .it holds no config.yaml.; "):
        find_weights(str(tmp_path), "resnet20")
    OmegaConf.save(OmegaConf.create(to_plain(compose(*TINY, "protocol=best_val"))), tmp_path / "config.yaml")
    with pytest.raises(UserError, match=f"^model.weights={tmp_path}: this run has not saved its best.ckpt yet$"):
        find_weights(str(tmp_path), "resnet20")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/best.ckpt").touch()
    assert find_weights(str(tmp_path), "resnet20") == tmp_path / "checkpoints/best.ckpt"


@pytest.fixture
def hub(tmp_path: Path, resnet18_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch.hub will put torchvision's resnet18; what lies behind its address is ours."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    name = f"resnet18-{compute_sha256(resnet18_file)[:8]}.pth"
    (tmp_path / name).symlink_to(resnet18_file)
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    monkeypatch.setattr(weights.value, "url", f"file://{tmp_path / name}")
    return tmp_path / "hub/checkpoints" / name


def no_network(*_: Any, **__: Any) -> None:
    raise URLError("no network here")


@pytest.mark.parametrize("name", ["ResNet18_Weights.IMAGENET1K_V1", "IMAGENET1K_V1", "DEFAULT"])
def test_a_torchvision_name_is_found_in_the_cache(
    hub: Path, resnet18_file: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    with pytest.raises(UserError) as caught:
        find_weights(name, "resnet18")
    assert str(caught.value) == (
        f"model.weights={name}: {torchvision.models.ResNet18_Weights.DEFAULT.url} cannot be downloaded "
        f"(no network here); put that file at {hub}, or anywhere else and type model.weights=<path>"
    )
    hub.write_bytes(resnet18_file.read_bytes()[:1000])
    with pytest.raises(UserError, match=f"{hub} is damaged or incomplete; delete it, and it is downloaded again$"):
        find_weights(name, "resnet18")
    hub.write_bytes(resnet18_file.read_bytes())
    assert find_weights(name, "resnet18") == hub


def test_a_torchvision_name_is_downloaded(hub: Path, resnet18_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_weights("DEFAULT", "resnet18") == hub
    assert compute_sha256(hub) == compute_sha256(resnet18_file)


def test_a_download_of_something_else_is_not_kept(hub: Path) -> None:
    source = Path(torchvision.models.ResNet18_Weights.DEFAULT.url.removeprefix("file://"))
    source.unlink()
    source.write_bytes(b"<html>Log in to the network first</html>")
    with pytest.raises(UserError, match="^model.weights=DEFAULT: .* cannot be downloaded .invalid hash value"):
        find_weights("DEFAULT", "resnet18")
    assert [*hub.parent.iterdir()] == []


@pytest.mark.parametrize(
    ("name", "model", "reason"),
    [
        ("IMAGENET1K_V1", "resnet20", "torchvision has no weights of a network named resnet20; give a file or a run"),
        ("IMAGENET1K_V2", "resnet18", "no such file, .*; did you mean IMAGENET1K_V1"),
        ("ResNet50_Weights.IMAGENET1K_V3", "resnet50", "no such file, .*; did you mean ResNet50_Weights.IMAGENET1K_V"),
        ("Resnet50_weights.IMAGENET1K_V1", "resnet50", "no such file, .*; did you mean ResNet50_Weights.IMAGENET1K_V1"),
        ("IMAGENET1K_FEATURES", "vgg16", "no such file, "),
        ("nowhere/best.ckpt", "resnet50", "no such file, run directory or torchvision weights"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(name: str, model: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"^model.weights={name}: {reason}") as caught:
        find_weights(name, model)
    assert "\n" not in str(caught.value)


def test_our_wide_resnets_are_torchvisions(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    with pytest.raises(UserError, match=f"put that file at {hub.parent}/wide_resnet50_2-9ba9bcbe.pth"):
        find_weights("IMAGENET1K_V2", "wrn50_2")


# Damaged, dangerous and other files


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".h5", ".keras"])
def test_a_missing_or_empty_file_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    assert refusal(path) == "no such file"
    path.touch()
    assert refusal(path).startswith("damaged (it is empty)" if suffix == ".pth" else "damaged, truncated, or no ")
    path.write_text("version https://git-lfs.github.com/spec/v1")
    assert refusal(path).startswith("damaged, truncated, or no ")


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_half_a_file_is_refused(
    share: float, resnet18: nn.Module, keras_files: tuple[Path, Tensor], tmp_path: Path
) -> None:
    torch.save(resnet18.state_dict(), tmp_path / "new.pth")
    torch.save(resnet18.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(resnet18.state_dict(), tmp_path / "weights.safetensors")
    kinds = {".pth": "state dict written by torch.save", ".safetensors": "safetensors file"}
    for path in [*tmp_path.iterdir(), *keras_files[0].glob("k.*")]:
        part = tmp_path / f"part{path.suffix}"
        content = path.read_bytes()
        part.write_bytes(content[: int(len(content) * share)])
        cut = path.name == "new.pth" and part.stat().st_size > 0  # a zip archive, whose table is at its end
        told = (
            "damaged (its end is missing)"
            if cut
            else f"damaged, truncated, or no {kinds.get(path.suffix, 'Keras file')}"
        )
        assert refusal(part) == told


class Malicious:
    """Its pickle would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    evil = {"fc.weight": torch.zeros(2), "more": Malicious(tmp_path / "made")}
    path = tmp_path / "evil.pth"
    for zipped in (True, False):
        torch.save(evil, path, _use_new_zipfile_serialization=zipped)
        assert refusal(path) == (
            f"it holds code or a whole object ({os.mkdir.__module__}.mkdir); "
            "a state dict is needed: torch.save(model.state_dict(), path)"
        )
    path.write_bytes(pickle.dumps(evil))
    assert refusal(path) == "damaged, truncated, or no state dict written by torch.save"
    assert not (tmp_path / "made").exists()
    pickle.loads(path.read_bytes())
    assert (tmp_path / "made").exists()  # it was dangerous


def test_a_whole_module_is_refused(resnet18: nn.Module, tmp_path: Path) -> None:
    torch.save(resnet18, tmp_path / "module.pth")
    assert refusal(tmp_path / "module.pth") == (
        "it holds code or a whole object (torchvision.models.resnet.ResNet); "
        "a state dict is needed: torch.save(model.state_dict(), path)"
    )


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(2)], {"state_dict": {}}, torch.zeros(2)])
def test_a_file_without_named_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    assert refusal(tmp_path / "weights.pth") == "there are no tensors in it; a state dict is needed"


@pytest.mark.parametrize("name", ["vit_b_16", "mobilenet_v2", "convnext_tiny"])
def test_names_of_other_networks_are_refused(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None)
    state = {key: torch.zeros(1) for key in network.state_dict()}
    torch.save(state, tmp_path / "weights.pth")
    reason = refusal(tmp_path / "weights.pth")
    assert re.fullmatch(r"its names \(.*, …\) are not those of our, torchvision's or timm's networks", reason)


def test_weights_of_another_depth_are_refused(resnet18_file: Path, tmp_path: Path) -> None:
    """All of ResNet-18 is in ResNet-34, so it is what is left over that tells."""
    assert refusal(resnet18_file, "resnet34") == (
        "weights of another architecture: 100 of the backbone's 180 tensors fit "
        "(80 missing, such as backbone.stages.0.2.residual.0.0.weight)"
    )
    torch.save(torchvision_network("resnet34").state_dict(), tmp_path / "resnet34.pth")
    assert refusal(tmp_path / "resnet34.pth", "resnet18") == (
        "weights of another architecture: 100 of the backbone's 100 tensors fit "
        "(80 unknown, such as backbone.stages.0.2.residual.0.0.weight)"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("plain34", r"missing, such as"),
        ("resnet18_cifar", r"; 1 of another shape|\(1 of another shape, such as backbone.stem.0.0.weight "),
        ("plain18", r"\(15 unknown, such as backbone.stages.1.0.shortcut.0.weight\)"),
        ("resnet50", r"165 missing, such as .*; 23 of another shape, such as .* \(64, 64, 3, 3\) for \(64, 64, 1, 1\)"),
        ("preact_resnet20", "missing, .*unknown, "),
        ("densenet121", "missing, such as backbone.features.conv0.weight; .*unknown, such as backbone.stem.0.0.weight"),
        ("alexnet", "0 of the backbone's 10 tensors fit"),
    ],
)
def test_weights_of_another_family_are_refused(name: str, reason: str, resnet18_file: Path) -> None:
    message = refusal(resnet18_file, name)
    assert message.startswith("weights of another architecture: ") and re.search(reason, message), message


def test_other_channels_say_what_to_do(resnet18_file: Path) -> None:
    assert refusal(resnet18_file, "resnet18", channels=1) == (
        "made for images of 3 channels, and the data's have 1; type data.channels=3"
    )
