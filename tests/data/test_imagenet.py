"""Photos decoded while training: the same batches whoever reads them, torchvision's presets, mixing, sizes, damage."""

import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import ROOT, SHARED_DATA, assert_equal, compose, environment, wait_for, weights
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from src.config.data import Digits, ImageNet
from src.data.build import build_data, fingerprint
from src.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from src.data.order import BATCH, derive_seed
from src.data.photos.augment import Mixing, TrainTransform, draw_mixing, erase, mix_images
from src.data.photos.reader import read_photo
from src.data.photos.sizes import compute_side
from src.data.transforms import PHOTOS
from src.data.workers import count_workers
from src.errors import UserError
from src.tasks.classification import ClassificationTask
from src.training.run import train

CLASSES = ("n01440764", "n02102040", "n02979186")


def photo(path: Path, seed: int, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: Any) -> Path:
    """A smooth random picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(256, size=(5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path, **options)
    return path


def make(root: Path) -> Path:
    """Three classes of 8 training and 3 val photos; some grey, and some that are PNG by their content."""
    for split, count in (("train", 8), ("val", 3)):
        for k, name in enumerate(CLASSES):
            for i in range(count):
                mode = "L" if (k, i) in ((0, 1), (2, 2)) else "RGB"
                kind = {"format": "PNG"} if (k, i) == (1, 0) else {"quality": 95}
                photo(
                    root / split / name / f"{name}_{i}.JPEG",
                    100 * k + i + 50 * (split == "val"),
                    mode,
                    (40 + i, 30 + 5 * k),
                    **kind,
                )
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be read only."""
    return make(tmp_path_factory.mktemp("photos") / "set")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "set")


def config(root: Path, **options: Any) -> ImageNet:
    common = {"name": "imagenet", "root": str(root), "batch_size": 8, "eval_batch_size": 4, "val_fraction": 0.25}
    return ImageNet(**common | {"augment": "imagenet_v2", "image_size": 16, "workers": 0} | options)


def build(root: Path, **options: Any) -> Any:
    return build_data(config(root, **options), seed=3)


def equal(first: Any, second: Any) -> bool:
    return len(first) == len(second) > 0 and all(
        torch.equal(a, b) for pair in zip(first, second, strict=True) for a, b in zip(*pair, strict=True)
    )


# The same batches


