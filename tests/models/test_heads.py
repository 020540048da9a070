"""The max-pool head: what it computes, whose weights it takes, and where it may be asked for."""

import pytest
import torch
from helpers import compose

from src.data.sets.digits import DIGITS
from src.errors import UserError
from src.models.build import build_model
from src.models.heads import LinearHead, MaxHead


def test_the_largest_value_of_each_channel_is_what_counts():
    head = MaxHead(in_channels=5, num_classes=3)
    maps = torch.randn(2, 5, 4, 6, requires_grad=True)
    expected = head.linear(maps.flatten(2).max(dim=2).values)
    torch.testing.assert_close(head(maps), expected)
    head(maps).sum().backward()
    assert maps.grad is not None and int((maps.grad != 0).sum()) == 2 * 5
    head.load_state_dict(LinearHead(in_channels=5, num_classes=3).state_dict())


@pytest.mark.parametrize("family", ["cifar_resnet", "imagenet_resnet", "preact_resnet", "densenet", "vgg"])
def test_a_familys_row_takes_it(family: str):
    config = compose(f"model={family}", "model.head=max").model
    model = build_model(config, DIGITS).eval()
    assert isinstance(model.get_submodule("head"), MaxHead)
    assert model(torch.zeros(1, 1, 32, 32)).shape == (1, 10)


def test_a_published_network_keeps_its_own_head():
    with pytest.raises(UserError, match="model=imagenet_resnet .*model.head=max"):
        compose("model=resnet101", "model.head=max")
