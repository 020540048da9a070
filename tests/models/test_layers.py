"""Shortcuts A, B and C, and the initialisation."""

import pytest
import torch
from torch import nn

from src.models.blocks import BlockStyle, BottleneckBranch
from src.models.layers import init_weights
from src.models.shortcuts import ZeroPadShortcut, make_shortcut


def parameters(option: str, in_channels: int, out_channels: int, stride: int) -> int:
    shortcut = make_shortcut(option, in_channels=in_channels, out_channels=out_channels, stride=stride)
    return 0 if shortcut is None else sum(p.numel() for p in shortcut.parameters())


def test_parameters_of_the_options() -> None:
    same, new = (16, 16, 1), (16, 32, 2)
    assert [parameters(option, *same) for option in ("A", "B", "C", "none")] == [0, 0, 16 * 16 + 2 * 16, 0]
    assert [parameters(option, *new) for option in ("A", "B", "C", "none")] == [0, 576, 576, 0]


def test_plain_has_no_shortcut_and_an_unknown_option_is_refused() -> None:
    assert make_shortcut("none", in_channels=16, out_channels=32, stride=2) is None
    with pytest.raises(ValueError, match="A, B, C or none"):
        make_shortcut("D", in_channels=16, out_channels=32, stride=2)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [7, 8])
def test_option_a_keeps_pixels_and_adds_zeros(stride: int, size: int) -> None:
    x = torch.randn(2, 3, size, size)
    y = ZeroPadShortcut(stride=stride, new_channels=5)(x)
    assert torch.equal(y[:, :3], x[:, :, ::stride, ::stride])
    assert y.shape[1] == 8 and not y[:, 3:].any()


@pytest.mark.parametrize("new", [4, 5])
def test_option_a_can_pad_on_both_sides(new: int) -> None:
    x = torch.randn(2, 4, 8, 8)
    y = ZeroPadShortcut(stride=2, new_channels=new, padding="both")(x)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert y.shape[1] == 4 + new and not y[:, :2].any() and not y[:, 6:].any()


def test_a_bottleneck_strides_where_its_style_says() -> None:
    for place, strides in (("3x3", [1, 2, 1]), ("1x1", [2, 1, 1])):
        layers = BottleneckBranch().make_layers(16, 8, 2, BlockStyle(stride_in=place))
        assert [m.stride[0] for m in layers.modules() if isinstance(m, nn.Conv2d)] == strides
        assert layers(torch.randn(2, 16, 8, 8)).shape == (2, 32, 4, 4)


def test_option_a_keeps_memory_format_and_exports() -> None:
    x = torch.randn(2, 4, 8, 8).to(memory_format=torch.channels_last)
    shortcut = ZeroPadShortcut(stride=2, new_channels=4)
    assert shortcut(x).is_contiguous(memory_format=torch.channels_last)
    exported = torch.export.export(shortcut, (x,)).module()
    assert torch.equal(exported(x), shortcut(x))


def test_init_weightsialisation() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(64, 128, 3, bias=False), nn.BatchNorm2d(128)
    init_weights(nn.Sequential(conv, norm))
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert norm.weight.eq(1).all() and norm.bias.eq(0).all()