def test_batches_depend_on_seed_and_epoch_alone(made: Path) -> None:
    before = torch.get_rng_state()
    whole = list(build(made, val_fraction=0.0).train_loader(epoch=1))
    assert torch.equal(torch.get_rng_state(), before), "the generator of the run is left alone"
    assert len(whole) == 3
    assert whole[0][0].shape == (8, 3, 16, 16)
    assert whole[0][0].is_contiguous(memory_format=torch.channels_last)
    torch.manual_seed(7)
    assert equal(list(build(made, val_fraction=0.0, workers=2).train_loader(epoch=1)), whole)
    assert not equal(list(build(made, val_fraction=0.0).train_loader(epoch=2)), whole)
    assert not equal(list(build_data(config(made, val_fraction=0.0), seed=4).train_loader(epoch=1)), whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_resumes_inside_its_epoch(made: Path, workers: int) -> None:
    data = build(made, val_fraction=0.0, workers=workers)
    whole, done = list(data.train_loader(epoch=1)), 0
    loader = data.train_loader(epoch=1, trained=lambda: done)
    batches = iter(loader)
    next(batches), next(batches)
    assert loader.state_dict() == {"epoch": 1, "batch": 0}, "fetched is not trained on"
    done = 2
    resumed = data.train_loader(epoch=1)
    resumed.load_state_dict(loader.state_dict())
    batches.close()
    assert equal(list(resumed), whole[2:])
    assert len(list(resumed)) == 3, "only the interrupted pass is shortened"
    other = data.train_loader(epoch=2)
    other.load_state_dict({"epoch": 1, "batch": 2})
    assert len(list(other)) == 3


@pytest.mark.parametrize("augment", ["imagenet_v1", "imagenet_v2"])
def test_ranks_and_accumulated_parts_see_the_batches_of_one_process(made: Path, augment: str) -> None:
    one = list(build(made, augment=augment, val_fraction=0.0).train_loader())
    data = build_data(config(made, augment=augment, val_fraction=0.0), seed=3, accumulate=2, devices=2)
    ranks = [list(data.train_loader(rank=rank, world=2)) for rank in range(2)]
    assert [len(parts) for parts in ranks] == [6, 6]
    for step, (images, labels) in enumerate(one):
        parts = [ranks[rank][2 * step + part] for part in range(2) for rank in range(2)]
        assert torch.equal(torch.cat([part[0] for part in parts]), images)
        assert torch.equal(torch.cat([part[1] for part in parts]), labels)


def test_evaluation_counts_each_sample_once(made: Path) -> None:
    data = build(made, val_fraction=0.25, workers=1)
    assert data.sizes == {"train": 18, "val": 6, "test": 9}
    for split, n in data.sizes.items():
        for world in (1, 2, 5):
            batches = [b for rank in range(world) for b in data.eval_loader(split, rank=rank, world=world)]
            assert sorted(torch.cat([indices for _, _, indices in batches]).tolist()) == list(range(n))
            labels = torch.cat([labels for _, labels, _ in batches])
            assert labels.bincount().tolist() == [n // 3] * 3


def test_a_worker_gets_all_it_needs_by_pickling(made: Path) -> None:
    loader = build(made).train_loader()
    again = pickle.loads(pickle.dumps(loader.read))
    numbers = np.array([4, 2])
    assert all(torch.equal(a, b) for a, b in zip(again(numbers), loader.read(numbers), strict=True))


def test_workers_are_the_cores_that_training_leaves_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert [count_workers(None, devices) for devices in (1, 2, 8, 16)] == [15, 7, 1, 0]
    assert count_workers(3, 8) == 3


# What a set may be


def test_splits_classes_and_limits(made: Path) -> None:
    data = build(made)
    assert data.info.classes == CLASSES
    assert data.sizes == {"train": 18, "val": 6, "test": 9}
    assert (data.info.mean, data.normalization["std"]) == (IMAGENET_MEAN, list(IMAGENET_STD))
    assert build(made, val_fraction=0.0).sizes == {"train": 24, "test": 9}
    few = build(made, limit_train=9)
    assert np.bincount(few.splits["train"].labels).tolist() == [3, 3, 3]
    assert set(few.splits["train"].images) < set(data.splits["train"].images)
    assert set(few.splits["val"].images) == set(data.splits["val"].images)
    two = build(made, classes=["n02979186", "0"], batch_size=4)
    assert two.info.classes == ("n02979186", "n01440764")
    assert [path.split(b"/")[1].decode() for path in two.splits["test"].images] == [CLASSES[0]] * 3 + [CLASSES[2]] * 3
    assert two.splits["test"].labels.tolist() == [1, 1, 1, 0, 0, 0]
    grey = build(made, channels=1)
    assert grey.info.channels == 1
    assert next(iter(grey.train_loader()))[0].shape == (8, 1, 16, 16)


def test_labels_are_those_of_the_folders(made: Path) -> None:
    data = build(made)
    for split, folder in (("train", "train"), ("val", "train"), ("test", "val")):
        paths = [path.decode().split("/") for path in data.splits[split].images]
        for _, labels, indices in data.eval_loader(split):
            for label, index in zip(labels.tolist(), indices.tolist(), strict=True):
                assert paths[index][:2] == [folder, CLASSES[label]]


def test_the_fingerprint_tells_content_not_place_and_needs_no_torch(root: Path, tmp_path: Path) -> None:
    first = fingerprint(config(root))
    assert first.startswith("imagenet:")
    shutil.move(root, tmp_path / "elsewhere")
    program = (
        "import sys; from src.config.data import ImageNet; from src.data.build import fingerprint;"
        "print(fingerprint(ImageNet(root=sys.argv[1], augment='imagenet_v1')));"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "elsewhere")]
    assert subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout.strip() == first


def test_unlabelled_test_photos_are_ignored_and_labelled_ones_used(root: Path) -> None:
    photo(root / "test" / "ILSVRC2012_test_00000001.JPEG", 1)
    assert build(root).sizes == {"train": 18, "val": 6, "test": 9}
    for name in CLASSES:
        photo(root / "test" / name / "1.JPEG", 1)
    assert build(root).sizes == {"train": 24, "val": 9, "test": 3}


def flat(root: Path) -> None:
    for path in (root / "val").rglob("*.JPEG"):
        shutil.move(path, root / "val" / path.name)
    for folder in (root / "val").iterdir():
        shutil.rmtree(folder) if folder.is_dir() else None


def nested(root: Path) -> None:
    (root / "ILSVRC" / "Data" / "CLS-LOC").mkdir(parents=True)
    shutil.move(root / "train", root / "ILSVRC" / "Data" / "CLS-LOC" / "train")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, "no such folder"),
        (flat, "val: holds no class folders; move its photos into val/<wnid>/"),
        (nested, "the photos lie deeper: data.root=.*CLS-LOC"),
        (lambda root: shutil.rmtree(root / "val"), "has no folder test"),
        (lambda root: (root / "train" / "n0").mkdir(), "train/n0: this class has no images"),
        (lambda root: photo(root / "val" / "n0" / "1.JPEG", 0), "val/n0: no class of .*train"),
    ],
)
def test_a_wrong_layout_is_one_sentence(root: Path, spoil: Any, words: str) -> None:
    spoil(root)
    for use in (fingerprint, lambda c: build_data(c, seed=0)):
        with pytest.raises(UserError, match=words) as error:
            use(config(root))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"augment": "pad_crop_flip"}, "for photos there are: none, imagenet_v1, imagenet_v2"),
        ({"augment": "imagenet_v3"}, "no such preset"),
        ({"normalize": "per_pixel_mean"}, "no mean image; use data.normalize=imagenet"),
        ({"normalize": "weights"}, "needs model.weights="),
        ({"batch_size": 20}, "larger than the 18 training images"),
        ({"limit_train": 40}, "asks for 40 of 18"),
        ({"classes": ["n01440764", "n9"]}, "'n9' is none of the 3 classes"),
        ({"train_sizes": [8, 16]}, "both name the training images' side"),
        ({"train_sizes": [8, 16], "image_size": None, "train_sizes_ramp": [0.5, 0.2]}, "two rising fractions"),
        ({"mixup": -1.0}, "data.mixup=-1.0"),
        ({"workers": -1}, "data.workers=-1: from 0 to 1024"),
    ],
)
def test_wrong_settings_are_one_sentence(made: Path, options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        build_data(config(made, **options), seed=0)
    assert "\n" not in str(error.value)


def test_a_preset_for_photos_is_refused_on_sets_that_lie_on_the_device() -> None:
    with pytest.raises(UserError, match="is for photos") as error:
        build_data(Digits(batch_size=64, augment="imagenet_v1"), seed=0)
    assert "\n" not in str(error.value)


# Damage


@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_photo_is_named(root: Path, workers: int) -> None:
    bad = root / "train" / CLASSES[0] / f"{CLASSES[0]}_3.JPEG"
    bad.write_bytes(bad.read_bytes()[:-40])
    data = build(root, val_fraction=0.0, workers=workers)
    with pytest.raises(UserError, match=r"_3.JPEG: cannot be read \(.*truncated.*data.skip_unreadable=true") as error:
        list(data.train_loader())
    assert "\n" not in str(error.value)


def test_unreadable_photos_are_left_out_and_counted_where_asked(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "train" / CLASSES[1] / "text.jpg").write_text("no photo")
    bad = root / "val" / CLASSES[2] / f"{CLASSES[2]}_0.JPEG"
    bad.write_bytes(bad.read_bytes()[:200])
    with caplog.at_level(logging.WARNING):
        data = build(root, val_fraction=0.0, skip_unreadable=True, workers=1)
    assert data.sizes == {"train": 24, "test": 8}
    assert caplog.text.count("1 unreadable images are left out") == 2
    assert sum(len(labels) for _, labels, _ in data.eval_loader("test")) == 8
    assert sum(len(labels) for _, labels in data.train_loader()) == 24


def test_any_kind_of_photo_is_read_as_pillow_reads_it(tmp_path: Path) -> None:
    def colours(path: Path, channels: int = 3) -> Tensor:
        pixels = read_photo(path, channels)
        assert pixels.dtype == torch.uint8
        assert pixels.shape == (channels, 30, 40)
        return pixels

    by_pillow = torch.from_numpy(np.array(Image.open(photo(tmp_path / "1.jpg", 1)))).permute(2, 0, 1)
    assert (colours(tmp_path / "1.jpg").int() - by_pillow.int()).abs().max() <= 2
    for name in ("1.ppm", "1.png"):
        Image.open(tmp_path / "1.jpg").save(tmp_path / name)
        assert torch.equal(colours(tmp_path / name), by_pillow)
    (tmp_path / "cut.ppm").write_bytes((tmp_path / "1.ppm").read_bytes()[:-10])
    with pytest.raises(UserError, match="cut.ppm: cannot be read"):
        read_photo(tmp_path / "cut.ppm")
    assert colours(photo(tmp_path / "2.jpg", 1, "CMYK")).float().std() > 1
    for mode in ("L", "RGB"):
        assert colours(photo(tmp_path / f"{mode}.jpg", 1, mode), 1).float().std() > 1
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    assert colours(photo(tmp_path / "turned.jpg", 1, size=(30, 40), exif=exif)).shape == (3, 30, 40)
    with pytest.raises(UserError, match="absent.jpg: cannot be read"):
        read_photo(tmp_path / "absent.jpg")


# Presets


def reference(size: int, **preset: Any) -> v2.Compose:
    """Like ClassificationPresetTrain of torchvision's references."""
    steps: list[Any] = [v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip(0.5)]
    if preset.get("policy"):
        steps.append(v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR))
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    return v2.Compose([*steps, v2.RandomErasing(p=preset["erase"])] if preset.get("erase") else steps)


