"""Starting from weights and fine-tuning: what learns when, in whole runs on real digits and piece by piece."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers import assert_equal, command, compose, results, start, train, wait_for, weights
from torch import Tensor, nn

from src.config.optim import SGD
from src.errors import UserError
from src.models.pretrained.files import compute_sha256
from src.optim.build import build_optimizer
from src.optim.finetune import count_learning, list_parts, set_learning
from src.optim.schedule import build_plateau, set_learning_rate
from src.runs.identity import compute_config_hash
from src.training.settle import settle_weights
from src.zoo.registry import row, rows
from zoo import build

FIRST, SECOND = "data.classes=[0,1,2,3,4]", "data.classes=[5,6,7,8,9]"


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the first five digits."""
    path = tmp_path_factory.mktemp("pretrained") / "run"
    done = train(path, FIRST)
    assert done.returncode == 0, done.stderr
    return path


def backbone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name.startswith("model.backbone")}


# Pieces


@pytest.mark.parametrize("name", [name for name in rows() if row(name).family == name])
def test_parts_hold_each_parameter_once(name: str) -> None:
    model = build(name, device="meta")
    found = [p for modules in list_parts(model) for module in modules for p in module.parameters()]
    assert len(found) == len(set(map(id, found))) == len(list(model.parameters()))
    assert list_parts(model)[0] == [model.head]
    assert len(list_parts(model)) in (
        len(model.backbone.feature_channels) + 1,
        len(model.backbone.feature_channels) + 2,
    )


def test_gradual_unfreezing_goes_from_the_head_to_the_stem_by_half_time() -> None:
    assert [count_learning("gradual", e / 10, 6) for e in range(10)] == [1, 2, 3, 4, 5, 6, 6, 6, 6, 6]
    assert [count_learning("gradual", e / 4, 5) for e in range(4)] == [1, 3, 5, 5]
    assert {count_learning("full", e / 4, 5) for e in range(4)} == {5}
    assert {count_learning("head", e / 4, 5) for e in range(4)} == {1}


def test_what_does_not_learn_keeps_its_statistics_too() -> None:
    model = build("preact_resnet").train()
    set_learning(model, 0.2, finetune="gradual", freeze_batchnorm=False)  # head and last stage
    learned = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[1] for name in learned} == {"linear", "stages", "norm"}
    assert not any(name.startswith(("backbone.stages.0", "backbone.stages.1", "backbone.stem")) for name in learned)
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    changed = {name for name, value in model.named_buffers() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith(("backbone.stages.2", "backbone.norm")) for name in changed)
    assert {name for name, p in model.named_parameters() if p.grad is not None} == learned


def test_frozen_batchnorm_is_the_backbones_alone() -> None:
    model = build("resnet20").train()
    set_learning(model, 0.0, finetune="full", freeze_batchnorm=True)
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(norm.weight.requires_grad for norm in norms)
    assert all(m.weight.grad is not None for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))


@pytest.mark.parametrize("decay_norm_and_bias", [True, False])
def test_the_backbones_rate_is_a_share_of_the_heads(decay_norm_and_bias: bool) -> None:
    model = build("resnet20")
    config = SGD(lr=0.5, momentum=0.0, schedule="plateau", final=0.1, decay_norm_and_bias=decay_norm_and_bias)
    optimizer = build_optimizer(config, model, backbone_lr=0.1)
    assert build_plateau(config, optimizer).min_lrs == [pytest.approx(g["lr"] * 0.1) for g in optimizer.param_groups]
    for rate in (0.5, 0.25):
        set_learning_rate(optimizer, rate)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        for name, p in model.named_parameters():
            expected = rate if name.startswith("head") else rate / 10
            torch.testing.assert_close(before[name] - p, torch.full_like(p, expected), rtol=0, atol=1e-6)


# Configuration and identity


