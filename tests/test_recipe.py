"""A recipe that fits a set of one's own pictures, classes of uneven size, early stopping, and the range test."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TINY, compose
from PIL import Image

from src.config.optim import FinetuneConfig
from src.data.recipe import fit_recipe
from src.errors import UserError
from src.files import read_csv
from src.runs.identity import collect_identity, compute_config_hash
from src.runs.results import read_metrics
from src.tasks.classification import balance_classes
from src.training import fitting
from src.training.lr_find import FIRST, LAST, STEPS, choose_rate
from src.training.patience import count_stale_epochs
from src.training.run import train
from src.training.settle import settle, settle_machine, settle_weights

CPU = ("trainer=cpu", "trainer.precision=fp32")
SETS = [
    (n, classes, pixels)
    for n in (24, 90, 400, 2_000, 30_000, 10**6)
    for classes in (2, 10, 200)
    for pixels in (8, 28, 64, 160, 500)
]


@pytest.mark.parametrize(("n", "classes", "pixels"), SETS)
def test_the_rule_holds_for_any_set(n: int, classes: int, pixels: int) -> None:
    recipe = fit_recipe(n, classes, pixels, 3)
    steps = n // recipe.batch_size * recipe.epochs
    assert 8 <= recipe.batch_size <= max(8, n // 16) and recipe.batch_size <= 64
    assert 30 <= recipe.epochs <= 300 and steps >= min(1000, 300 * (n // recipe.batch_size))
    assert 32 <= recipe.image_size <= max(32, pixels) and recipe.image_size <= 224
    assert recipe.image_size == 128 or pixels < 128 or (n >= 5000 and recipe.image_size == 224)
    assert 0 < recipe.lr < 0.01 and recipe.augment == "small_photos"


def test_the_rule_follows_what_a_person_sets() -> None:
    fitted, mine = fit_recipe(400, 5, 64, 3), fit_recipe(400, 5, 64, 3, batch_size=64)
    assert mine.batch_size == 64 and mine.lr > fitted.lr and mine.epochs > fitted.epochs
    assert fit_recipe(400, 5, 64, 3, optim="sgd").lr > fitted.lr
    tuned = fit_recipe(400, 5, 500, 3, pretrained=True)
    assert (tuned.image_size, tuned.lr < fitted.lr, tuned.epochs < fitted.epochs) == (224, True, True)
    assert fit_recipe(400, 5, 28, 1).augment == "small_signs", "a mirror turns signs into others"
    with pytest.raises(UserError, match="optim.lr=auto: is known for adamw, adam, sgd, not for muon"):
        fit_recipe(400, 5, 64, 3, optim="muon")


def draw(root: Path, counts: tuple[int, ...], *, grey: bool = False, size: tuple[int, int] = (40, 36)) -> Path:
    """Classes of noise, each with a brighter quarter of its own."""
    for kind, count in enumerate(counts):
        folder = root / f"kind{kind}"
        folder.mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng([kind, i]).integers(0, 120, (size[1], size[0], 3)).astype(np.uint8)
            pixels[18 * (kind // 2) :][:18, 20 * (kind % 2) :][:, :20] += 100
            Image.fromarray(pixels[..., 0] if grey else pixels).save(folder / f"{i:03}.png")
    return root


def words(root: Path, *more: str) -> tuple[str, ...]:
    tiny = [word for word in TINY if not word.startswith(("data=", "trainer.max_epochs="))]
    return (*tiny, "data=folder", f"data.root={root}", f"output_root={root.parent / 'out'}", *more)


def test_what_is_not_set_is_fitted_and_said(tmp_path: Path) -> None:
    root = draw(tmp_path / "set", (60, 60))
    settled = settle(compose(*words(root)))
    config = settled.config
    assert (config.data.batch_size, config.data.image_size, config.data.channels) == (8, 32, 3)
    assert (config.optim.name, config.optim.lr, config.trainer.max_epochs) == ("adamw", 0.001, 100)
    assert (config.data.augment, config.data.decode, config.task.headline) == ("small_photos", "once", "accuracy")
    told = "\n".join(settled.notes)
    assert "24 pictures cut from all 120" in told and "Fitted to about 86" in told and "1,000 in all" in told
    again = settle(config)
    assert again.hash == settled.hash and not again.notes, "what is settled stays"
    mine = settle(compose(*words(root, "data.batch_size=16", "optim.lr=0.5", "trainer.max_epochs=3")))
    assert (mine.config.data.batch_size, mine.config.optim.lr, mine.config.trainer.max_epochs) == (16, 0.5, 3)
    assert "yours: data.batch_size=16 trainer.max_epochs=3 optim.lr=0.5" in "\n".join(mine.notes)
    typed = compose(
        *words(root, "data.batch_size=auto", "optim.lr=auto", "trainer.max_epochs=auto", "data.channels=auto")
    )
    assert settle(typed).hash == settled.hash
    sgd = settle(compose(*words(root, "optim=sgd_cosine"))).config.optim
    assert (sgd.schedule, sgd.lr) == ("cosine", pytest.approx(0.0125, rel=0.05))


@pytest.mark.parametrize("word", ["optim.lr=auto", "trainer.max_epochs=auto", "data.batch_size=auto", "optim.lr=0"])
def test_other_sets_are_not_fitted(word: str) -> None:
    with pytest.raises(UserError, match=f"{word.partition('=')[0]}=0"):
        compose(word)


def test_grey_and_uneven_sets_are_seen(tmp_path: Path) -> None:
    root = draw(tmp_path / "set", (60, 12), grey=True)
    settled = settle(compose(*words(root)))
    assert (settled.config.data.channels, settled.config.task.headline) == (1, "f1")
    assert "from 9 to 43 training pictures; data.balance=sampler or =loss evens them" in "\n".join(settled.notes)
    assert "data.balance=loss; the best" in "\n".join(settle(compose(*words(root, "data.balance=loss"))).notes)
    weights = balance_classes([30, 10, 0])
    assert weights[0] * 30 == weights[1] * 10 == 20 and torch.isfinite(weights).all()


def test_a_large_set_is_decoded_while_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = draw(tmp_path / "set", (30, 30))
    monkeypatch.setattr(fitting, "RESIDENT", 1000)
    config = settle(compose(*words(root))).config
    assert (config.data.decode, config.data.augment) == ("while_training", "imagenet_v1")
    assert settle(compose(*words(root, "data.decode=once"))).config.data.augment == "small_photos"


def test_weights_are_taken_where_they_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = draw(tmp_path / "set", (30, 30))
    settled = settle(compose(*words(root, "model.weights=auto")))
    assert settled.config.model.weights is None and "From scratch: model.weights=auto" in "\n".join(settled.notes)
    with pytest.raises(UserError, match="torchvision has no weights"):
        settle(compose(*words(root, "model.weights=auto", "finetune=head")))
    monkeypatch.setattr("src.models.pretrained.files.find_weights", lambda name, model: Path(name))
    config, told = fitting.fit_to_data(compose(*words(root, "model.weights=auto")))
    assert (config.model.weights, config.finetune, told[0][:5]) == (
        "DEFAULT",
        FinetuneConfig(name="gradual"),
        "Test:",
    )
    assert config.optim.lr < 0.001


def test_patience_counts_from_the_first_of_equal_epochs() -> None:
    rows = [{"val/f1": value} for value in (0.1, 0.5, 0.3, 0.5, 0.4)]
    assert [count_stale_epochs(rows[:k], "val/f1") for k in range(6)] == [0, 0, 0, 1, 2, 3]


def test_a_training_stops_early_and_so_does_a_resumed_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = draw(tmp_path / "set", (20, 20))
    stale = (
        "trainer.max_epochs=30",
        "trainer.patience=2",
        "optim.lr=1e-9",
        "protocol=best_val",
        "data.val_fraction=0.3",
    )
    results = train(compose(*words(root, *stale)), tmp_path / "run")
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert results["epochs"] == len(rows) < 30 and count_stale_epochs(rows, "val/accuracy") == 2
    assert "Stopping early: val/accuracy was best in epoch" in capsys.readouterr().err
    (tmp_path / "run" / "results.json").unlink()  # as if killed before it was written
    again = train(compose(*words(root, *stale)), tmp_path / "run")
    assert (again["epochs"], again["metrics"]["test/accuracy"]) == (
        results["epochs"],
        results["metrics"]["test/accuracy"],
    )
    with pytest.raises(UserError, match="trainer.patience watches the validation"):
        compose("trainer.patience=3", "data.val_fraction=0")


def test_new_settings_leave_no_trace_in_old_runs() -> None:
    new = {"patience", "find_lr", "balance", "decode", "test_fraction", "group", "table", "headline", "cache"}
    assert not new & {name.rpartition(".")[2] for name in collect_identity(compose("data=imagenet"))}


def test_a_run_of_the_former_recipe_keeps_its_name() -> None:
    former = ("data.batch_size=128", "data.image_size=null", "data.channels=null", "data.augment=pad_crop_flip")
    former += (
        "data.decode=once",
        "optim=sgd_cosine",
        "optim.lr=0.1",
        "task.label_smoothing=0",
        "trainer.max_epochs=90",
    )
    config = compose("model=resnet18_cifar", "data=folder", "task.headline=accuracy", *former, *CPU)
    assert compute_config_hash(settle_machine(settle_weights(config)), "content") == "46f55de90c"


def test_the_range_test_takes_the_steepest_fall() -> None:
    rates = [FIRST * (LAST / FIRST) ** (k / (STEPS - 1)) for k in range(STEPS)]
    losses = [2 - 1.5 / (1 + math.exp(-4 * (math.log10(lr) + 3))) + 50 * max(0.0, lr - 1) for lr in rates]
    assert 5e-4 < choose_rate(rates, losses) < 1e-2
    with pytest.raises(UserError, match="does not fall"):
        choose_rate(rates, sorted(losses))
    with pytest.raises(UserError, match="does not fall"):
        choose_rate(rates[:3], losses[:3])


def test_a_found_learning_rate_names_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ("optim.lr=find", "trainer.max_epochs=1", f"output_root={tmp_path}")
    tiny = [word for word in TINY if "max_epochs" not in word]
    first = train(compose(*tiny, *short))
    assert capsys.readouterr().err.count("a range test") == 1
    run = Path(first["run"])
    assert (run / "lr_find.png").stat().st_size > 5_000
    assert read_csv(run / "lr_find.csv")[0] == ["lr", "loss", "smoothed"]
    again = train(compose(*tiny, *short))
    said = capsys.readouterr().err
    assert again["run"] == first["run"] and "a range test" not in said and "Finished before" in said
    shutil.rmtree(tmp_path / "lr_find")
    assert train(compose(*tiny, *short))["run"] == first["run"], "the test is a function of settings and seed"
    with pytest.raises(UserError, match="is for a single run"):
        settle(compose(*tiny, *short))


@pytest.mark.slow
@pytest.mark.parametrize("balance", ["none", "sampler", "loss"])
def test_the_default_learns_a_small_uneven_set(tmp_path: Path, balance: str) -> None:
    root = draw(tmp_path / "set", (60, 60, 12), grey=True, size=(32, 32))  # signs: photos are mirrored
    results = train(compose(*words(root, "model.width=8", f"data.balance={balance}")))
    assert results["metrics"]["test/f1"] > 0.85