@pytest.mark.parametrize(
    ("name", "options"), [("imagenet_v1", {}), ("imagenet_v2", {"policy": "ta_wide", "erase": 0.1})]
)
def test_a_preset_draws_what_torchvisions_reference_draws(made: Path, name: str, options: dict) -> None:
    pixels = read_photo(made / "train" / CLASSES[0] / f"{CLASSES[0]}_5.JPEG")
    ours, theirs, erased = TrainTransform(PHOTOS[name], 24), reference(24, **options), 0
    finish = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    for seed in range(60):
        torch.manual_seed(seed)
        image, box = ours(pixels)
        torch.manual_seed(seed)
        expected = theirs(pixels)
        erased += int(box.any())
        torch.testing.assert_close(erase(finish(image)[None], box[None])[0], expected)
    assert (erased > 0) == ("erase" in options)


def test_a_batch_of_the_loader_is_what_the_transforms_make(made: Path) -> None:
    data = build(made, augment="imagenet_v1", image_size=None, test_size=24, train_sizes=[20])
    images, labels = next(iter(data.train_loader()))
    assert images.shape == (8, 3, 20, 20)
    assert not labels.is_floating_point()
    finish = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    evaluate = v2.Compose([v2.Resize(round(24 * 256 / 224), antialias=True), v2.CenterCrop(24), finish])
    for images, _, indices in data.eval_loader("test"):
        for image, index in zip(images, indices.tolist(), strict=True):
            torch.testing.assert_close(image, evaluate(read_photo(made / data.splits["test"].images[index].decode())))


