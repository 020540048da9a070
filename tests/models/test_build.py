"""Building by name, families from outside, and the contract of a backbone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from src.errors import UserError
from src.models import create_model
from src.models.backbone import Backbone, get_backbone
from src.models.heads import HEADS, make_classifier
from src.models.layers import ACTIVATIONS, GATES
from src.zoo import registry
from src.zoo.base import ACTIVATION_NAMES, HEAD_NAMES, Family, Residual, dial
from src.zoo.registry import register, register_family, row, rows
from src.zoo.resnet import CifarResNet
from zoo import build, shapes_of


def test_a_network_by_name_is_the_one_that_a_run_trains() -> None:
    torch.manual_seed(0)
    expected = build("resnet20", classes=7, channels=1).state_dict()
    torch.manual_seed(0)
    model = create_model("resnet20", num_classes=7, in_channels=1)
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


def test_dials_are_those_of_the_family() -> None:
    model = create_model("cifar_resnet", depth=14, shortcut="B", activation="mish", se=True)
    assert [len(stage) for stage in model.get_submodule("backbone.stages").children()] == [2, 2, 2]
    assert any(isinstance(module, nn.Mish) for module in model.modules())
    assert create_model("resnet20", stochastic_depth=0.5)(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize(
    ("name", "dials", "sentence"),
    [
        ("resnet57", {}, "model=resnet57: no such model .*resnet56"),
        ("resnet20", {"depth": 56}, "resnet20 is the published network and its depth is 20; .* model.depth=56"),
        ("cifar_resnet", {"depth": 57}, "a CIFAR ResNet has 6n\\+2 layers; the nearest are 56 and 62"),
        ("cifar_resnet", {"layers": 57}, "model.layers: cifar_resnet has no such setting; .* depth, block, shortcut"),
        ("resnet20", {"weights": "file.pth"}, "model.weights: resnet20 has no such setting"),
    ],
)
def test_wrong_names_and_dials_are_refused(name: str, dials: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        create_model(name, **dials)
    assert "\n" not in str(error.value)


# Families from outside


@dataclass
class Pixels(Family):
    """A family of a plug-in: one linear layer on the mean colour."""

    size: int = dial(8, "side of the images [pixels]")

    family: ClassVar[str] = "pixels"


@dataclass
class NarrowResNet(CifarResNet):
    """A family of a plug-in that extends one of ours."""

    family: ClassVar[str] = "narrow_resnet"


class PixelMaps(nn.Module):
    """The images themselves, as a backbone's only map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.feature_channels, self.feature_strides = [channels], [1]
        self.parts: list[list[nn.Module]] = []

    def forward_features(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def build_pixels(config: Pixels, *, in_channels: int, num_classes: int) -> nn.Module:
    return make_classifier(backbone=PixelMaps(in_channels), head="linear", num_classes=num_classes)


@pytest.fixture(autouse=True)
def registry_as_before() -> Iterator[None]:
    tables = (registry._ROWS, registry._BUILDERS)
    before = [dict(table) for table in tables]
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)  # type: ignore[arg-type]


def test_a_family_from_outside_is_built_by_its_own_function() -> None:
    register_family(Pixels, build_pixels)
    register(Pixels(name="pixels"), Pixels(name="pixels16", size=16))
    assert create_model("pixels16", num_classes=5, in_channels=2)(torch.zeros(3, 2, 16, 16)).shape == (3, 5)
    assert create_model("pixels", size=4)(torch.zeros(3, 3, 4, 4)).shape == (3, 10)
    with pytest.raises(UserError, match="pixels16 is the published network and its size is 16"):
        create_model("pixels16", size=4)
    with pytest.raises(ValueError, match="the family Pixels is registered twice"):
        register_family(Pixels, build_pixels)


def test_a_family_that_extends_ours_may_be_built_otherwise() -> None:
    register(NarrowResNet(name="narrow_resnet", width=4))
    assert create_model("narrow_resnet").get_submodule("backbone.stem")[0][0].out_channels == 4  # type: ignore[index]
    register_family(NarrowResNet, build_pixels)
    assert isinstance(create_model("narrow_resnet").get_submodule("backbone"), PixelMaps)


def test_a_builder_must_return_a_module() -> None:
    register_family(Pixels, lambda config, in_channels, num_classes: None)
    register(Pixels(name="pixels"))
    with pytest.raises(TypeError, match="the builder of Pixels returned NoneType, not a torch module"):
        create_model("pixels")


# Contracts


@pytest.mark.parametrize("name", [name for name in rows() if row(name).family == name])
def test_every_family_has_a_backbone(name: str) -> None:
    backbone = get_backbone(shapes_of(name), name)
    assert isinstance(backbone, Backbone)
    modules = {module for part in backbone.parts for module in part}
    assert len(modules) == sum(map(len, backbone.parts))
    owned = {id(p) for module in modules for p in module.parameters()}
    assert {id(p) for module in backbone.modules() for p in module.parameters()} == owned


def test_a_network_without_feature_maps_is_refused() -> None:
    with pytest.raises(UserError, match="model=mine: this network has no backbone"):
        get_backbone(nn.Sequential(), "mine")
    model = nn.Module()
    model.backbone = nn.Identity()
    with pytest.raises(UserError, match="model=mine: this network has no backbone"):
        get_backbone(model, "mine")


def test_the_choices_of_the_command_line_are_the_tables_of_the_layers() -> None:
    assert tuple(ACTIVATIONS) == ACTIVATION_NAMES
    assert tuple(HEADS) == HEAD_NAMES
    assert {Residual(se=se).gate for se in (False, True)} == set(GATES)
