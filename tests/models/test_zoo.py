"""Every registered network is as large as published, runs, learns everywhere, and keeps the feature contract."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from src.models.complexity import count_macs, count_parameters
from src.zoo.registry import row, rows
from zoo import build, shapes_of

NAMES = list(rows())

# Ten classes unless the network is an ImageNet one; from the papers, or counted on the authors' code.
PUBLISHED = {
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet1202": 19_421_274,
    "preact_resnet110": 1_727_962,
    "preact_resnet164": 1_703_258,
    "preact_resnet1001": 10_327_706,
    "wrn28_10": 36_479_194,
    "wrn40_4": 8_949_210,
    "wrn16_8": 10_961_370,
    "resnext29_8x64d": 34_426_698,
    "resnext29_16x64d": 68_155_210,
    "densenet_bc100_12": 769_162,
    "densenet_bc250_24": 15_324_406,
    "densenet_bc190_40": 25_624_430,
    "vgg19_cifar": 20_029_514,
    "vgg19_bn_cifar": 20_040_522,
    "vgg16_cifar": 14_719_818,
    "alexnet_cifar": 57_044_810,
    "resnet152v2_convhead": 58_880_842,
}
MULTIPLY_ADDS = {  # at 32x32 [millions]
    "resnet20": 40.55,
    "resnet32": 68.86,
    "resnet44": 97.17,
    "resnet56": 125.49,
    "resnet110": 252.89,
    "resnet1202": 2829.2,
}
TORCHVISION = {  # our name: its weights, which say how large the network is
    **{f"resnet{depth}": f"ResNet{depth}_Weights" for depth in (18, 34, 50, 101, 152)},
    "wrn50_2": "Wide_ResNet50_2_Weights",
    "wrn101_2": "Wide_ResNet101_2_Weights",
    "resnext50_32x4d": "ResNeXt50_32X4D_Weights",
    "resnext101_32x8d": "ResNeXt101_32X8D_Weights",
    "resnext101_64x4d": "ResNeXt101_64X4D_Weights",
    **{f"densenet{depth}": f"DenseNet{depth}_Weights" for depth in (121, 161, 169, 201)},
    "vgg16": "VGG16_Weights",
    "vgg16_bn": "VGG16_BN_Weights",
    "vgg19": "VGG19_Weights",
    "vgg19_bn": "VGG19_BN_Weights",
    "alexnet": "AlexNet_Weights",
}
TIMM = {  # with 1,000 classes
    "se_resnet50": 28_088_024,
    "se_resnet101": 49_326_872,
    "se_resnet152": 66_821_848,
    "se_resnext50_32x4d": 27_559_896,
    "se_resnext101_32x4d": 48_955_416,
}
LARGEST = max(PUBLISHED["preact_resnet110"], PUBLISHED["densenet_bc100_12"])
QUICK = [n for n in NAMES if row(n).family == n or count_parameters(shapes_of(n)) <= LARGEST]


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_published(name: str) -> None:
    assert count_parameters(shapes_of(name)) == PUBLISHED[name]


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_multiply_adds_are_those_published(name: str) -> None:
    assert count_macs(shapes_of(name), 3, 32) / 1e6 == pytest.approx(MULTIPLY_ADDS[name], rel=1e-3)


@pytest.mark.parametrize("name", TORCHVISION)
def test_imagenet_networks_are_as_large_as_torchvision_says(name: str) -> None:
    meta = getattr(torchvision.models, TORCHVISION[name]).DEFAULT.meta
    model = shapes_of(name, 1000)
    assert count_parameters(model) == meta["num_params"]
    assert count_macs(model, 3, 224) / 1e9 == pytest.approx(meta["_ops"], rel=5e-3)


@pytest.mark.parametrize("name", TIMM)
def test_squeeze_excitation_networks_are_as_large_as_timm_says(name: str) -> None:
    assert count_parameters(shapes_of(name, 1000)) == TIMM[name]


def test_resnet_v2_is_as_large_as_keras_says() -> None:
    """58,331,648 values without the top, of which 143,744 are moving statistics."""
    backbone = shapes_of("resnet152v2").backbone
    assert count_parameters(backbone) == 58_187_904
    buffers = sum(b.numel() for name, b in backbone.named_buffers() if "running" in name)
    assert buffers == 143_744
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1.001e-5, 0.01)}
    assert count_parameters(shapes_of("resnet50v2", 1000)) == 25_568_360
    assert count_parameters(shapes_of("resnet101v2", 1000)) == 44_577_896


def counted_by_hand(model: nn.Module, size: int) -> int:
    """Multiply-adds from the layers' formulas and the shapes that they give."""
    total = 0

    def add(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            inputs_each = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
            total += output[0].numel() * inputs_each
        elif isinstance(layer, nn.Linear):
            total += layer.in_features * layer.out_features

    hooks = [m.register_forward_hook(add) for m in model.modules()]  # type: ignore[arg-type]
    model(torch.empty(1, 3, size, size, device="meta"))
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize("name", [name for name in NAMES if row(name).family == name])
def test_multiply_adds_are_those_of_the_layers(name: str) -> None:
    size = row(name).native_size
    assert count_macs(shapes_of(name), 3, size) == counted_by_hand(shapes_of(name), size)


@pytest.mark.parametrize(
    "name", [n for n in NAMES if hasattr(row(n), "depth") and getattr(row(n), "head", "") != "conv"]
)
def test_depth_counts_the_weighted_layers(name: str) -> None:
    """Projections and gates do not count; but a Wide ResNet counts its projections instead of the last layer."""
    kinds = [key for key, m in shapes_of(name).named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    layers = [key for key in kinds if ".squeeze." not in key and ".shortcut" not in key]
    family, depth = row(name).family, row(name).depth  # type: ignore[attr-defined]
    if family == "wide_resnet":
        assert depth == len(layers) - 1 + 3
    elif family == "vgg" and row(name).native_size == 32:
        assert depth == len(layers) + 2
    else:
        assert depth == len(layers)


@pytest.mark.parametrize("name", NAMES)
def test_features_have_the_promised_shapes(name: str) -> None:
    size = 64
    model = shapes_of(name)
    maps = model.backbone.forward_features(torch.empty(1, 3, size, size, device="meta"))
    assert [m.shape[1] for m in maps] == model.backbone.feature_channels
    for m, stride in zip(maps, model.backbone.feature_strides, strict=True):
        assert m.shape[2] == m.shape[3]
        if "alexnet" in name or "speednet" in name:  # do not pad everywhere
            assert 0 < m.shape[2] <= size // stride and size // stride - m.shape[2] <= 2
        else:
            assert m.shape[2] * stride == size
    assert model.head(maps[-1]).shape == (1, 10)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    model = build(name)
    size = 64 if row(name).native_size == 224 else 32
    logits = model(torch.randn(2, 3, size, size))
    assert logits.shape == (2, 10)
    logits.logsumexp(1).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", [name for name in NAMES if row(name).family == name])
def test_grey_images_other_classes_and_bf16(name: str) -> None:
    model = build(name, classes=3, channels=1).to(memory_format=torch.channels_last)
    images = torch.randn(2, 1, 64, 64).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(images)
    assert logits.shape == (2, 3) and logits.isfinite().all()
    logits.float().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