def test_the_sides_of_the_published_recipes(made: Path) -> None:
    for name, sides in (("imagenet_v1", (224, 224, 256)), ("imagenet_v2", (176, 224, 232)), ("none", (224, 224, 256))):
        data = build(made, augment=name, image_size=None)
        assert (*data.train_sizes, data.info.image_size, data.resize) == sides
    assert build(made).info.image_size == 16
    fixed = build(made, test_size=24)
    assert (*fixed.train_sizes, fixed.info.image_size) == (16, 24)


# Mixing


def test_mixing_equals_torchvisions_for_the_same_draw() -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(6, 3, 16, 16, generator=generator), torch.tensor([0, 1, 2, 1, 0, 2])
    before = torch.cat([images[-1:], images]), torch.cat([labels[-1:], labels])
    kinds = set()
    for k in range(40):
        mixing = draw_mixing(derive_seed(0, 0, BATCH, k), mixup=0.2, cutmix=1.0, size=16)
        ours, shares = mix_images(*before, mixing, num_classes=3)
        assert torch.allclose(shares.sum(1), torch.ones(6))
        params: dict[str, Any] = {"labels": labels, "batch_size": 6}
        if mixing.box is None:
            theirs: v2.Transform = v2.MixUp(alpha=0.2, num_classes=3)
            params["lam"] = mixing.fraction
        else:
            theirs = v2.CutMix(alpha=1.0, num_classes=3)
            top, left, bottom, right = mixing.box
            assert 1 - mixing.fraction == pytest.approx((bottom - top) * (right - left) / 256)
            params |= {"box": (left, top, right, bottom), "lam_adjusted": mixing.fraction}
        torch.testing.assert_close(ours, theirs.transform(images, params))
        torch.testing.assert_close(shares, theirs.transform(labels, params))
        kinds.add(mixing.box is None)
    assert kinds == {True, False}


