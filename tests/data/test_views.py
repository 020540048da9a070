"""Resized crops and light of whole batches: exact where nothing changes, in bounds, a function of seed and epoch."""

import torch

from src.data.resident.views import change_light, draw_views, resize_crops


def test_a_crop_of_everything_changes_nothing_and_half_is_enlarged() -> None:
    images = torch.arange(2 * 4 * 4 * 3, dtype=torch.uint8).view(2, 4, 4, 3)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2)
    torch.testing.assert_close(resize_crops(images, whole), images.float())
    left = resize_crops(images, torch.tensor([[-0.5, 0.0, 0.5, 1.0]] * 2))
    torch.testing.assert_close(left[:, :, 0], images[:, :, 0].float() - torch.tensor([0.0] * 3) + 0.0, atol=1.5, rtol=0)
    assert (left[:, :, -1] < images[:, :, 2].float() + 1e-3).all(), "nothing of the right half is seen"


def test_views_stay_inside_and_depend_on_seed_and_epoch_alone() -> None:
    views = draw_views(3, 5, 1000, least=0.35, light=0.2)
    x, y, width, height = views.boxes.unbind(1)
    assert (x.abs() + width <= 1 + 1e-6).all() and (y.abs() + height <= 1 + 1e-6).all()
    area = width * height
    assert area.min() > 0.35 * 0.9 and area.max() <= 1
    assert views.gains.min() >= 0.8 and views.gains.max() <= 1.2 and views.offsets.abs().max() <= 0.2
    assert torch.equal(draw_views(3, 5, 1000, least=0.35, light=0.2).boxes, views.boxes)
    assert not torch.equal(draw_views(3, 6, 1000, least=0.35, light=0.2).boxes, views.boxes)
    assert torch.equal(views.part(10, 5).gains, views.gains[10:15])


def test_no_crop_and_no_light_are_neutral() -> None:
    views = draw_views(0, 0, 8, least=1.0, light=0.0)
    images = torch.randn(8, 3, 6, 6)
    assert torch.equal(change_light(images.clone(), views), images)
