"""Test the health of a test set: twins in training, corrected labels, calibration; and how twins are found."""

from pathlib import Path

import numpy as np
import pytest
import torch
from made_runs import make_results, write_run
from torch.nn.functional import interpolate

from src.data.info import DatasetInfo
from src.data.raw import Raw, Split
from src.errors import UserError
from src.report import twins as twins_module
from src.report.groups import Group, build_arenas, collect_runs
from src.report.health import (
    bin_confidences,
    build_health_view,
    collect_tested,
    compute_ece,
    measure_health,
    read_labels,
)
from src.report.predictions import Predictions, read_predictions
from src.report.render.formats import format_markdown
from src.report.render.reliability import draw_reliability
from src.report.twins import Twin, find_twins, make_list, parse_words, read_twins


def predictions(label: list[int], prediction: list[int], confidence: list[float]) -> Predictions:
    return Predictions(np.arange(len(label)), np.array(label), np.array(prediction), np.array(confidence))


def test_calibration_by_hand() -> None:
    confidence, right = np.array([0.0, 0.05, 0.95, 0.97, 1.0]), np.array([False, True, True, False, True])
    bins = bin_confidences(confidence, right)
    assert [(b.n, round(b.accuracy, 4), round(b.confidence, 4)) for b in bins] == [(2, 0.5, 0.025), (3, 0.6667, 0.9733)]
    assert compute_ece(bins) == pytest.approx((2 * 0.475 + abs(2 - 2.92)) / 5)
    perfect = np.repeat([0.25, 0.75], 40)
    earned = np.concatenate([np.arange(40) < 10, np.arange(40) < 30])
    assert compute_ece(bin_confidences(perfect, earned)) == pytest.approx(0)


def test_twins_are_left_out_and_labels_corrected_by_hand() -> None:
    found = predictions([0, 0, 1, 1, 2], [0, 1, 1, 0, 2], [0.9] * 5)  # images 1 and 3 are wrong
    numbers = measure_health(found, [Twin(1, 7, 0.9, 0), Twin(4, 9, 0.9, 2), Twin(77, 0, 0.9, 0)], {3: 0, 4: 1, 99: 0})
    assert numbers["error"] == pytest.approx(2 / 5) and numbers["confidence"] == pytest.approx(0.9)
    assert numbers["unseen_error"] == pytest.approx(1 / 3)  # 3, of 0, 2 and 3
    assert numbers["corrected_error"] == pytest.approx(2 / 5)  # 1 and 4
    assert measure_health(found, [], {}).keys() == {"error", "confidence", "ece"}


def make_pictures(n: int, seed: int) -> torch.Tensor:
    """Make pictures that have structure at every scale, as photos have: uint8 [N, 3, 40, 40]."""
    generator = torch.Generator().manual_seed(seed)
    layers = [
        strength * interpolate(torch.randn(n, 3, size, size, generator=generator), (40, 40), mode="bilinear")
        for size, strength in ((3, 60), (6, 30), (12, 20), (24, 15))
    ]
    return (128 + sum(layers)).clamp(0, 255).byte()


def test_twins_are_found_and_pictures_that_are_only_alike_are_not() -> None:
    train, other = make_pictures(60, seed=0), make_pictures(40, seed=1)
    test = other[:, :, 4:36, 4:36].clone()
    test[0] = train[10, :, 4:36, 4:36]
    test[1] = train[11, :, 4:36, 4:36].flip(-1)
    test[2] = train[12, :, 5:37, 2:34]  # shifted
    test[3] = train[13, :, 6:38, 4:36].flip(-1)
    test[4] = (train[14, :, 4:36, 4:36] * 0.6 + 60).byte()  # flatter and lighter
    test[5] = (train[15, :, 4:36, 4:36] * torch.tensor([1.0, 0.8, 0.6])[:, None, None]).byte()  # a colour cast
    test[6] = interpolate(train[None, 16, :, 6:34, 6:34].float(), (32, 32), mode="bilinear")[0].byte()  # enlarged
    shape = interpolate(train[None, 17].float(), (5, 5), mode="area")  # alike from afar alone
    test[7] = (interpolate(shape, (32, 32), mode="bilinear")[0] + 0.3 * (test[7].float() - 128)).clamp(0, 255).byte()
    centre = train[:, :, 4:36, 4:36]
    found = find_twins(test, centre)
    assert {i: j for i, (j, _) in found.items()} == {i: i + 10 for i in range(7)}
    assert found[0][1] > 0.9 and all(score <= 1 for _, score in found.values())