def test_mixed_by_hand() -> None:
    images, labels = torch.tensor([1.0, 2.0, 4.0])[:, None, None, None].expand(3, 1, 2, 2), torch.tensor([0, 1, 1])
    blended, shares = mix_images(images, labels, Mixing(0.75), num_classes=2)
    assert blended[:, 0, 0, 0].tolist() == [1.75, 3.5]
    assert shares.tolist() == [[0.25, 0.75], [0.0, 1.0]]
    cut, shares = mix_images(images, labels, Mixing(0.75, (0, 1, 1, 2)), num_classes=2)
    assert cut[0, 0].tolist() == [[2.0, 1.0], [2.0, 2.0]]
    assert shares.tolist() == [[0.25, 0.75], [0.0, 1.0]]


def test_mixing_is_chosen_by_the_preset_or_the_user(made: Path) -> None:
    assert next(iter(build(made).train_loader()))[1].shape == (8, 3)
    assert next(iter(build(made, mixup=0.0, cutmix=0.0).train_loader()))[1].shape == (8,)
    only = build(made, augment="imagenet_v1", mixup=0.4)
    assert (only.mixup, only.cutmix) == (0.4, 0.0)
    for k in range(20):
        assert draw_mixing(derive_seed(0, 0, BATCH, k), mixup=0.4, cutmix=0.0, size=16).box is None
        assert draw_mixing(derive_seed(0, 0, BATCH, k), mixup=0.0, cutmix=1.0, size=16).box is not None


# Sizes, crops and a whole run


def test_the_side_of_the_training_images_follows_the_epoch() -> None:
    assert [compute_side(epoch, 6, [128, 160, 192]) for epoch in range(6)] == [128, 128, 160, 160, 192, 192]
    assert [compute_side(epoch, 10, [128, 160, 192]) for epoch in range(10)] == [128] * 4 + [160] * 3 + [192] * 3
    ffcv = [160] * 12 + [192] * 4  # its rn18_16_epochs
    assert [compute_side(epoch, 16, [160, 192], [11 / 16, 13 / 16]) for epoch in range(16)] == ffcv
    assert [compute_side(epoch, 5, [128, 224], [0.0, 0.8]) for epoch in range(5)] == [128, 160, 192, 192, 224]


def test_a_loader_has_the_side_of_its_epoch(made: Path) -> None:
    data = build(made, image_size=None, train_sizes=[8, 16], test_size=24)
    for epoch, side in enumerate((8, 8, 16, 16)):
        assert next(iter(data.train_loader(epoch=epoch, epochs=4)))[0].shape[2:] == (side, side)
    assert next(iter(data.eval_loader("val")))[0].shape[2:] == (24, 24)


def test_ten_crops_are_torchvisions(made: Path) -> None:
    data = build(made, ten_crop=True, eval_batch_size=40)
    images, _, _ = next(iter(data.eval_loader("test")))
    assert images.shape == (4, 10, 3, 16, 16), "a batch holds as many crops as it would hold images"
    single = next(iter(build(made, eval_batch_size=4).eval_loader("test")))[0]
    torch.testing.assert_close(images[:, 4], single)
    resized = v2.functional.resize(read_photo(made / data.splits["test"].images[0].decode()), [17], antialias=True)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    for crop, expected in zip(images[0], v2.functional.ten_crop(resized, [16]), strict=True):
        torch.testing.assert_close(crop, (expected / 255 - mean) / std)