def test_the_content_of_the_weights_names_the_run_not_their_place(pretrained: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copy.ckpt"
    shutil.copy(pretrained / "checkpoints" / "last.ckpt", elsewhere)
    hashes = set()
    for where in (pretrained, elsewhere):
        config = compose("data=digits", "model=cifar_resnet", f"model.weights={where}")
        config = settle_weights(config)
        assert config.model.weights_sha256 == compute_sha256(elsewhere)
        assert config.data.normalize == "weights"
        hashes.add(compute_config_hash(config, ""))
    bare = compose("data=digits", "model=cifar_resnet")
    bare = settle_weights(bare)
    assert bare.data.normalize == "dataset"
    assert len(hashes) == 1 and compute_config_hash(bare, "") not in hashes


def test_the_users_choice_of_normalisation_stays(pretrained: Path) -> None:
    config = compose("data=digits", "model=cifar_resnet", f"model.weights={pretrained}", "data.normalize=dataset")
    config = settle_weights(config)
    assert config.data.normalize == "dataset"


def test_wrong_wishes_are_one_sentence(pretrained: Path, tmp_path: Path) -> None:
    for name in ("head", "gradual"):
        with pytest.raises(UserError, match=f"finetune={name}: the backbone would stay random; .*model.weights="):
            compose(f"finetune={name}")
    with pytest.raises(UserError, match="finetune.backbone_lr=0.0: above 0"):
        compose("finetune.backbone_lr=0")
    with pytest.raises(UserError, match="model.weights_sha256: names no file"):
        compose("model.weights_sha256=abc")
    config = compose(f"model.weights={pretrained}", "model.weights_sha256=abc")
    with pytest.raises(UserError, match=r"model.weights=.*last.ckpt: its sha256 is [0-9a-f]{64}, not abc"):
        settle_weights(config)
    wider = train(tmp_path / "run", SECOND, f"model.weights={pretrained}", "model.width=8")
    assert wider.returncode == 1 and wider.stderr.count("\n") == 1
    assert "weights of another architecture" in wider.stderr and not (tmp_path / "run").exists()
    plain = train(tmp_path / "run", FIRST, f"model.weights={pretrained}", "model.shortcut=none")
    assert "was trained with model.shortcut=A, and this one has none" in plain.stderr and plain.returncode == 1
    with pytest.raises(UserError, match="finetune=head leaves the backbone as it is"):
        compose("finetune=head", "finetune.backbone_lr=0.5", "model.weights=x")
    with pytest.raises(UserError, match="would fix random statistics"):
        compose("finetune.freeze_batchnorm=true")
    ddp = train(tmp_path / "run", f"model.weights={pretrained}", "finetune=gradual", "trainer=ddp", "trainer.devices=1")
    assert ddp.returncode == 1 and "use one device" in ddp.stderr


# Runs


def test_only_the_head_learns(pretrained: Path, tmp_path: Path) -> None:
    done = train(tmp_path / "run", SECOND, f"model.weights={pretrained}", "finetune=head")
    assert done.returncode == 0, done.stderr
    assert "skipped: the file's head (5 other classes); fresh: head (5 classes)." in done.stderr
    assert "Pixels: data.normalize=weights; these weights expect weights." in done.stderr
    assert "85 of 4,849 parameters are trained." in done.stderr
    before, after = weights(pretrained), weights(tmp_path / "run")
    assert_equal(backbone(before), backbone(after))
    assert not torch.equal(before["model.head.linear.weight"], after["model.head.linear.weight"])
    assert results(tmp_path / "run")["metrics"]["test/accuracy"] > 0.25


@pytest.mark.slow
def test_a_gradual_run_that_was_killed_ends_with_the_same_bits(pretrained: Path, tmp_path: Path) -> None:
    """Also where the file that it started from is gone when it continues."""
    file = tmp_path / "start.ckpt"
    shutil.copy(pretrained / "checkpoints" / "last.ckpt", file)
    words = (SECOND, f"model.weights={file}", "finetune=gradual", "finetune.backbone_lr=0.5", "trainer.max_epochs=4")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = train(whole, *words)
    assert done.returncode == 0, done.stderr
    process = start(killed, *words, "trainer.checkpoint_minutes=0")
    wait_for(killed / "metrics.csv", process)
    process.kill()
    process.communicate()
    file.unlink()
    again = command("src.train", f"resume={killed}")
    assert again.returncode == 0, again.stderr
    assert_equal(weights(whole), weights(killed))
    before, after = backbone(weights(pretrained)), backbone(weights(whole))
    assert [name for name in before if name.endswith("weight") and torch.equal(before[name], after[name])] == []
    groups = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"]
    assert [group.get("scale", 1.0) for group in groups] == [1.0, 0.5]
    assert results(whole)["metrics"] == results(killed)["metrics"]


def test_frozen_batchnorm_stays_as_the_weights_have_it(pretrained: Path, tmp_path: Path) -> None:
    done = train(tmp_path / "run", SECOND, f"model.weights={pretrained}", "finetune.freeze_batchnorm=true")
    assert done.returncode == 0, done.stderr
    before, after = backbone(weights(pretrained)), backbone(weights(tmp_path / "run"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(before[name].ndim == 4 for name in changed)  # the convolutions alone


def test_what_does_not_fit_is_refused_before_a_directory_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from src.data.sets.digits import DIGITS
    from src.models.build import build_model
    from src.training import assemble

    config = compose("data=digits", "model=resnet56", "data.batch_size=64", "trainer.precision=fp32", "trainer=cpu")
    config.trainer.devices = 1
    model = build_model(config.model, DIGITS)
    assert "for a step" in assemble.describe_memory(config, model, DIGITS)
    monkeypatch.setattr(assemble, "measure_free_memory", lambda accelerator: 20_000_000)
    with pytest.raises(UserError, match="needs about .* only 20 MB is free: .*trainer.accumulate=") as plain:
        assemble.describe_memory(config, model, DIGITS)
    config.trainer.accumulate, config.optim.ema = 2, 0.9
    with pytest.raises(UserError) as halved:
        assemble.describe_memory(config, model, DIGITS)
    assert str(halved.value) != str(plain.value)
    assert model.backbone.checkpoint_activations is False
