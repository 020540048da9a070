"""COCO's numbers: both evaluators agree, what is true scores 1, and results are in COCO's format."""

import json
import subprocess
import sys
from typing import Any

import coco_set
import numpy as np
import pycocotools.mask
import pytest
import torch
from helpers import SHARED_DATA

from src.config.task import EVALUATORS
from src.data.coco.check import select_segmentation
from src.data.coco.masks import compress_mask, decode_masks, decode_runs, encode_masks
from src.metrics.coco import NUMBERS, evaluate_results, make_results

Truth = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    root = tmp_path_factory.mktemp("set")
    return coco_set.write(root / "annotations.json", root, 24)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    unpack = SHARED_DATA / "unpack.py"
    if not unpack.is_file():
        pytest.skip("the real COCO photos of ../shared/data are not here")
    root = tmp_path_factory.mktemp("real")
    subprocess.run([sys.executable, unpack, root, "coco"], check=True, capture_output=True)
    content: Truth = json.loads((root / "coco" / "annotations" / "instances_train2017.json").read_text())
    return content


def as_results(truth: Truth) -> list[dict[str, Any]]:
    """What is true, as if it had been found."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    found = []
    for a in truth["annotations"]:
        if not a["iscrowd"]:
            mask = compress_mask(select_segmentation(a), *sizes[a["image_id"]])
            segmentation = {"size": mask["size"], "counts": mask["counts"].decode()}
            found.append({key: a[key] for key in ("image_id", "category_id", "bbox")})
            found[-1] |= {"score": 0.9, "segmentation": segmentation}
    return found


def shaken(truth: Truth) -> list[dict[str, Any]]:
    """Detections at random: moved, of wrong categories, several for one object, of equal scores, on crowds too."""
    random = np.random.RandomState(0)
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    categories = [category["id"] for category in truth["categories"]]
    found = []
    for a in [a for a in truth["annotations"] for _ in range(3)]:
        height, width = sizes[a["image_id"]]
        x, y, w, h = a["bbox"] + random.normal(0, 0.1, 4) * [*a["bbox"][2:], *a["bbox"][2:]]
        x, y, w, h = float(max(x, 0)), float(max(y, 0)), float(max(w, 1.0)), float(max(h, 1.0))
        mask = compress_mask([[x, y, x + w, y, x + w, y + h, x, y + h]], height, width)
        result = {
            "image_id": a["image_id"],
            "category_id": a["category_id"] if random.rand() < 0.7 else int(random.choice(categories)),
            "bbox": [x, y, w, h],
            "score": float(random.choice([0.2, 0.5, random.rand()])),
            "segmentation": {"size": mask["size"], "counts": mask["counts"].decode()},
        }
        found.append(result)
    return found


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("which", ["made", "real"])
def test_what_is_true_scores_one(which: str, masks: bool, request: pytest.FixtureRequest) -> None:
    truth = request.getfixturevalue(which)
    for evaluator in EVALUATORS:
        scores = evaluate_results(truth, as_results(truth), masks=masks, evaluator=evaluator)
        assert scores.numbers["map"] == pytest.approx(1.0) == scores.numbers["mar_100"]
        assert {round(ap, 6) for pair in scores.by_category.values() for ap in pair} <= {1.0, -1.0}


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("which", ["made", "real"])
def test_both_evaluators_agree(which: str, masks: bool, request: pytest.FixtureRequest) -> None:
    truth = request.getfixturevalue(which)
    results = shaken(truth)
    before = json.dumps(results)
    first, second = (evaluate_results(truth, results, masks=masks, evaluator=evaluator) for evaluator in EVALUATORS)
    assert json.dumps(results) == before
    assert tuple(first.numbers) == NUMBERS and 0.05 < first.numbers["map"] < 0.95
    for name in NUMBERS:
        assert first.numbers[name] == pytest.approx(second.numbers[name], abs=1e-6), name
    assert first.by_category.keys() == second.by_category.keys()
    for number, scores in first.by_category.items():
        assert scores == pytest.approx(second.by_category[number], abs=1e-6)
    measured = [ap for ap, _ in first.by_category.values() if ap > -1]
    assert np.mean(measured) == pytest.approx(first.numbers["map"])


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_only_the_named_images_count(made: Truth, evaluator: str) -> None:
    results = as_results(made)
    half = [image["id"] for image in made["images"]][:12]
    missed = [result for result in results if result["image_id"] in half]
    assert evaluate_results(made, missed, evaluator=evaluator).numbers["map"] < 0.7
    assert evaluate_results(made, missed, evaluator=evaluator, images=half).numbers["map"] == pytest.approx(1.0)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_nothing_found_is_nought_and_nothing_to_find_is_minus_one(made: Truth, evaluator: str) -> None:
    assert evaluate_results(made, [], evaluator=evaluator).numbers["map"] == 0
    empty = made | {"annotations": []}
    assert evaluate_results(empty, as_results(made), evaluator=evaluator).numbers["map"] == -1
    assert evaluate_results(empty, [], masks=True, evaluator=evaluator).by_category == {
        2: (-1, -1),
        7: (-1, -1),
        11: (-1, -1),
    }


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_annotations_of_ones_own_may_lack_area_crowds_and_some_masks(made: Truth, evaluator: str) -> None:
    optional = ("area", "iscrowd")
    bare = [{k: v for k, v in a.items() if k not in optional} for a in made["annotations"] if not a["iscrowd"]]
    assert (
        evaluate_results(made | {"annotations": bare}, as_results(made), masks=True, evaluator=evaluator).numbers["map"]
        == 1
    )
    bare[0]["segmentation"] = []
    bare[1].pop("segmentation")
    unmasked = evaluate_results(made | {"annotations": bare}, as_results(made)[2:], masks=True, evaluator=evaluator)
    assert unmasked.numbers["map"] == pytest.approx(1.0)
    assert evaluate_results(made | {"annotations": bare}, as_results(made), evaluator=evaluator).numbers["map"] == 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools under NumPy 2
def test_masks_are_decoded_as_pycocotools_does(real: Truth) -> None:
    sizes = {image["id"]: (image["height"], image["width"]) for image in real["images"]}
    for annotation in real["annotations"][::7]:
        size = sizes[annotation["image_id"]]
        encoded = compress_mask(annotation["segmentation"], *size)
        assert np.array_equal(decode_masks([annotation["segmentation"]], *size)[0], pycocotools.mask.decode(encoded))


def test_results_have_the_files_own_ids() -> None:
    masks = torch.zeros(2, 1, 6, 8)
    masks[0, 0, 1:4, 2:5] = 0.9
    output = {
        "boxes": torch.tensor([[2.0, 1.0, 5.0, 4.0], [0.5, 0.0, 8.0, 6.0]]),
        "labels": torch.tensor([2, 1]),
        "scores": torch.tensor([0.75, 0.5]),
        "masks": masks,
    }
    first, second = make_results(output, image_id=139, category_ids=(2, 90))
    assert (first["image_id"], first["category_id"], first["bbox"], first["score"]) == (139, 90, [2, 1, 3, 3], 0.75)
    assert (second["category_id"], second["bbox"]) == (2, [0.5, 0, 7.5, 6])
    assert json.loads(json.dumps([first, second])) == [first, second]
    assert torch.equal(decode_masks([first["segmentation"], second["segmentation"]], 6, 8), (masks[:, 0] > 0.5).byte())
    nothing = {name: value[:0] for name, value in output.items()}
    assert make_results(nothing, image_id=1, category_ids=(1,)) == []


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_the_files_own_ids_change_no_number(made: Truth, evaluator: str) -> None:
    """Evaluators take id 0 for "no match", negative ids wrongly, and round ids above 2^53."""
    results = shaken(made)
    images = {image["id"]: image["id"] - 500 + 2**60 for image in made["images"]}
    for first, step in ((0, 1), (-1, -1), (7, 0)):  # the last: all the same
        other = {
            "images": [image | {"id": images[image["id"]]} for image in made["images"]],
            "categories": [category | {"id": category["id"] - 7} for category in made["categories"]],
            "annotations": [a | {"id": first + step * k} for k, a in enumerate(made["annotations"])],
        }
        other["annotations"] = [move(a, images) for a in other["annotations"]]
        found = [move(result, images) for result in results]
        for masks in (False, True):
            expected = evaluate_results(made, results, masks=masks, evaluator=evaluator)
            scores = evaluate_results(other, found, masks=masks, evaluator=evaluator, images=list(images.values()))
            assert scores.numbers == expected.numbers
            assert scores.by_category == {k - 7: pair for k, pair in expected.by_category.items()}


def move(entry: dict[str, Any], images: dict[int, int]) -> dict[str, Any]:
    """An annotation or a result that refers to the image by its other id, and to the category 7 less."""
    return entry | {"image_id": images[entry["image_id"]], "category_id": entry["category_id"] - 7}


def test_run_lengths_are_those_that_the_decoder_reads() -> None:
    for seed in range(20):
        mask = torch.rand(1, 40, 50, generator=torch.Generator().manual_seed(seed)) > seed / 20
        (packed,) = encode_masks(mask)
        runs = decode_runs(packed["counts"])
        assert runs is not None and sum(runs) == 2000 and sum(runs[1::2]) == int(mask.sum())
        assert compress_mask({"counts": runs, "size": [40, 50]}, 40, 50)["counts"].decode() == packed["counts"]
        assert decode_runs(runs) == runs


def test_masks_survive_every_encoding() -> None:
    masks = torch.rand(3, 20, 30) > 0.5
    assert torch.equal(decode_masks(encode_masks(masks), 20, 30).bool(), masks)
    column_major = masks[0].T.flatten().int().tolist()
    counts, last = [0], 0
    for pixel in column_major:
        if pixel != last:
            counts.append(0)
            last = pixel
        counts[-1] += 1
    assert torch.equal(decode_masks([{"counts": counts, "size": [20, 30]}], 20, 30)[0].bool(), masks[0])
    assert decode_masks([[[2, 2, 6, 2, 6, 5, 2, 5]]], 8, 10).sum() == 12
    assert decode_masks([], 8, 10).shape == (0, 8, 10)
