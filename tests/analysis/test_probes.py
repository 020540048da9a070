"""Each probe against what it should give, and the command around them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import TINY, command, table, train
from torch import Tensor, nn
from torch.nn import functional as F

from src import analyze
from src.analysis.probes import (
    curvature,
    filters,
    grad_cam,
    gradient_flow,
    layers,
    loss_landscape,
    receptive_field,
    responses,
    shortcut_ratio,
    similarity,
    work,
)
from src.analysis.probes.base import NotApplicableError, Options, Subject, parse_options
from src.analysis.probes.subjects import assemble_target, open_subject
from src.analysis.probes.table import PROBES
from src.analysis.probes.targets import find_targets
from src.errors import UserError
from src.models.build import create_model
from src.runs.directory import Run


def make_subject(name: str = "cifar_resnet", **dials: Any) -> Subject:
    """A small network with statistics, and images of noise."""
    torch.manual_seed(0)
    network = create_model(name, **({"depth": 8, "width": 4} | dials)).eval()
    images, labels = torch.randn(24, 3, 8, 8), torch.arange(24) % 10
    layers.estimate_statistics(network, images)
    return Subject(
        label="made",
        network=network,
        images=images,
        labels=labels,
        loss=lambda x, y: F.cross_entropy(network(x), y),
        classes=[str(i) for i in range(10)],
        normalization={"name": "half", "mean": [0.5] * 3, "std": [0.5] * 3, "mean_image": None},
        single_class=True,
    )


@pytest.fixture(scope="module")
def subject() -> Subject:
    return make_subject()


def copy_state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_leaves_the_network_as_it_was(name: str, subject: Subject) -> None:
    before, probe = copy_state(subject.network), PROBES[name]
    options = parse_options(probe.options, {"images": "24", "grid": "2", "each": "2", "steps": "2"})
    one, other = (probe.compute(subject, options, probe.parts(options)[-1]) for _ in range(2))
    assert one.rows == other.rows and one.rows
    after = copy_state(subject.network)
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert not any(module.training for module in subject.network.modules())
    assert not any(module._forward_hooks for module in subject.network.modules())


def test_gradient_flow_is_that_of_a_training_step(subject: Subject) -> None:
    rows = gradient_flow.compute(subject, gradient_flow.GradientFlow(), "").rows
    network = create_model("cifar_resnet", depth=8, width=4).train()
    network.load_state_dict(subject.network.state_dict())
    F.cross_entropy(network(subject.images), subject.labels).backward()
    weights = dict(network.named_parameters())
    assert [row["depth"] for row in rows] == list(range(1, 9)) and rows[-1]["kind"] == "linear"
    for row in rows:
        gradient = weights[f"{row['layer']}.weight"].grad
        assert gradient is not None and row["gradient"] == pytest.approx(float(gradient.norm()), rel=1e-5)


def test_projections_are_no_layers_of_the_depth() -> None:
    rows = gradient_flow.compute(make_subject(shortcut="B"), gradient_flow.GradientFlow(), "").rows
    assert [row["kind"] for row in rows].count("shortcut") == 2
    assert max(int(str(row["depth"])) for row in rows) == 8


def test_a_response_is_that_behind_batchnorm(subject: Subject) -> None:
    rows = responses.compute(subject, Options(), "").rows
    norms: list[float] = []
    stds = [
        module.register_forward_hook(lambda module, inputs, output: norms.append(float(output.std())))
        for module in subject.network.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        subject.network(subject.images)
    for hook in stds:
        hook.remove()
    assert [row["std"] for row in rows] == norms and {row["behind"] for row in rows} == {"BatchNorm"}
    preactivated = responses.compute(make_subject("preact_resnet"), Options(), "").rows
    assert [row["behind"] for row in preactivated[1:3]] == ["BatchNorm", "convolution"]


def test_the_ratio_of_a_block_that_adds_nothing_is_0(subject: Subject) -> None:
    silent = make_subject()
    for module in silent.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.weight)
    assert [row["ratio"] for row in shortcut_ratio.compute(silent, Options(), "").rows] == [0.0] * 3
    assert all(float(str(row["ratio"])) > 0 for row in shortcut_ratio.compute(subject, Options(), "").rows)
    with pytest.raises(NotApplicableError, match="has no shortcuts"):
        shortcut_ratio.compute(make_subject(shortcut="none"), Options(), "")


def test_cka_is_kornblith_s_formula() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(20, 6, dtype=torch.float64), torch.randn(20, 3, 2, dtype=torch.float64)
    x0, y0 = x - x.mean(0), (y - y.mean(0)).flatten(1)
    direct = (y0.T @ x0).norm() ** 2 / ((x0.T @ x0).norm() * (y0.T @ y0).norm())
    gram = similarity.centre_gram
    assert similarity.compute_cka(gram(x), gram(y)) == pytest.approx(float(direct), rel=1e-12)
    turned = 3 * x @ torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0] + 1
    assert similarity.compute_cka(gram(x), gram(turned)) == pytest.approx(1)


def test_similarity_compares_every_two_blocks(subject: Subject) -> None:
    rows = similarity.compute(subject, Options(), "").rows
    cka = np.array([row["cka"] for row in rows], dtype=float).reshape(4, 4)
    assert np.allclose(cka.diagonal(), 1) and np.allclose(cka, cka.T) and (cka <= 1 + 1e-9).all()


def make_loss(seed: int) -> tuple[Tensor, list[Tensor], Callable[[Tensor], Tensor]]:
    """The loss of a small network in float64, its parameters, and the loss as a function of all of them in a row."""
    torch.manual_seed(seed)
    x, y = torch.randn(12, 4, dtype=torch.float64), torch.arange(12) % 3
    shapes = [(5, 4), (5,), (3, 5), (3,)]
    parameters = [torch.randn(*shape, dtype=torch.float64).requires_grad_() for shape in shapes]

    def compute(parts: list[Tensor]) -> Tensor:
        return F.cross_entropy(F.linear(torch.tanh(F.linear(x, parts[0], parts[1])), parts[2], parts[3]), y)

    def of_row(row: Tensor) -> Tensor:
        sizes = [p.numel() for p in parameters]
        return compute([part.view(shape) for part, shape in zip(row.split(sizes), shapes, strict=True)])

    return compute(parameters), parameters, of_row


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_largest_eigenvalue_is_that_of_the_exact_hessian(seed: int) -> None:
    loss, parameters, of_row = make_loss(seed)
    row = torch.cat([p.detach().flatten() for p in parameters])
    exact = torch.linalg.eigvalsh(torch.autograd.functional.hessian(of_row, row))
    _, largest = curvature.find_largest(loss, parameters, steps=2000, tolerance=1e-12)
    assert largest.value == pytest.approx(float(exact[-1]), rel=1e-4)


def test_the_largest_eigenvalue_is_found_beside_a_more_negative_one() -> None:
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    loss = 0.5 * (torch.tensor([-5.0, 2.0, 1.0], dtype=torch.float64) * x**2).sum()
    extreme, largest = curvature.find_largest(loss, [x], steps=500, tolerance=1e-12)
    assert extreme.value == pytest.approx(-5) and largest.value == pytest.approx(2)


def test_a_direction_is_as_long_as_each_filter(subject: Subject) -> None:
    direction = loss_landscape.make_direction(subject.network, torch.Generator().manual_seed(0))
    weights = dict(subject.network.named_parameters())
    assert set(direction) == {name for name, value in weights.items() if value.ndim > 1}
    for name, move in direction.items():
        assert torch.allclose(move.flatten(1).norm(dim=1), weights[name].flatten(1).norm(dim=1), rtol=1e-4)


def test_the_centre_of_a_landscape_is_the_loss(subject: Subject) -> None:
    with torch.no_grad():
        loss = float(subject.loss(subject.images, subject.labels))
    for batchnorm in ("stored", "reestimated"):  # the subject's statistics are those of the same images
        options = loss_landscape.Landscape(dims="1", grid=3, batchnorm=batchnorm)
        rows = loss_landscape.compute(subject, options, "").rows
        assert rows[1]["x"] == 0 and rows[1]["loss"] == pytest.approx(loss, rel=1e-5)
    grid = loss_landscape.Landscape(dims="2", grid=3)
    parts = [loss_landscape.compute(subject, grid, part).rows for part in PROBES["loss_landscape"].parts(grid)]
    assert [row["loss"] for row in parts[1]] == pytest.approx(
        [row["loss"] for row in loss_landscape.compute(subject, loss_landscape.Landscape(dims="1", grid=3), "").rows]
    )


def test_statistics_are_those_of_the_images(subject: Subject) -> None:
    first = next(module for module in subject.network.modules() if isinstance(module, nn.BatchNorm2d))
    conv = next(module for module in subject.network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        assert first.running_mean is not None
        assert torch.allclose(first.running_mean, conv(subject.images).mean(dim=(0, 2, 3)), atol=1e-5)
    assert first.momentum == 0.1


def test_grad_cam_on_an_average_pool_is_cam(subject: Subject) -> None:
    """Selvaraju et al. 2017, Section 3.1: there, the weights of the last layer are the weights of the maps."""
    network: Any = subject.network
    images, classes = subject.images[:4], torch.tensor([1, 2, 3, 4])
    heat = grad_cam.compute_heat(network, network.backbone, images, classes)
    with torch.no_grad():
        maps = network.backbone(images)
        cam = F.relu(torch.einsum("nc,nchw->nhw", network.head.linear.weight[classes], maps))
    cam = F.interpolate(cam[:, None], (8, 8), mode="bilinear", align_corners=False)[:, 0]
    assert torch.allclose(heat, cam / cam.amax(dim=(1, 2), keepdim=True).clamp(min=1e-30), atol=1e-5)


def test_a_contact_sheet_has_right_and_wrong_images(subject: Subject) -> None:
    found = grad_cam.compute(subject, grad_cam.GradCam(each=2), "")
    assert 2 <= len(found.rows) <= 4
    for row in found.rows:
        assert (row["kind"] == "right") is (row["true"] == row["predicted"])
    assert found.arrays["images"].shape[1:] == (8, 8, 3) and found.arrays["images"].max() <= 1


def test_pixels_come_back() -> None:
    from src.data.normalization import normalize

    images = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8)
    for mean_image in (None, torch.rand(4, 4, 3)):
        one: Any = {"name": "x", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "mean_image": mean_image}
        one |= {"std": [1.0] * 3} if mean_image is not None else {}
        assert torch.allclose(grad_cam.restore_pixels(normalize(images, one), one), images / 255, atol=1e-5)


def test_the_receptive_field_of_the_first_stage_is_that_of_its_three_convolutions(subject: Subject) -> None:
    found = receptive_field.compute(subject, receptive_field.ReceptiveField(), "")
    reached = float(str(found.rows[0]["reached"]))
    assert 5 < reached <= 7 and float(str(found.rows[0]["side"])) <= reached
    assert found.arrays["fields"].shape == (3, 8, 8)


def test_filters_are_laid_out_in_rows_of_eight() -> None:
    tiles = filters.lay_tiles(np.random.default_rng(0).normal(size=(10, 3, 3, 3)).astype(np.float32))
    assert tiles.shape == (2 * 4 - 1, 8 * 4 - 1, 3) and tiles.min() >= 0 and tiles.max() <= 1


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("probes") / "run"
    done = train(path, "trainer.keep_epochs=[1]")
    assert done.returncode == 0, done.stderr
    return path


def type_command(*words: str) -> int:
    before, sys.argv = sys.argv, ["src.analyze", *words]
    try:
        return analyze.run_command()
    finally:
        sys.argv = before


SMALL = ("images=32", "grid=2", "each=1", "steps=2", "trainer.threads=1")


@pytest.mark.slow
def test_all_probes_of_a_run_and_never_twice(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"probe={','.join(PROBES)}", f"run={run}", "at=init,1,last", f"out={tmp_path}", *SMALL]
    assert type_command(*words) == 0
    for name in PROBES:
        for folder in (tmp_path, run / "probes"):
            assert (folder / f"{name}.svg").read_text().startswith("<?xml")
            assert {row["at"] for row in table(folder / f"{name}.csv")} == {"init", "1", "last"}
    assert len(table(tmp_path / "loss_landscape.csv")) == 3 * 2 * 2

    def refuse(job: object) -> None:
        raise AssertionError(f"computed again: {job}")

    monkeypatch.setattr(work, "run_job", refuse)
    capsys.readouterr()
    assert type_command(*words) == 0
    assert "parts are there already" in capsys.readouterr().err
    (gone := next((tmp_path / "parts").glob("*.json"))).unlink()
    with pytest.raises(AssertionError, match="computed again"):
        type_command(*words)
    gone.write_text("{")
    with pytest.raises(UserError, match=r"cannot be read .*; delete it"):
        type_command(*words)


def test_the_initialisation_of_a_run_is_what_its_training_began_with(run: Path) -> None:
    (target,) = find_targets([str(run)], ["init"], ["trainer.threads=1"])
    before = open_subject(target, 8, "train").network.state_dict()
    (named,) = find_targets(["cifar_resnet"], [], [word for word in TINY if not word.startswith("model=")])
    network = assemble_target(named).network
    for name, value in network.named_parameters():
        assert torch.equal(value, before[name]), name


def test_fresh_deletes_what_probes_and_kept_epochs_have_left(run: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy" / "probes").mkdir(exist_ok=True)
    (tmp_path / "copy" / "probes" / "filters.svg").touch()
    assert (tmp_path / "copy" / "checkpoints" / "epoch_0001.ckpt").exists()
    Run(tmp_path / "copy", "any").clear()
    assert [path.name for path in (tmp_path / "copy").iterdir()] in ([], [".lock"])


def test_labels_tell_networks_apart(run: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run, other := tmp_path / "other")
    words = [str(run), str(other), str(run / "checkpoints" / "last.ckpt"), "resnet20"]
    labels = [target.label for target in find_targets(words, [], ["trainer.threads=1"])]
    assert len(set(labels)) == 4 and labels[-1] == "resnet20"


def test_wrong_words_of_a_run(run: Path, tmp_path: Path) -> None:
    known = [f"run={run}", f"out={tmp_path}", "trainer.threads=1"]
    for words, sentence in {
        ("probe=filters", "at=3"): "has no checkpoint for at=3; kept: 1",
        ("probe=filters", "at=middle"): "at=middle: choose from init, last, best",
        ("probe=filters", "images=2000"): "images=2000: the split train has 1,077 images",
        ("probe=filters", "grid=3"): "grid=3: an option of probe=loss_landscape; probe=filters has none",
        ("probe=filters", "split=dev"): "split=dev: choose one of: train, val, test",
        ("probe=filters", "images=0"): "images=0: a whole number from 1",
        ("probe=loss_landscape", "span=-1"): "span=-1: a number above 0",
        ("probe=filters", "data.nothing=1"): "nothing",
        ("probe=filters", "workers=0"): "workers=0: a whole number",
    }.items():
        with pytest.raises(Exception, match=sentence):
            type_command(*words, *known)
    with pytest.raises(UserError, match="has no shortcuts"):
        type_command("probe=shortcut_ratio", "run=plain20", "images=4", f"out={tmp_path}", "trainer.threads=1")


@pytest.mark.slow
def test_processes_find_the_same(run: Path, tmp_path: Path) -> None:
    for workers in ("1", "2"):
        words = [
            "probe=loss_landscape,filters",
            f"run={run}",
            "at=init,last",
            f"out={tmp_path / workers}",
            "images=32",
            "grid=2",
        ]
        done = command("src.analyze", *words, f"workers={workers}")
        assert done.returncode == 0, done.stderr
    for name in ("loss_landscape.csv", "filters.csv"):
        assert (tmp_path / "1" / name).read_text() == (tmp_path / "2" / name).read_text()
