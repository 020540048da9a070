"""The bench: sides take turns, both do the same work, and what it says is what it measured."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import command
from PIL import Image
from torchvision.transforms import functional as per_sample

from src.bench import __main__ as bench
from src.bench import prediction
from src.bench.coco_evaluation import make_detections
from src.bench.epoch_metrics import Batches, measure_difference
from src.bench.evaluation import collect_predictions, load_run_weights
from src.bench.images import make_images
from src.bench.ours import Clock, InterleavedClock, Training
from src.bench.peak import measure_matrix_product
from src.bench.peers import bare, coco, template
from src.bench.peers.prediction import predict_one_by_one
from src.bench.report import format_result
from src.bench.rounds import Comparison, MachineLoad, measure_sides, read_own_cpu_seconds, summarize
from src.bench.settings import Settings, parse_settings
from src.bench.startup import compare_startup
from src.data.normalization import compute_affine, make_normalization
from src.data.resident.augment import draw_epoch
from src.data.resident.loader import TrainLoader
from src.data.sets.cifar import CIFAR10
from src.errors import UserError
from src.metrics.coco import evaluate_results
from src.optim.build import build_optimizer
from src.training import stopping
from src.training.trainer import quiet_lightning

TINY = ("model.depth=8", "model.width=4", "trainer.precision=fp32", "trainer.threads=1")


@pytest.fixture
def training() -> Training:
    return Training(make_images(256, 64), *TINY, model="cifar_resnet", images=256, val=64)


def test_a_runs_network_is_taken_and_another_refused(tmp_path: Path) -> None:
    ours = Training(make_images(256, 64), *TINY, model="cifar_resnet", images=256, val=64)
    state = {f"model.{name}": torch.full_like(value, 2) for name, value in ours.model.state_dict().items()}
    stored = {"model": {"name": "resnet20"}, "data": {"name": "cifar10"}}
    checkpoint = {"config": stored, "state_dict": state, "normalization": ours.data.normalization}
    torch.save(checkpoint, tmp_path / "resnet20.ckpt")
    load_run_weights(ours, tmp_path / "resnet20.ckpt")
    assert all((value == 2).all() for value in ours.model.state_dict().values())
    stored["model"]["name"] = "resnet56"
    torch.save(checkpoint, tmp_path / "resnet56.ckpt")
    with pytest.raises(UserError, match="resnet56 on cifar10, not resnet20"):
        load_run_weights(ours, tmp_path / "resnet56.ckpt")


def test_sides_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def side(name: str) -> float:
        calls.append(name)
        return len(calls)

    comparison = Comparison("", "s", {"ours": lambda: side("ours"), "theirs": lambda: side("theirs")})
    figures = measure_sides(comparison, 3)
    assert calls == ["ours", "theirs", "theirs", "ours", "ours", "theirs", "theirs", "ours"]
    assert figures == {"ours": [4, 5, 8], "theirs": [3, 6, 7]}


@pytest.mark.parametrize(
    ("lower", "second", "ratio", "verdict"), [(False, 4.0, 1.5, "missed"), (True, 2.0, 0.667, "missed")]
)
def test_ratios_are_of_medians_and_above_one_where_ours_is_better(
    lower: bool, second: float, ratio: float, verdict: str
) -> None:
    sides = {"ours": lambda: 0.0, "theirs": lambda: 0.0}
    comparison = Comparison("title", "s", sides, {"theirs": 2.0}, lower_is_better=lower, notes=["a note"])
    result = summarize(comparison, {"ours": [1.0, 5.0, 3.0, 2.0, 4.0], "theirs": [2.0, 2.0, 2.0, 9.0, 1.0]})
    assert result["median"] == {"ours": 3, "theirs": 2}
    assert result["second_best"]["ours"] == second
    assert result["ratios"]["theirs"]["of_medians"] == pytest.approx(ratio, abs=1e-3)
    printed = "\n".join(format_result(result))
    assert verdict in printed and "title" in printed and "a note" in printed
    met = summarize(
        comparison, {"ours": [8.0, 8.0], "theirs": [4.0, 4.0]} if not lower else {"ours": [1, 1], "theirs": [2, 2]}
    )
    assert "met" in "\n".join(format_result(met))


def test_the_machine_is_watched() -> None:
    load, before = MachineLoad(), read_own_cpu_seconds()
    while read_own_cpu_seconds() < before + 0.05:
        torch.randn(100, 100) @ torch.randn(100, 100)
    report = load.report()
    assert report["seconds"] > 0
    if Path("/proc/stat").exists():
        assert 0 <= report["others_share"] <= 1.1
    quiet = {"load_before": 1.0, "load_after": 2.0, "others_share": 0.01}
    assert "WARNING" not in bench.format_machine_load(quiet, 0.03)
    assert "WARNING" in bench.format_machine_load(quiet | {"others_share": 0.2}, 0.03)
    assert "not known" in bench.format_machine_load(quiet | {"others_share": None}, 0.03)


@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        ("only=a,z", "'z' is no comparison"),
        ("only=", "'' is no comparison"),
        ("rounds=1", "at least 2"),
        ("rounds=many", "a whole number"),
        ("images=100", "a multiple of 128"),
        ("threads=-1", "at least 1"),
        ("turns=3", "no such setting"),
        ("fast", "no such setting"),
    ],
)
def test_a_wrong_setting_is_a_sentence(word: str, wrong: str) -> None:
    with pytest.raises(UserError, match=wrong):
        parse_settings([word])


def test_settings_are_read() -> None:
    assert parse_settings([]) == Settings()
    assert parse_settings(["only=d", "data.root=/x", "rounds=7"]) == Settings(only="d", data_root="/x", rounds=7)


@pytest.mark.slow
def test_the_command_fails_in_a_sentence_and_helps() -> None:
    failed = command("src.bench", "only=z")
    assert failed.returncode == 1 and "no comparison" in failed.stderr and "Traceback" not in failed.stderr
    helped = command("src.bench", "--help")
    assert helped.returncode == 0 and all(f"  {letter}  " in helped.stdout for letter in bench.COMPARISONS)


def test_a_signal_that_lightning_answers_as_a_success_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(letter: str, settings: Settings) -> None:
        sys.exit(0)

    monkeypatch.setattr(bench, "measure_comparison", fail)
    monkeypatch.setattr(sys, "argv", ["bench", f"out={tmp_path / 'bench.json'}"])
    with pytest.raises(KeyboardInterrupt):
        bench.run()


def test_figures_are_printed_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    words = ["only=d", "rounds=2", "images=256", f"data.root={tmp_path}", f"out={out}"]
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    assert bench.run() == 0
    printed = capsys.readouterr()
    assert "second best" in printed.out and "made images" in printed.out and "a trial" in printed.err
    content = json.loads(out.read_text())
    (result,) = content["comparisons"]["d"]["results"]
    assert {len(figures) for figures in result["rounds"].values()} == {2}
    assert content["environment"]["torch"] == torch.__version__
    assert result["ratios"]["PIL in a DataLoader"]["of_medians"] > 1


def test_augmentation_equals_pil_a_sample_at_a_time() -> None:
    """Crops and flips to the bit, by PIL; normalisation to the bit by our arithmetic, nearly so by torchvision's."""
    raw = make_images(256, 10)
    normal = make_normalization("dataset", CIFAR10.info, torch.from_numpy(raw.train.images))
    padded = torch.nn.functional.pad(torch.from_numpy(raw.train.images), (0, 0, 4, 4, 4, 4))
    labels = torch.from_numpy(raw.train.labels)
    loader = TrainLoader(padded, labels, normal, padding=4, flip=True, seed=3, epoch=2, batch_size=128)
    images = torch.cat([batch for batch, _ in loader])
    scale, shift = compute_affine(normal, 32, torch.device("cpu"))
    draws = draw_epoch(3, 2, 256, padding=4, flip=True)
    assert 0 < draws.flips.sum() < 256
    for image, i, row, column, flip in zip(images, *(t.tolist() for t in draws[:4]), strict=True):
        photo = per_sample.pad(Image.fromarray(raw.train.images[i]), [4])
        photo = per_sample.crop(photo, row, column, 32, 32)
        photo = per_sample.hflip(photo) if flip else photo
        scaled = (torch.from_numpy(np.array(photo)).flatten() * scale + shift).view(32, 32, 3).permute(2, 0, 1)
        assert torch.equal(image, scaled)
        stock = per_sample.normalize(per_sample.to_tensor(photo), list(CIFAR10.info.mean), list(CIFAR10.info.std))
        assert torch.allclose(image, stock, rtol=0, atol=2e-6)