RUN = (
    *("data=imagenet", "data.augment=imagenet_v2", "data.batch_size=8", "data.workers=1"),
    *("model=cifar_resnet", "model.depth=8", "model.width=4", "data.test_size=16", "data.ten_crop=true"),
    *("trainer=cpu", "trainer.threads=1", "trainer.precision=fp32", "task.label_smoothing=0.1"),
)


@pytest.mark.filterwarnings("ignore")  # Lightning's
def test_a_whole_run_with_all_of_it(made: Path, tmp_path: Path) -> None:
    words = (*RUN, f"data.root={made}", "data.train_sizes=[8,16]", "trainer.max_epochs=2", "data.val_fraction=0.25")
    found = train(compose(*words), tmp_path)
    assert (found["n_train"], found["n_val"], found["n_test"], found["epochs"]) == (18, 6, 9, 2)
    assert {"train/loss", "val/accuracy", "test/accuracy", "test/f1"} <= found["metrics"].keys()
    assert found["data_fingerprint"] == fingerprint(config(made))


@pytest.fixture
def own_signals() -> Iterator[None]:
    """What an interrupted training leaves goes again."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
@pytest.mark.filterwarnings("ignore")  # Lightning's
def test_a_run_resumes_inside_an_epoch_to_the_same_weights(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*RUN, f"data.root={made}", "data.train_sizes=[8,16]", "trainer.max_epochs=2", "data.val_fraction=0")
    train(compose(*words), tmp_path / "whole")
    training_step = ClassificationTask.training_step

    def interrupted(task: ClassificationTask, batch: Any, batch_idx: int) -> Tensor:
        if task.trainer.global_step == 4:  # the second of three in the second epoch
            os.kill(os.getpid(), signal.SIGINT)
        return training_step(task, batch, batch_idx)

    monkeypatch.setattr(ClassificationTask, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(compose(*words), tmp_path / "parts")
    monkeypatch.undo()
    assert not (tmp_path / "parts" / "results.json").exists()
    train(compose(*words, "data.workers=0"), tmp_path / "parts")
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_ctrl_c_stops_quietly(made: Path, tmp_path: Path) -> None:
    words = (*RUN, f"data.root={made}", "data.train_sizes=[16]", "data.val_fraction=0.25", f"hydra.run.dir={tmp_path}")
    command = [sys.executable, "-m", "src.train", *words, "trainer.max_epochs=2000"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=pipe, text=True, start_new_session=True)
    wait_for(tmp_path / "metrics.csv", process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "Stopped; all is saved" in said
    assert "Traceback" not in said
    assert said.count("Stopping after this step") == 1
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


# Real photos


@pytest.fixture(scope="module")
def imagenette(tmp_path_factory: pytest.TempPathFactory) -> Path:
    unpack = SHARED_DATA / "unpack.py"
    if not unpack.is_file():
        pytest.skip("the real photos of ../shared/data are not here")
    place = tmp_path_factory.mktemp("imagenette")
    subprocess.run([sys.executable, unpack, place, "imagenette160"], check=True, capture_output=True)
    return place / "imagenette160"


def test_real_photos(imagenette: Path) -> None:
    data = build(imagenette, val_fraction=0.0, image_size=64, batch_size=50, eval_batch_size=100, workers=2)
    assert data.sizes == {"train": 800, "test": 300}
    assert data.info.num_classes == 10
    batches = list(data.eval_loader("test"))
    images = torch.cat([images for images, _, _ in batches])
    assert torch.cat([labels for _, labels, _ in batches]).bincount().tolist() == [30] * 10
    assert images.mean((0, 2, 3)).abs().max() < 0.3, "near ImageNet's mean"
    assert (images.std((0, 2, 3)) - 1).abs().max() < 0.3
    grey = [image for image in images if torch.allclose(image[0] * 0.229 + 0.485, image[1] * 0.224 + 0.456, atol=1e-3)]
    assert grey, "some are"
    few = build(imagenette, limit_train=0.1, val_fraction=0.0, image_size=32, batch_size=16)
    assert np.bincount(few.splits["train"].labels).tolist() == [8] * 10
    shares = torch.cat([labels for _, labels in few.train_loader()])
    assert shares.shape == (80, 10)
    torch.testing.assert_close(shares.sum(1), torch.ones(80))