def write_predictions(path: Path, label: np.ndarray, wrong: np.ndarray) -> None:
    """Write predictions of the images 0 to N, wrong where the second array says so, and 90 % sure of the first half."""
    np.savez(
        path / "test_predictions.npz",
        index=np.arange(len(label)),
        label=label,
        prediction=np.where(wrong, (label + 1) % 10, label),
        confidence=np.where(np.arange(len(label)) < len(label) // 2, 0.9, 1.0).astype(np.float32),
    )


def write_cifar_runs(path: Path, data: str = "cifar10", root: str = "data") -> list[Group]:
    """Write two runs whose predictions are right on every twin of CIFAR-10, and wrong on 500 other images."""
    known = {twin.test: twin.label for twin in read_twins("cifar10", None)}
    label = np.array([known.get(i, i % 10) for i in range(10000)])
    wrong = np.zeros(10000, dtype=bool)
    wrong[[i for i in range(10000) if i not in known][:500]] = True
    content = make_results(5.0, data=data)
    for seed in range(2):
        write_run(path / str(seed), content | {"seed": seed}, {"data": {"name": data, "root": root}})
        write_predictions(path / str(seed), label, wrong)
    return list(collect_runs([str(path)]).groups)


def test_existing_runs_gain_the_columns_and_the_figure(tmp_path: Path) -> None:
    found = write_cifar_runs(tmp_path / "runs")
    twins = read_twins("cifar10", None)
    assert len({twin.test for twin in twins}) == len(twins) > 286
    assert all(0 <= t.test < 10000 and 0 <= t.train < 50000 and 0.68 <= t.score <= 1 for t in twins)
    (tmp_path / "labels.csv").write_text(
        "index,label\n" + "".join(f"{i},{(i % 10 + 1) % 10}\n" for i in range(9000, 9010))
    )
    labels = read_labels(tmp_path / "labels.csv")
    fixed = sum(i not in {twin.test for twin in twins} for i in labels)
    view = build_health_view(collect_tested(found)[0], labels)
    assert view is not None
    values = {entry.column.metric: entry.values for entry in view.lines[0].entries}
    assert values["error"] == pytest.approx([5.0, 5.0])
    assert values["unseen_error"] == pytest.approx([100 * 500 / (10000 - len(twins))] * 2)
    assert values["corrected_error"][0] == pytest.approx(5.0 + fixed / 100, abs=0.11)
    assert values["ece"] == pytest.approx([0.0, 0.0], abs=1e-4), "90 % sure and 90 % right, then sure and right"
    text = format_markdown(view)
    assert f"{len(twins)} of 10,000 test images" in text and "10 in the file" in text
    (figure,) = draw_reliability(build_arenas(found)[0])
    assert figure.title == "Reliability" and "ECE 0.00 %" in figure.svg
    assert [row[1:] for row in figure.rows[1:]] == [[pytest.approx(0.9), 0.9, 10000], [1, 1, 10000]]

    (tmp_path / "runs" / "0" / "test_predictions.npz").write_bytes(b"torn")
    write_predictions(tmp_path / "runs" / "1", np.zeros(10000, dtype=int), np.zeros(10000, dtype=bool))
    tested, unread = collect_tested(collect_runs([str(tmp_path / "runs")]).groups)
    (sentence,) = unread
    assert sentence.endswith(f"{tmp_path / 'runs' / '0' / 'test_predictions.npz'}: damaged")
    view = build_health_view(tested)
    assert view is not None, "the other run has predictions"
    kept = [entry.column.metric for entry in view.lines[0].entries]
    assert kept == ["error", "confidence", "ece"], "these labels are not CIFAR-10's, so its twins are not either"
    (tmp_path / "runs" / "1" / "test_predictions.npz").unlink()
    tested, unread = collect_tested(collect_runs([str(tmp_path / "runs")]).groups)
    assert build_health_view(tested) is None and len(unread) == 1


def test_a_list_beside_cifar100_is_made_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = make_pictures(20, seed=2)[:, :, 4:36, 4:36], make_pictures(12, seed=3)[:, :, 4:36, 4:36].clone()
    test[5] = train[8].flip(-1)
    train, test = (part.permute(0, 2, 3, 1).numpy() for part in (train, test))
    raw = Raw(
        DatasetInfo("cifar100", ("a", "b"), 3, 32, (0.5,) * 3, (0.2,) * 3),
        Split(train, np.zeros(20, dtype=np.int64)),
        Split(test, np.arange(12)),
    )
    monkeypatch.setattr(twins_module, "load_raw", lambda config: raw)
    found = write_cifar_runs(tmp_path / "runs", "cifar100", str(tmp_path))
    view = build_health_view(collect_tested(found)[0])
    assert view is not None and "src.report.twins data=cifar100 finds them" in format_markdown(view)
    assert make_list("cifar100", "elsewhere", tmp_path / "cifar100_twins.csv") == 1
    (twin,) = read_twins("cifar100", str(tmp_path))
    assert (twin.test, twin.train, twin.label) == (5, 8, 5)
    view = build_health_view(collect_tested(found)[0])
    assert view is not None and "1 of 10,000 test images of cifar100" in format_markdown(view)
    assert read_twins("digits", str(tmp_path)) == [] == read_twins("cifar100", None)
    (tmp_path / "cifar100_twins.csv").write_text("test,train\n1,x\n")
    with pytest.raises(UserError, match="damaged; delete it"):
        read_twins("cifar100", str(tmp_path))
    with pytest.raises(UserError, match="out=.*cannot be written"):
        make_list("cifar100", "elsewhere", tmp_path / "absent" / "list.csv")
    for words, part in ((["data=digits"], "data=cifar10 or data=cifar100"), (["seed=1"], "not understood")):
        with pytest.raises(UserError, match=part):
            parse_words(words)


def test_wrong_labels_are_said_in_a_sentence(tmp_path: Path) -> None:
    file, found = tmp_path / "labels.csv", write_cifar_runs(tmp_path / "a")
    for text, part in (
        ("", "no such file"),
        ("image,class\n1,2\n", "its first line is image,class; index,label is needed"),
        ("index,label\n1,2\n3,x\n", "line 3: two whole numbers"),
        ("index,label\n1,2\n1,3\n", "line 3: image 1 has a label already"),
        ("index,label\n1,10\n", "image 1 with class 10: cifar10 has test images 0 to 9999 and classes 0 to 9"),
        ("index,label\n10000,1\n", "image 10000 with class 1"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=part):
            build_health_view(collect_tested(found)[0], read_labels(file))
    write_cifar_runs(tmp_path / "b", "cifar100")
    with pytest.raises(UserError, match="these runs are of cifar10, cifar100; narrow runs= to one data set"):
        build_health_view(collect_tested(collect_runs([str(tmp_path)]).groups)[0], {1: 2})


def test_damaged_predictions_cost_only_their_columns(tmp_path: Path) -> None:
    label = np.arange(50) % 10
    write_predictions(tmp_path, label, np.zeros(50, dtype=bool))
    file = tmp_path / "test_predictions.npz"
    content, told = file.read_bytes(), list[str]()
    for bit in np.random.default_rng(0).integers(8 * len(content), size=200).tolist():
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        try:
            found = read_predictions(file)
        except UserError as error:
            told.append(str(error))
        else:
            assert found is not None and np.array_equal(found.label, label)
    assert told and all(str(file) in sentence for sentence in told)
