"""build_data and the data module: sizes, choices that change a set, and a Trainer that resumes inside an epoch."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from src.config.data import Digits
from src.data.adapt import convert_channels, resize_images
from src.data.build import build_data, fingerprint
from src.data.raw import Split
from src.data.transforms import find_preset
from src.errors import UserError

DIGITS = Digits(batch_size=64, val_fraction=0.2505, augment="pad_crop")


def test_digits_is_split_as_documented():
    data = build_data(DIGITS, seed=0)
    assert data.sizes == {"train": 1077, "val": 360, "test": 360}
    assert data.monitored == ("val",)
    assert (data.info.channels, data.info.image_size, data.info.num_classes) == (1, 8, 10)
    labels = torch.cat([labels for _, labels, _ in data.eval_loader("test")])
    assert labels.bincount().min() >= 34
    assert int(data.resident("test", "cpu")[0].max()) == 255
    assert fingerprint(DIGITS).startswith("digits:")


def test_splits_do_not_depend_on_the_run_seed():
    first, second = build_data(DIGITS, seed=0), build_data(DIGITS, seed=1)
    for split in ("val", "test"):
        assert torch.equal(first.resident(split, "cpu")[0], second.resident(split, "cpu")[0])
    batches = [next(iter(data.train_loader()))[0] for data in (first, second)]
    assert not torch.equal(*batches)
    other = build_data(replace(DIGITS, split_seed=1), seed=0)
    assert not torch.equal(first.resident("val", "cpu")[0], other.resident("val", "cpu")[0])
    assert torch.equal(first.resident("test", "cpu")[0], other.resident("test", "cpu")[0]), "the test cut is fixed"


def test_classes_are_chosen_by_name_or_number_and_renumbered():
    data = build_data(replace(DIGITS, classes=["7", "3"], batch_size=8), seed=0)
    whole = build_data(replace(DIGITS, batch_size=8), seed=0)
    assert data.info.classes == ("7", "3")
    assert data.info.mean != whole.info.mean, "measured anew"
    labels, all_labels = data.resident("test", "cpu")[1], whole.resident("test", "cpu")[1]
    assert labels.bincount().tolist() == [(all_labels == 7).sum(), (all_labels == 3).sum()]
    with pytest.raises(UserError, match="'11' is none of the 10 classes"):
        build_data(replace(DIGITS, classes=["1", "11"]), seed=0)
    with pytest.raises(UserError, match="twice"):
        build_data(replace(DIGITS, classes=["1", "1"]), seed=0)


def test_size_and_channels_change_the_set_and_its_facts():
    plain = build_data(DIGITS, seed=0)
    data = build_data(replace(DIGITS, image_size=16, channels=3), seed=0)
    assert (data.info.image_size, data.info.channels, data.padding) == (16, 3, 2)
    assert next(iter(data.train_loader()))[0].shape == (64, 3, 16, 16)
    assert data.info.mean == pytest.approx(plain.info.mean * 3, abs=0.02)
    assert data.info.std[0] < plain.info.std[0], "smoothed"
    grey = build_data(replace(DIGITS, channels=3), seed=0)
    assert grey.info.mean == plain.info.mean * 3, "derived, not measured"


def test_luma_and_resize_are_the_known_ones():
    images = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    images[..., 0], images[..., 1], images[..., 2] = 200, 100, 50
    split = Split(images, np.zeros(1, dtype=np.int64))
    assert convert_channels(split, 1).images.tolist() == np.full((1, 2, 2, 1), 124).tolist()  # 59.8 + 58.7 + 5.7
    assert resize_images(split, 5).images.shape == (1, 5, 5, 3)
    assert (resize_images(split, 5).images == images[0, 0, 0]).all()
    assert (convert_channels(convert_channels(split, 1), 3).images == 124).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 1200}, "data.batch_size=1200 is larger than the 1077 training images"),
        ({"batch_size": 64, "limit_train": 50}, "larger than the 50 training images"),
        ({"limit_train": 2000}, "asks for 2000 of 1077"),
        ({"augment": "pad_corp"}, "none, pad_crop, pad_crop_flip, shift2_alternate"),
        ({"normalize": "weights"}, "data.normalize=weights: .* needs model.weights=<a checkpoint of ours>"),
        ({"val_fraction": 0.0001}, "no val images"),
        ({"name": "digit"}, "data=digit"),
    ],
)
def test_wrong_settings_are_one_sentence(options: dict, words: str):
    with pytest.raises(UserError, match=words) as error:
        build_data(replace(DIGITS, **options), seed=0)
    assert "\n" not in str(error.value)


def test_a_batch_must_divide_over_devices_and_parts():
    words = "data.batch_size=100 does not divide over 3 devices × 1 accumulated part"
    config = replace(DIGITS, batch_size=100)
    with pytest.raises(UserError, match=words):
        build_data(config, seed=0, devices=3)
    with pytest.raises(UserError, match=words):
        build_data(config, seed=0).train_loader(world=3)
    with pytest.raises(UserError, match="1 device × 8 accumulated parts"):
        build_data(config, seed=0, accumulate=8)


def test_limits_share_the_validation_set_and_are_nested():
    whole, half, few = (build_data(replace(DIGITS, limit_train=k), seed=0) for k in (None, 0.5, 100))
    assert [d.sizes["train"] for d in (whole, half, few)] == [1077, 538, 100]
    assert torch.equal(whole.resident("val", "cpu")[0], few.resident("val", "cpu")[0])
    assert few.resident("train", "cpu")[1].bincount().tolist() == [10] * 10
    seen = [{tuple(i.flatten().tolist()) for i in d.resident("train", "cpu")[0]} for d in (whole, half, few)]
    assert seen[2] < seen[1] < seen[0]


def test_padding_follows_the_image_size():
    assert [find_preset("pad_crop_flip").padding(size) for size in (4, 8, 28, 32, 64)] == [1, 1, 4, 4, 8]
    assert find_preset("none").padding(32) == 0


def test_a_preset_reaches_the_loader():
    loader = build_data(replace(DIGITS, augment="rotate_scale_flip"), seed=0).train_loader()
    assert (loader.padding, loader.flip, loader.rotate, loader.scale) == (0, True, 15.0, 0.1)
    images, _ = next(iter(loader))
    assert images.shape == (64, 1, 8, 8)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_auto_is_the_sets_own_normalisation_where_nobody_chose_before():
    auto, own = (build_data(replace(DIGITS, normalize=name), seed=0).normalization for name in ("auto", "dataset"))
    assert auto == own


@pytest.mark.parametrize("name", ["imagenet", "per_pixel_mean"])
def test_the_normalisation_of_the_weights_is_used_as_it_is(name: str):
    stored = build_data(replace(DIGITS, normalize=name, limit_train=100), seed=0).normalization
    config = replace(DIGITS, normalize="weights")
    assert build_data(config, seed=0, normalization=stored).normalization is stored
    other = build_data(replace(DIGITS, normalize="dataset"), seed=0, normalization=stored)
    assert other.normalization["name"] == "dataset", "only data.normalize=weights uses it"


@pytest.mark.parametrize(
    ("trained_on", "used_on", "words"),
    [
        ({"channels": 3}, {}, "saw images of 3 channels, not of 1; set data.channels=3"),
        ({}, {"channels": 3}, "saw images of 1 channel, not of 3; set data.channels=1"),
        ({}, {"image_size": 16}, "has a side of 8 pixels, not of 16; set data.image_size=8"),
    ],
)
def test_the_normalisation_of_other_images_is_refused_in_one_sentence(trained_on: dict, used_on: dict, words: str):
    stored = build_data(replace(DIGITS, normalize="per_pixel_mean", **trained_on), seed=0).normalization
    with pytest.raises(UserError, match=words) as error:
        build_data(replace(DIGITS, normalize="weights", **used_on), seed=0, normalization=stored)
    assert "\n" not in str(error.value)


class Recorder(LightningModule):
    """Keeps what it is trained and validated on; learns one number, so that a checkpoint has weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.batches: list[torch.Tensor] = []
        self.validated: list[int] = []

    def training_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> torch.Tensor:
        self.batches.append(batch[0].clone())
        return (self.weight * batch[0].mean()).sum()

    def validation_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.validated.append(len(batch[2]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Fails(Callback):
    """Breaks off in the middle of a step, after its batch was fetched, and saves as a signal would make it."""

    def __init__(self, at: int, path: Path) -> None:
        self.at, self.path = at, path

    def on_before_optimizer_step(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == self.at:
            trainer.save_checkpoint(self.path)
            raise RuntimeError("power cut")


def trainer(folder: Path, *callbacks: Callback, epochs: int = 3, reload: int = 1) -> Trainer:
    return Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_epochs=epochs,
        reload_dataloaders_every_n_epochs=reload,
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


@pytest.fixture
def quiet() -> None:
    warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("val_fraction", [0.2505, 0.0])
def test_a_trainer_resumes_from_any_checkpoint_with_the_same_batches(tmp_path: Path, val_fraction: float):
    config = replace(DIGITS, batch_size=256, val_fraction=val_fraction)

    def run(resume: Path | None, *callbacks: Callback) -> Recorder:
        module = Recorder()
        trainer(tmp_path, *callbacks).fit(module, build_data(config, seed=0), ckpt_path=resume)
        return module

    keep = {"dirpath": tmp_path, "save_top_k": -1, "filename": "{step}"}
    each_step, each_epoch = (
        ModelCheckpoint(every_n_train_steps=1, **keep),
        ModelCheckpoint(every_n_epochs=1, save_on_train_epoch_end=True, **(keep | {"filename": "end{epoch}"})),
    )
    whole = run(None, each_step, each_epoch)
    per_epoch = len(whole.batches) // 3
    assert per_epoch == (4 if val_fraction else 5)
    assert sum(whole.validated) == (3 * 360 if val_fraction else 0)
    assert not torch.equal(whole.batches[0], whole.batches[per_epoch]), "each epoch has its own order"
    with pytest.raises(RuntimeError, match="power cut"):
        run(None, Fails(per_epoch + 1, tmp_path / "failed.ckpt"))
    starts = {"failed": per_epoch + 1, "endepoch=0": per_epoch, f"step={per_epoch}": per_epoch}
    starts |= {f"step={step}": step for step in (2, per_epoch + 1, 2 * per_epoch + 2)}
    for name, start in starts.items():
        resumed = run(tmp_path / f"{name}.ckpt").batches
        assert len(resumed) == len(whole.batches) - start, name
        assert all(torch.equal(a, b) for a, b in zip(resumed, whole.batches[start:], strict=True)), name


@pytest.mark.usefixtures("quiet")
def test_a_trainer_validates_on_the_monitored_splits_and_tests_all_samples(tmp_path: Path):
    data = build_data(DIGITS, seed=0)
    data.monitored = ("val", "test")
    module = Recorder()
    module.test_step = module.validation_step  # type: ignore[method-assign, assignment]
    fitted = trainer(tmp_path, epochs=1)
    fitted.fit(module, data)
    assert sum(module.validated) == 360 + 360
    module.validated.clear()
    fitted.test(module, data, verbose=False)
    assert sum(module.validated) == 360


@pytest.mark.usefixtures("quiet")
def test_a_trainer_that_keeps_its_loader_draws_each_epoch_anew(tmp_path: Path):
    reloaded, kept = Recorder(), Recorder()
    trainer(tmp_path, epochs=2).fit(reloaded, build_data(DIGITS, seed=0))
    trainer(tmp_path, epochs=2, reload=0).fit(kept, build_data(DIGITS, seed=0))
    assert len(kept.batches) == len(reloaded.batches)
    assert all(torch.equal(a, b) for a, b in zip(kept.batches, reloaded.batches, strict=True))


@pytest.mark.usefixtures("quiet")
def test_a_trainer_that_accumulates_other_parts_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="accumulate_grad_batches=2"):
        trainer(tmp_path, epochs=1).fit(Recorder(), build_data(DIGITS, seed=0, accumulate=2))
