"""Compare i: predicting photos in batches that threads decode ahead, against one by one through PIL."""

import io
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..cli.compose import compose_run
from ..data.normalization import IMAGENET_MEAN, IMAGENET_STD
from ..errors import UserError
from ..inference.network import Predictor, build_predictor
from ..inference.predicting import predict_images
from ..inference.sources import Images, Item, list_folder
from ..models.build import create_model
from ..runs.identity import to_plain
from ..training.checkpoints import Checkpoint
from .peers.prediction import predict_one_by_one
from .rounds import Comparison
from .settings import Settings

COUNT = 64  # photos of a round
CLASSES = tuple(map(str, range(10)))
TOP, BATCH = 5, 64
NETWORKS = ("small_cnn", "resnet18")  # of which the first leaves nearly all of the time to the photos


def compare_prediction(settings: Settings) -> list[Comparison]:
    """i. Compare reading, resizing and naming photos; both sides name the same class with the same probability."""
    items, note = find_photos(Path(settings.data_root).expanduser())
    compared = []
    for name in NETWORKS:
        predictor = make_predictor(name)
        ours = compute_top(predictor, items)
        theirs = predict_one_by_one(predictor.network, [item.path for item in items if item.path], predictor.side)
        agree = float((ours.argmax(dim=1) == theirs.argmax(dim=1)).double().mean())
        sides = {
            "src.predict": lambda p=predictor: measure(p, items),
            "PIL, one by one": lambda p=predictor: measure_peer(p, items),
        }
        compared.append(
            Comparison(
                f"i. Prediction of {len(items)} photos by {name} at {predictor.side} pixels",
                "images/s",
                sides,  # type: ignore[arg-type]
                {"PIL, one by one": None},
                notes=[
                    note,
                    f"the first class is the same of {agree:.1%}; the decoders differ by a step of brightness",
                ],
            )
        )
    return compared


def make_predictor(name: str) -> Predictor:
    """Make a network with random weights, as if it were trained on photos."""
    words = ("data=imagenet", f"model={name}", "trainer=cpu")
    config = compose_run(*words, *(["data.image_size=64"] if name == "small_cnn" else []))
    torch.manual_seed(0)
    network = create_model(name, num_classes=len(CLASSES))
    checkpoint: Checkpoint = {
        "state_dict": {f"model.{key}": value for key, value in network.state_dict().items()},
        "config": to_plain(config),
        "info": {"classes": CLASSES, "channels": 3},
        "normalization": {"name": "imagenet", "mean": [*IMAGENET_MEAN], "std": [*IMAGENET_STD], "mean_image": None},
    }
    return build_predictor(Path("made.ckpt"), checkpoint, config)


def find_photos(root: Path) -> tuple[list[Item], str]:
    """Return some photos below a folder, or made ones, and a note that says which these are."""
    try:
        found = list_folder(root)
        chosen = found[:: max(1, len(found) // COUNT)][:COUNT]
        return chosen, f"{len(chosen)} photos of data.root={root}"
    except (UserError, OSError):
        return make_photos(), f"data.root={root} holds no photos, so these are made JPEGs of 500x375 pixels"


def make_photos() -> list[Item]:
    """Make smooth JPEGs in a folder that stays until the process ends."""
    folder, random = Path(tempfile.mkdtemp(prefix="bench-photos-")), np.random.RandomState(0)
    items = []
    for k in range(COUNT):
        pixels = random.randint(256, size=(24, 32, 3), dtype=np.uint8)
        path = folder / f"{k}.jpg"
        Image.fromarray(pixels).resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
        items.append(Item(path.name, path))
    return items


def compute_top(predictor: Predictor, items: Sequence[Item]) -> torch.Tensor:
    """Return the probabilities of all photos [N, C]."""
    parts = []
    for k in range(0, len(items), BATCH):
        images = [predictor.read(item.path) for item in items[k : k + BATCH] if item.path]
        parts.append(predictor.compute_probabilities(predictor.compute_logits(images)))
    return torch.cat(parts)


def measure(predictor: Predictor, items: Sequence[Item]) -> float:
    """Return the images/s of src.predict's own loop, with the lines that it writes."""
    began = time.perf_counter()
    predict_images(predictor, Images(items), items, io.StringIO(), top=TOP, batch_size=BATCH, known=0)
    return len(items) / (time.perf_counter() - began)


def measure_peer(predictor: Predictor, items: Sequence[Item]) -> float:
    """Return the images/s of a loop over photos."""
    began = time.perf_counter()
    predict_one_by_one(predictor.network, [item.path for item in items if item.path], predictor.side)
    return len(items) / (time.perf_counter() - began)
