"""Images of every source are predicted, and what cannot be read, is not wanted or was stopped is told."""

import csv
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TINY, compose
from PIL import Image

from src.cli.messages import explain_error
from src.data.build import load_raw
from src.errors import UserError
from src.inference import predicting, sources
from src.inference.network import open_predictor
from src.inference.records import Log, choose_shown, write_coco, write_tables
from src.inference.sources import find_images
from src.predict import predict, run_command
from src.training.run import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predict") / "run"
    train(compose(*TINY, "trainer.max_epochs=2"), path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, run: Path) -> Path:
    """Twelve digits in folders, and what is no picture, is hidden or cannot be read."""
    root = tmp_path_factory.mktemp("photos")
    test = load_raw(open_predictor(run).config.data).test
    for k in range(12):
        file = root / f"part{k % 2}" / f"{k:02}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(test.images[k, ..., 0]).save(file)
    (root / "broken.png").write_bytes(b"nothing")
    (root / "notes.txt").write_text("no picture")
    (root / ".hidden.png").write_bytes(b"nothing")
    return root


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_folder_is_predicted_and_unreadable_files_are_told(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(run, str(photos), out=out, top=3, batch_size=5) == 1
    told = capsys.readouterr()
    assert "not calibrated" in told.err and "1 could not be read" in told.err and "part0/00.png" in told.out
    found = rows(out)
    assert len(found) == 12 and list(found[0])[:5] == ["image", "class", "probability", "class_2", "probability_2"]
    with (out / "unreadable.csv").open() as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["broken.png"]
    predictor = open_predictor(run)
    files = [photos / row["image"] for row in found]
    probabilities = predictor.compute_probabilities(predictor.compute_logits([predictor.read(file) for file in files]))
    assert [row["class"] for row in found] == [str(k) for k in probabilities.argmax(dim=1).tolist()]
    assert [float(row["probability"]) for row in found] == pytest.approx(probabilities.amax(dim=1).tolist(), abs=1e-5)


def test_the_same_command_continues(run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    predict(run, str(photos), out=whole, batch_size=5)
    real, seen = predicting.predict_batch, []

    def stop(predictor: Any, batch: Any, top: int) -> Any:
        if seen:
            raise KeyboardInterrupt
        seen.extend(item.name for item, _ in batch)
        return real(predictor, batch, top)

    monkeypatch.setattr(predicting, "predict_batch", stop)
    with pytest.raises(KeyboardInterrupt, match="same command continues"):
        predict(run, str(photos), out=out, batch_size=5)
    with (out / "predictions.jsonl").open("a") as file:
        file.write('{"image":"part0/0')  # a kill in the midst of a line
    again: list[str] = []

    def count(predictor: Any, batch: Any, top: int) -> Any:
        again.extend(item.name for item, _ in batch)
        return real(predictor, batch, top)

    monkeypatch.setattr(predicting, "predict_batch", count)
    predict(run, str(photos), out=out, batch_size=5)
    assert set(again).isdisjoint(set(seen) - {"broken.png"}) and len({*again, *seen}) == 13
    assert (out / "predictions.csv").read_text() == (whole / "predictions.csv").read_text()
    again.clear()
    file = photos / "part0" / "00.png"
    os.utime(file, ns=(1, 1))  # another time, perhaps another content
    predict(run, str(photos), out=out, batch_size=5)
    assert again == ["broken.png", "part0/00.png"]


def test_a_file_a_pattern_and_an_archive_are_sources(run: Path, photos: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "digits.zip", "w") as archive:
        for k in (3, 5):
            archive.write(photos / "part1" / f"{k:02}.png", f"../evil/{k:02}.png")
        archive.writestr("__MACOSX/.03.png", b"nothing")
        archive.writestr("read.me", b"nothing")
    made = {
        str(photos / "part1" / "03.png"): [str(photos / "part1" / "03.png")],
        str(photos / "part1" / "*.png"): [str(photos / "part1" / f"{k:02}.png") for k in range(1, 12, 2)],
        str(tmp_path / "digits.zip"): [],  # ".." begins with a dot: hidden, and never a path
    }
    for source, names in list(made.items())[:2]:
        assert [item.name for item in find_images(source).items] == names
    with pytest.raises(UserError, match="holds no pictures"):
        find_images(str(tmp_path / "digits.zip"))
    with zipfile.ZipFile(tmp_path / "fine.zip", "w") as archive:
        archive.write(photos / "part1" / "03.png", "a/03.png")
    assert predict(run, str(tmp_path / "fine.zip"), out=tmp_path / "out") == 0
    assert predict(run, str(photos / "part1" / "03.png"), out=tmp_path / "out2") == 0
    assert rows(tmp_path / "out")[0]["probability"] == rows(tmp_path / "out2")[0]["probability"]


class Stdin(io.BytesIO):
    def isatty(self) -> bool:
        return False


def test_stdin_is_an_image_or_paths(run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = photos / "part1" / "03.png"
    with find_images("-", Stdin(image.read_bytes())) as images:
        predictor = open_predictor(run)
        assert torch.equal(predictor.read(images.items[0].path or Path()), predictor.read(image))
    paths = f"{image}\r\n\n{photos}/absent.png\n".encode()
    assert [item.name for item in find_images("-", Stdin(paths)).items] == [str(image), f"{photos}/absent.png"]
    monkeypatch.setattr("sys.stdin", type("Piped", (), {"buffer": Stdin(paths)})())
    assert predict(run, "-", out=tmp_path / "out") == 1
    assert (tmp_path / "out" / "unreadable.csv").read_text().count("No such file") == 1
    for empty in (b"", b" \n"):
        with pytest.raises(UserError, match="nothing came"):
            find_images("-", Stdin(empty))


def test_bombs_are_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many bytes whatever an archive states, and too many pixels."""
    monkeypatch.setattr(sources, "MOST_BYTES", 10_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("honest.png", b"\0" * 20_000)
        archive.writestr("liar.png", b"\0" * 20_000)
    with find_images(str(tmp_path / "bomb.zip")) as images:
        assert images.archive is not None
        images.archive.getinfo("liar.png").file_size = 10
        for item in images.items:
            with pytest.raises((UserError, zipfile.BadZipFile)), images.open(item):
                pass
    packed = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(packed, "PNG")
    monkeypatch.undo()
    (tmp_path / "pixels.png").write_bytes(packed.getvalue())
    assert predict(run, str(tmp_path / "pixels.png"), out=tmp_path / "out") == 1
    assert "200000000 pixels" in (tmp_path / "out" / "unreadable.csv").read_text()


def test_wrong_inputs_are_one_sentence(run: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.zip").write_bytes(b"PK\3\4nothing")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    wrong = {
        ("run=", "images=x"): "run= is missing",
        (f"run={run}",): "images= is missing",
        (f"run={run}", "images=absent"): "images=absent: no such file or folder",
        (f"run={run}", f"images={tmp_path / 'empty'}"): "holds no pictures",
        (f"run={run}", "images=absent*.png"): "no file matches",
        (f"run={run}", f"images={photos}/*.txt"): "1 files that match are no pictures",
        (f"run={tmp_path}", f"images={photos}"): "no run directory",
        (f"run={photos / 'broken.png'}", f"images={photos}"): "does not say its network",
        (f"run={run}", f"images={photos}", "top=0"): "top=0: a whole number",
        (f"run={run}", f"images={photos}", "batch_size=many"): "batch_size=many: a whole number",
        (f"run={run}", f"images={photos}", "out="): "out=: name a folder",
        (f"run={run}", f"images={photos}", "data.no_such=1"): "data.no_such: no such setting",
        (
            f"run={run}",
            f"images={photos}",
            f"out={tmp_path / 'mine'}",
        ): "holds letter.txt, which is not of a prediction",
        (f"run={run}", f"images={photos}", f"annotations={tmp_path / 'absent.json'}"): "no such file",
    }
    for words, sentence in wrong.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["predict", *words])
            with pytest.raises(Exception) as raised:
                run_command()
            told = explain_error(raised.value)
            assert sentence in told and "\n" not in told, told


def test_a_folder_of_other_predictions_is_not_overwritten(run: Path, photos: Path, tmp_path: Path) -> None:
    predict(run, str(photos / "part0"), out=tmp_path)
    with pytest.raises(UserError, match="choose another out="):
        predict(run, str(photos / "part1"), out=tmp_path)
    with pytest.raises(UserError, match="choose another out="):
        predict(run, str(photos / "part0"), out=tmp_path, top=2)


def test_the_page_is_one_file_and_escapes_what_it_shows(run: Path, photos: Path, tmp_path: Path) -> None:
    strange = tmp_path / "in" / "<script>alert(1)</script>.png"
    strange.parent.mkdir(parents=True)
    strange.parent.joinpath("<script>alert(1)<").mkdir()
    source = strange.parent / "<script>alert(1)<" / "b.png"
    source.write_bytes((photos / "part0" / "00.png").read_bytes())
    predict(run, str(strange.parent), out=tmp_path / "out")
    page = (tmp_path / "out" / "page.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and 'src="data:image/png;base64,' in page
    assert "http" not in page.replace("http-equiv", "")


def write_log(folder: Path, records: list[dict[str, Any]]) -> Log:
    folder.mkdir(exist_ok=True)
    (folder / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return Log(folder)


def test_of_many_images_the_least_and_the_most_certain_are_shown(tmp_path: Path) -> None:
    values = [0.5, 0.9, 0.1, 0.7, 0.3, 0.8]
    log = write_log(tmp_path, [{"image": str(v), "classes": ["a"], "probabilities": [v]} for v in values])
    shown, count = choose_shown(log, 4)
    assert [record["image"] for record in shown] == ["0.1", "0.3", "0.8", "0.9"] and count == 6


def test_labels_and_objects_have_their_tables(tmp_path: Path) -> None:
    labels = {"image": "a", "classes": ["x", "y"], "probabilities": [0.9, 0.2], "labels": ["x"]}
    write_tables(tmp_path / "l", write_log(tmp_path / "l", [labels]), columns=2, kind="labels")
    assert rows(tmp_path / "l")[0]["labels"] == "x"
    found = {"class": "y", "score": 0.75, "bbox": [1.0, 2.0, 3.0, 4.0]}
    objects = {"image": "d/a.jpg", "width": 9, "height": 8, "objects": [found]}
    log = write_log(tmp_path / "o", [{"image": "b", "error": "no"}, objects])
    assert write_tables(tmp_path / "o", log, columns=2, kind="objects") == 1
    assert rows(tmp_path / "o")[0]["score"] == "0.750000"
    truth = {
        "images": [{"file_name": "a.jpg", "id": 77}],
        "categories": [{"name": "y", "id": 9}, {"name": "x", "id": 4}],
    }
    write_coco(tmp_path / "o", log, ["x", "y"], truth)
    (result,) = json.loads((tmp_path / "o" / "detections.json").read_text())
    assert result == {"image_id": 77, "category_id": 9, "score": 0.75, "bbox": [1.0, 2.0, 3.0, 4.0]}
    with pytest.raises(UserError, match="no category 'z'"):
        write_coco(tmp_path / "o", log, ["z"], truth)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "predictions.jsonl").write_text('{"image": 3}\n')
    with pytest.raises(UserError, match="damaged in line 1"):
        list(Log(tmp_path))
