"""SpeedNet: its size, its stem from the training images, and that the stem stays with the weights."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import command, results
from torch import Tensor, nn

from src.errors import UserError
from src.evaluate import evaluate
from src.models.complexity import count_macs, count_parameters
from src.models.speednet import WhiteningConv, compute_whitening, fit_to_data
from src.training.checkpoints import load_checkpoint
from zoo import build, shapes_of

STEM = "model.backbone.stem.0.weight"


def correlated(n: int = 64, channels: int = 3, size: int = 8) -> Tensor:
    """Images whose neighbouring pixels and channels are alike."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(n, channels, size + 2, size + 2, generator=generator)
    smooth = nn.functional.avg_pool2d(noise, 3, stride=1)
    return smooth + smooth.mean(dim=1, keepdim=True) + 0.3


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [("speednet8", 1_972_514, 118_147_360), ("speednet11", 9_918_498, 451_967_264)],
)
def test_sizes(name: str, parameters: int, multiply_adds: int) -> None:
    assert count_parameters(shapes_of(name)) == parameters
    assert count_macs(shapes_of(name), 3, 32) == multiply_adds


@pytest.mark.parametrize(("kernel", "channels"), [(2, 3), (3, 1)])
def test_whitened_patches_are_uncorrelated_and_of_variance_one(kernel: int, channels: int) -> None:
    images = correlated(channels=channels)
    conv = WhiteningConv(channels, kernel)
    conv.fit(images)
    half = conv.out_channels // 2
    out = conv(images).detach()
    torch.testing.assert_close(out[:, :half], -out[:, half:], atol=1e-5, rtol=1e-5)
    flat = out[:, :half].transpose(0, 1).flatten(1).double()
    moments = flat @ flat.T / flat.shape[1]
    torch.testing.assert_close(
        moments, torch.eye(half, dtype=torch.float64), atol=0.05, rtol=0
    )  # a bit below 1: what is added to the variances


def test_components_are_ordered_and_their_signs_settled() -> None:
    images = correlated()
    components = compute_whitening(images, 2)
    assert components.shape == (12, 12)
    norms = components.norm(dim=1)
    assert (norms[1:] >= norms[:-1]).all(), "a component of less variance is stretched more"
    assert (components.gather(1, components.abs().argmax(1, keepdim=True)) > 0).all()
    assert torch.equal(compute_whitening(images.clone(), 2), components)
    flat = torch.zeros(4, 3, 5, 5)
    assert compute_whitening(flat, 2).isfinite().all()


def test_only_a_bias_of_the_stem_is_learned() -> None:
    model = build("speednet8")
    stem = model.get_submodule("backbone.stem.0")
    assert [name for name, _ in stem.named_parameters()] == ["bias"]
    assert "backbone.stem.0.weight" in model.state_dict()


def test_the_reducing_convolutions_begin_by_passing_on_what_they_get() -> None:
    conv = build("speednet8").get_submodule("backbone.stages.0.0.reduce.0")
    x = torch.randn(2, 24, 5, 5)
    torch.testing.assert_close(conv(x)[:, :24], x)


def test_as_many_images_are_read_as_are_needed_and_none_for_other_networks() -> None:
    read = []

    def batches() -> Iterator[Tensor]:
        for i in range(10):
            read.append(i)
            yield correlated(32)

    fit_to_data(build("resnet20"), batches())
    assert read == []
    model = build("speednet8")
    before = model.state_dict()["backbone.stem.0.weight"].clone()
    fit_to_data(model, batches(), count=90)
    assert read == [0, 1, 2]
    assert not torch.equal(model.state_dict()["backbone.stem.0.weight"], before)
    with pytest.raises(UserError, match="model.weights"):
        fit_to_data(model, [[torch.zeros(3, 4, 4)]])


def test_the_stem_is_of_the_data_and_the_seed_and_stays_with_the_weights(tmp_path: Path) -> None:
    words = (
        "data=digits", "data.image_size=16", "data.augment=shift2_alternate", "model=speednet", "model.widths=[4,4,4]",
        "optim=muon", "task.test_flip=true", "trainer=cpu", "trainer.threads=1", "trainer.precision=fp32",
    )  # fmt: skip
    unbroken, longer = tmp_path / "unbroken", tmp_path / "longer"
    for path, epochs in ((unbroken, 2), (longer, 1)):
        done = command("src.train", *words, f"trainer.max_epochs={epochs}", f"hydra.run.dir={path}")
        assert done.returncode == 0, done.stderr
    with (longer / "checkpoints" / "last.ckpt").open("rb") as file:
        begun = torch.load(file, weights_only=True)["state_dict"][STEM]
    done = command("src.train", f"resume={longer}", "trainer.max_epochs=2")
    assert done.returncode == 0, done.stderr
    for path in (longer, unbroken):
        state = load_checkpoint(path / "checkpoints" / "last.ckpt")["state_dict"]
        assert torch.equal(state[STEM], begun)
    metrics = results(unbroken)["metrics"]
    assert 0 <= metrics["test/accuracy_flip"] <= 1
    again = evaluate(unbroken)
    assert again["test/accuracy"] == metrics["test/accuracy"]
    assert again["test/accuracy_flip"] == metrics["test/accuracy_flip"]
