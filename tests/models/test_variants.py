"""The table of networks: its names, its refusals, and how it reaches Hydra."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hydra import compose, initialize
from omegaconf import OmegaConf

from src.cli.compose import store_schema
from src.config.model import ModelConfig
from src.errors import UserError
from src.zoo.registry import register, row, rows
from src.zoo.resnet import CifarResNet, ImageNetResNet


@pytest.mark.parametrize("module", ["src.zoo.variants", "src.models.build", "src.zoo.registry", "src.models.__main__"])
def test_import_needs_no_torch(module: str) -> None:
    code = f"import sys, {module}; from src.zoo.registry import rows; rows(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_are_those_of_the_literature() -> None:
    stems = [f"{kind}{s}" for s in ("", "_cifar") for kind in ("resnet18", "resnet152", "plain34")]
    assert {"resnet20", "resnet110", "resnet1202", "plain56", "cifar_resnet", *stems} <= rows().keys()
    assert "plain50" not in rows() and "plain1202" not in rows()
    for name, config in rows().items():
        assert config.name == name
        assert config.family in rows() and type(rows()[config.family]) is type(config)
        assert config.source


def test_facts_of_the_rows() -> None:
    assert row("resnet110").warmup == row("plain110").warmup == 400 / 64_000
    assert row("resnet56").warmup == row("resnet152").warmup == 0
    assert [row(n).native_size for n in ("resnet20", "resnet18_cifar", "resnet18")] == [32, 32, 224]


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="'resnet20' is registered twice; registered: .*resnet32"):
        register(CifarResNet(name="resnet20", depth=20))


def test_unknown_name_gives_near_ones_in_a_few_lines() -> None:
    with pytest.raises(UserError, match="resnet57") as error:
        row("resnet57")
    assert "resnet56" in str(error.value)
    assert len(str(error.value).splitlines()) <= 12


@pytest.mark.parametrize(("depth", "near"), [(57, "56 and 62"), (7, "8 and 14"), (9, "8 and 14"), (-4, "8 and 14")])
def test_wrong_depth_is_refused_in_one_sentence(depth: int, near: str) -> None:
    with pytest.raises(UserError) as error:
        CifarResNet(name="cifar_resnet", depth=depth)
    assert str(error.value) == f"model.depth={depth}: a CIFAR ResNet has 6n+2 layers; the nearest are {near}"


@pytest.mark.parametrize(
    ("family", "dials", "sentence"),
    [
        (
            "cifar_resnet",
            {"depth": 58, "block": "bottleneck"},
            "a CIFAR ResNet of bottlenecks has 9n\\+2 layers; .* 56 and",
        ),
        ("cifar_resnet", {"cardinality": 8}, "model.cardinality=8 .*: only bottlenecks have groups; add model.block="),
        (
            "cifar_resnet",
            {"cardinality": 0, "block": "bottleneck", "depth": 29},
            "model.cardinality=0: at least 1 group",
        ),
        ("cifar_resnet", {"zero_padding": "both", "shortcut": "B"}, "only shortcut A pads with zeros; add model.short"),
        ("cifar_resnet", {"zero_padding": "front"}, "model.zero_padding='front' is not a choice; .* end, both"),
        ("cifar_resnet", {"stride_in": "1x1"}, "only bottlenecks have a 1x1 convolution; add model.block=bottleneck"),
        ("imagenet_resnet", {"stride_in": "1x1", "depth": 18}, "only bottlenecks have a 1x1 .*; set model.depth=50 or"),
        ("imagenet_resnet", {"zero_padding": "both"}, "only shortcut A pads with zeros"),
        ("preact_resnet", {"zero_padding": "both", "shortcut": "C"}, "only shortcut A pads with zeros"),
        ("cifar_resnet", {"shortcut": "none", "stochastic_depth": 0.5}, "a plain net has no shortcut"),
        ("cifar_resnet", {"stochastic_depth": 1.0}, "model.stochastic_depth=1.0: a probability"),
        ("cifar_resnet", {"activation": "tanh"}, "model.activation='tanh' is not a choice; .* relu, mish, silu, gelu"),
        ("cifar_resnet", {"head": "mlp"}, "model.head='mlp' is not a choice; choose one of: linear, max, conv"),
        ("imagenet_resnet", {"depth": 34, "group_width": 128}, "only bottlenecks have groups; add model.depth=50"),
        ("preact_resnet", {"depth": 21}, "a pre-activation CIFAR ResNet has 6n\\+2 layers; the nearest are 20 and 26"),
        ("preact_resnet", {"depth": 111, "block": "bottleneck"}, "of bottlenecks has 9n\\+2 layers; .* 110 and 119"),
        ("preact_resnet", {"width": 0}, "model.width=0: at least 1 channel"),
        ("speednet", {"depth": 9}, "model.depth=9: a SpeedNet has 3n\\+5 layers; the nearest are 8 and 11"),
        ("speednet", {"widths": [64, 256]}, "model.widths=\\[64, 256\\]: three numbers of channels"),
        ("wide_resnet", {"depth": 30}, "a Wide ResNet has 6n\\+4 layers; the nearest are 28 and 34"),
        ("wide_resnet", {"widen": 0}, "model.widen=0: at least 1"),
        ("wide_resnet", {"dropout": 1.5}, "model.dropout=1.5: a probability"),
        ("resnet_v2", {"depth": 34}, "model.depth=34: a ResNet V2 has 50, 101 or 152 layers"),
        ("densenet", {"depth": 100}, "model.depth=100: a DenseNet has 121, 161, 169 or 201 layers"),
        ("cifar_densenet", {"depth": 102}, "a CIFAR DenseNet-BC has 6n\\+4 layers; the nearest are 100 and 106"),
        ("cifar_densenet", {"growth": 0}, "model.growth=0: at least 1 channel"),
        ("vgg", {"depth": 17}, "model.depth=17: a VGG has 11, 13, 16 or 19 layers"),
        ("alexnet", {"dropout": -1.0}, "model.dropout=-1.0: a probability"),
        ("alexnet_cifar", {"dropout": 1.0}, "model.dropout=1.0: a probability"),
        ("small_cnn", {"width": 0}, "model.width=0: at least 1 channel"),
    ],
)
def test_impossible_networks_of_each_family_are_refused(family: str, dials: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        replace(row(family), **dials)
    assert "\n" not in str(error.value)


def test_every_family_has_a_refusal_above() -> None:
    mark = test_impossible_networks_of_each_family_are_refused.pytestmark[0]  # type: ignore[attr-defined]
    assert {case[0] for case in mark.args[1]} == {config.family for config in rows().values()}


def test_other_impossible_networks_are_refused() -> None:
    with pytest.raises(UserError, match="model.depth=20: an ImageNet ResNet has 18, 34, 50, 101 or 152 layers"):
        ImageNetResNet(depth=20)
    with pytest.raises(UserError, match="model.shortcut='D' is not a choice; choose one of: A, B, C, none"):
        CifarResNet(shortcut="D")
    with pytest.raises(UserError, match="model.stem='tiny' is not a choice"):
        ImageNetResNet(stem="tiny")
    with pytest.raises(UserError, match="model.width=0"):
        CifarResNet(width=0)


@pytest.mark.parametrize(
    ("name", "dials", "message"),
    [
        (
            "resnet20",
            {"depth": 56},
            "model.depth=56: resnet20 is the published network and its depth is 20; "
            "set it on the family: model=cifar_resnet model.depth=56",
        ),
        (
            "resnet20",
            {"shortcut": "B"},
            "model.shortcut=B: resnet20 is the published network and its shortcut is A; "
            "set it on the family: model=cifar_resnet model.depth=20 model.shortcut=B",
        ),
        (
            "resnet20",
            {"depth": 57},
            "model.depth=57: resnet20 is the published network and its depth is 20; "
            "set it on the family: model=cifar_resnet model.depth=57",
        ),
        (
            "plain18_cifar",
            {"depth": 34},
            "model.depth=34: plain18_cifar is the published network and its depth is 18; "
            "set it on the family: model=imagenet_resnet model.depth=34 model.shortcut=none model.stem=cifar",
        ),
    ],
)
def test_a_published_network_is_sealed(name: str, dials: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        replace(row(name), **dials)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_the_family_and_a_name_of_ones_own_are_free() -> None:
    assert replace(row("cifar_resnet"), depth=74, shortcut="B").name == "cifar_resnet"  # type: ignore[call-arg]
    for name in ("", "my_resnet"):
        assert CifarResNet(name=name, depth=74, width=20).depth == 74


@pytest.mark.parametrize("name", ["resnet20", "cifar_resnet"])
def test_a_name_of_another_family_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"model.name={name}: that is a network of the family cifar_resnet"):
        ImageNetResNet(name=name)


def composed(*overrides: str) -> ModelConfig:
    """The model that the command line makes of these overrides."""
    store_schema()
    with initialize(version_base="1.3", config_path=None):
        config = OmegaConf.to_object(compose(overrides=list(overrides)).model)
    assert isinstance(config, ModelConfig)
    return config


def test_every_row_is_a_choice_of_the_command_line() -> None:
    assert [composed(f"+model={name}") for name in ("resnet56", "plain34_cifar")] == [
        row("resnet56"),
        row("plain34_cifar"),
    ]


def test_the_suggested_overrides_of_a_sealed_network_work() -> None:
    with pytest.raises(UserError) as error:
        composed("+model=plain18_cifar", "model.shortcut=C")
    suggestion = str(error.value).partition("family: ")[2].split()
    assert composed("+" + suggestion[0], *suggestion[1:]) == replace(
        row("imagenet_resnet"),
        depth=18,
        stem="cifar",
        shortcut="C",  # type: ignore[call-arg]
    )