def test_the_bare_loop_trains_as_our_trainer_does(training: Training) -> None:
    model = training.fresh.to(memory_format=torch.channels_last)
    model.load_state_dict(training.model.state_dict())
    optimizer = build_optimizer(training.config.optim, model)
    losses: list[tuple[float, torch.Tensor]] = []

    def loop() -> Iterator[None]:
        losses.append(
            (yield from bare.train_epoch(model, training.data.train_loader(), optimizer, classes=10, bf16=False))
        )

    steps = loop()
    clock = InterleavedClock(steps)
    training.epoch(clock)
    assert next(steps, None) is None
    ((loss, confusion),) = losses
    assert training.task.epoch_metrics["train/loss"] == pytest.approx(loss, rel=1e-5)
    assert training.task.epoch_metrics["train/accuracy"] == pytest.approx(float(confusion.trace()) / 256)
    assert 0 < clock.steps < clock.epoch and clock.theirs > 0


def test_an_epoch_is_a_whole_one(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics, validation and both checkpoints are part of what is timed."""
    saved: list[str] = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda old, new: (saved.append(Path(new).name), replace(old, new)))
    clock = training.epoch()
    assert [name for name in saved if name.endswith(".ckpt")] == ["best.ckpt", "last.ckpt"]
    assert {"train/f1", "val/accuracy"} <= training.task.epoch_metrics.keys()
    assert clock.steps + clock.validation < clock.epoch


def test_signals_mean_after_an_epoch_what_they_meant_before(training: Training) -> None:
    """Lightning's own would swallow a SIGTERM from then on."""
    before = [signal.getsignal(number) for number in stopping.STOPS]
    training.epoch()
    assert [signal.getsignal(number) for number in stopping.STOPS] == before


def test_what_validation_predicts_is_what_the_network_says(training: Training) -> None:
    batches = [batch.contiguous() for batch, _, _ in training.data.eval_loader("val")]
    assert torch.equal(collect_predictions(training), bare.predict(training.model, batches))
    assert training.validate().validation > 0


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval.*")
def test_the_template_trains(training: Training, tmp_path: Path) -> None:
    info, raw = training.data.info, make_images(256, 10)
    module = template.Classifier(training.fresh, classes=10, lr=0.1, momentum=0.9, weight_decay=1e-4)
    before = [p.clone() for p in module.parameters()]
    images = raw.train.images, raw.train.labels
    train = template.Images(*images, template.make_train_transform(info.mean, info.std))
    val = template.Images(*images, template.make_test_transform(info.mean, info.std))
    clock = Clock()
    quiet_lightning()
    loaders = [template.make_loader(data, batch_size=128, train=data is train, workers=0) for data in (train, val)]
    template.fit(module, *loaders, folder=tmp_path, clock=clock)
    assert clock.epoch > clock.steps > 0
    assert list(tmp_path.rglob("*.ckpt")) and list(tmp_path.rglob("metrics.csv"))
    assert not any(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_metrics_are_those_that_torchmetrics_logs() -> None:
    assert measure_difference(Batches(3)) < 1e-6


def test_made_detections_score_the_same_with_both() -> None:
    truth, results = make_detections(30)
    ours = list(evaluate_results(truth, results).numbers.values())
    assert 0.1 < ours[0] < 0.9
    assert coco.evaluate(truth, results) == pytest.approx(ours, abs=1e-9)


def test_a_matrix_product_has_a_throughput(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.bench.peak.SIZES", (64, 128))
    assert measure_matrix_product(torch.float32, seconds=0.0) > 0


@pytest.mark.slow
def test_start_up_is_timed() -> None:
    (comparison,) = compare_startup(Settings(threads=1))
    seconds = {name: side() for name, side in comparison.sides.items()}
    assert seconds["python -m src.train --help"] < seconds["to the end of the first step (digits)"]


def test_photos_are_named_alike_in_batches_and_one_by_one() -> None:
    items, predictor = prediction.make_photos()[:4], prediction.make_predictor("small_cnn")
    theirs = predict_one_by_one(predictor.network, [item.path for item in items if item.path], predictor.side)
    assert torch.allclose(prediction.compute_top(predictor, items), theirs, atol=0.01)
    assert prediction.measure(predictor, items) > 0
