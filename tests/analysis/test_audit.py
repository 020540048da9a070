"""What is planted in a data set is found, and the page and the exit code say so."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import command, refuse
from PIL import Image
from scipy import ndimage

from src.analysis.duplicates import Pair, find_duplicates, find_equal
from src.analysis.label_suspects import choose_suspects, score_labels, score_without_own
from src.audit import read_fraction, run_command
from src.bench.audit import KINDS, disturb
from src.errors import UserError


def make_pictures(n: int, seed: int = 0) -> np.ndarray:
    """Make pictures with structure at several scales, uint8 [N, 32, 32, 3]."""
    rng = np.random.default_rng(seed)
    layers = [
        strength * ndimage.zoom(rng.normal(size=(n, size, size, colours)), (1, 32 / size, 32 / size, 1), order=1)
        for size, strength, colours in ((4, 50, 3), (8, 30, 3), (16, 25, 1), (32, 6, 1))
    ]
    return (128 + sum(layers)).clip(0, 255).astype(np.uint8)


def test_near_duplicates_of_each_kind_are_found_and_others_are_not() -> None:
    pictures = make_pictures(40)
    copies = np.stack([disturb(pictures[k], KINDS[k % 4]) for k in range(12)])
    pairs = find_duplicates(torch.from_numpy(np.concatenate([pictures, copies])))
    assert [(pair.first, pair.second) for pair in pairs] == [(k, 40 + k) for k in range(12)]
    assert all(0.68 <= pair.score <= 1 for pair in pairs)
    mirrored = torch.from_numpy(np.stack([pictures[0], pictures[0][:, ::-1], pictures[0]]))
    assert [(pair.first, pair.second) for pair in find_duplicates(mirrored, exact=True)] == [(0, 2)]


def test_flat_pictures_are_no_duplicates() -> None:
    assert not find_duplicates(torch.full((5, 32, 32, 3), 200, dtype=torch.uint8))


def test_equal_files_are_found() -> None:
    assert find_equal(["a", "b", "a", "a"], lambda first, second: (first, second) == (0, 3)) == [Pair(0, 2, 1.0)]


@pytest.mark.parametrize("width", [8, 100])
def test_leaving_one_out_equals_fitting_without_it(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn((60, width), generator=generator), torch.randint(0, 3, (60,), generator=generator)
    scores = score_without_own(features, labels, 3)
    scaled = (features - features.mean(0)) / features.std(0)
    scaled = torch.cat([scaled, torch.ones(60, 1)], 1).double()
    targets = torch.nn.functional.one_hot(labels, 3).double()
    for k in range(0, 60, 7):
        kept = torch.arange(60) != k
        gram = scaled[kept].T @ scaled[kept] + 0.02 * 60 * torch.eye(width + 1).double()
        expected = scaled[k] @ torch.linalg.solve(gram, scaled[kept].T @ targets[kept])
        assert torch.allclose(scores[k].double(), expected, atol=1e-4)


def test_planted_labels_are_suspected() -> None:
    rng = np.random.default_rng(3)
    labels = torch.from_numpy(rng.integers(0, 3, 300))
    pictures = make_pictures(300, seed=4) // 2
    for k, label in enumerate(labels.tolist()):
        pictures[k, ::2, :, label] += 90  # stripes of the colour of the class
    given = labels.clone()
    given[:15] = (labels[:15] + 1) % 3
    images = torch.from_numpy(pictures)
    probabilities = score_labels(images, given, num_classes=3)
    suspects = choose_suspects(probabilities, given, 0.12).tolist()
    assert set(range(15)) <= set(suspects) and len(suspects) < 30
    assert len(choose_suspects(probabilities, given, 0.02)) == 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes in train and test; a leak, a duplicate under another class, a broken file."""
    root = tmp_path_factory.mktemp("audit") / "photos"
    pictures = make_pictures(24, seed=9)
    for k, picture in enumerate(pictures):
        path = root / ("train" if k < 16 else "test") / ("cat", "dog")[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    Image.fromarray(pictures[0][:, ::-1]).save(root / "test" / "cat" / "leak.png")
    Image.fromarray(pictures[2]).save(root / "train" / "dog" / "again.png")
    Image.fromarray(make_pictures(1, seed=10)[0]).convert("L").save(root / "train" / "dog" / "grey.png")
    (root / "train" / "dog" / "broken.png").write_bytes(b"\x89PNG no more")
    (root / "train" / "notes.txt").write_text("")
    return root


def read(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def test_a_folder_is_audited(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["audit", "data=folder", f"data.root={folder}", f"out={tmp_path}"])
    assert run_command() == 1
    said = capsys.readouterr().out
    assert "1 broken file and 1 leak between splits" in said and "Nobody: that takes 100" in said
    [broken] = read(tmp_path / "broken.csv")[1:]
    assert broken[0].endswith("train/dog/broken.png")
    rows = {(Path(row[0]).name, Path(row[1]).name): row for row in read(tmp_path / "duplicates.csv")[1:]}
    assert rows["0.png", "leak.png"][-1] == "across splits"
    assert rows["2.png", "again.png"][3:] == ["cat", "dog", "inside a split"]
    assert read(tmp_path / "forms.csv")[1:] == [["RGB", "26", "32", "32"], ["L", "1", "32", "32"]]
    page = (tmp_path / "index.html").read_text()
    assert page.count("<img") >= 6 and "files beside the class folders" in page and 'src="http' not in page


@pytest.mark.slow
def test_an_audit_of_a_set_in_memory_is_sound(tmp_path: Path) -> None:
    done = command("src.audit", "data=digits", f"out={tmp_path}")
    assert done.returncode == 0 and "No broken file, and no picture in two splits" in done.stdout, done.stdout
    assert "ridge regression" in done.stdout and len(read(tmp_path / "suspects.csv")) < 40


def test_wrong_words_are_one_sentence(tmp_path: Path) -> None:
    cases = {
        "data.root=x": "data= is missing",
        "data=digits model=resnet20": "model=resnet20: not understood",
        "data=digits suspects=2": "above 0 and at most 1",
        "data=digits seed=x": "a whole number",
        f"data=folder data.root={tmp_path}/none": "no such folder",
    }
    refuse(run_command, cases, f"out={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="suspects=nan"):
        read_fraction("nan")
