"""Plant duplicates and wrong labels in CIFAR-10, and count how many of them an audit finds.

  python -m src.bench.audit root=<folder of CIFAR-10> [images=20000] [seed=0] [out=<file.json>]

A twentieth of the pictures is added once more: shifted by a pixel, mirrored, saved as a JPEG of quality 60, or a fifth
brighter, a quarter of them each. Another twentieth gets another label, drawn evenly. A false alarm is a picture that is
reported although nothing was planted in it; CIFAR-10 itself has wrong labels and duplicates, which count as such here.
"""

import io
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..analysis.duplicates import find_duplicates
from ..analysis.label_suspects import SUSPECTS, choose_suspects, score_labels
from ..cli.console import say
from ..cli.main import main, print_help
from ..config.data import Cifar10
from ..data.build import load_raw
from ..errors import UserError
from ..files import write_json

KINDS = ("shifted", "mirrored", "jpeg", "brighter")
PART = 20  # a twentieth is planted


def answer() -> int:
    """Do what the command line asks for and return the exit status."""
    if (told := print_help(__doc__)) is not None:
        return told
    words = sys.argv[1:]
    options = {"root": "", "images": "20000", "seed": "0", "out": ""}
    for word in words:
        name, _, value = word.partition("=")
        if name not in options or not value:
            raise UserError(f"{word}: not understood; python -m src.bench.audit takes {'=, '.join(options)}=")
        options[name] = value
    if not (options["images"].isdecimal() and options["seed"].isdecimal() and 100 <= int(options["images"]) <= 50_000):
        raise UserError("images= takes a whole number from 100 to 50000, and seed= a whole number")
    found = measure(options["root"], int(options["images"]), int(options["seed"]))
    print(json.dumps(found, indent=2))
    if options["out"]:
        write_json(Path(options["out"]), found)
    return 0


def measure(root: str, count: int, seed: int) -> dict[str, object]:
    """Plant and find in the first ``count`` training pictures."""
    torch.set_num_threads(1)
    raw = load_raw(Cifar10(root=root))
    images, labels = raw.train.images[:count], torch.from_numpy(raw.train.labels[:count])
    rng = np.random.RandomState(seed)
    copied = rng.choice(count, count // PART, replace=False)
    copies = np.stack([disturb(images[k], KINDS[place % 4]) for place, k in enumerate(copied)])
    flipped = rng.choice(count, count // PART, replace=False)
    given = labels.clone()
    given[flipped] = (labels[flipped] + torch.from_numpy(rng.randint(1, 10, len(flipped)))) % 10
    begun = time.process_time()
    say(f"seeking {len(copies):,} planted duplicates among {count:,} pictures")
    duplicates = judge_duplicates(np.concatenate([images, copies]), copied)
    middle = time.process_time()
    say(f"seeking {len(flipped):,} planted wrong labels among {count:,} pictures")
    wrong = judge_labels(torch.from_numpy(images), given, flipped, seed)
    seconds = {"duplicates": middle - begun, "labels": time.process_time() - middle}
    facts = {"images": count, "seed": seed, "planted_duplicates": len(copies), "planted_labels": len(flipped)}
    return facts | {"duplicates": duplicates, "labels": wrong, "cpu_seconds": seconds}


def disturb(image: np.ndarray, kind: str) -> np.ndarray:
    """Return a near duplicate of a picture uint8 [32, 32, 3]."""
    if kind == "mirrored":
        return image[:, ::-1]
    if kind == "brighter":
        return (image * 1.2).clip(0, 255).astype(np.uint8)
    if kind == "shifted":  # cut out by a pixel on two sides, and the border repeated on the others
        return np.pad(image, ((0, 1), (0, 1), (0, 0)), mode="edge")[1:, 1:]
    Image.fromarray(image).save(packed := io.BytesIO(), "JPEG", quality=60)
    return np.asarray(Image.open(packed))


def judge_duplicates(images: np.ndarray, copied: np.ndarray) -> dict[str, object]:
    """Count the planted copies that are paired with their original, and the clean pictures in any other pair."""
    count = len(images) - len(copied)
    planted = {(int(k), count + place) for place, k in enumerate(copied)}
    pairs = {(pair.first, pair.second) for pair in find_duplicates(torch.from_numpy(images))}
    kinds = {
        kind: float(np.mean([(int(k), count + place) in pairs for place, k in enumerate(copied) if place % 4 == i]))
        for i, kind in enumerate(KINDS)
    }
    touched = {number for pair in planted for number in pair}
    alarmed = {number for pair in pairs - planted for number in pair} - touched
    return {
        "found": len(planted & pairs) / len(planted),
        **{f"found_{kind}": value for kind, value in kinds.items()},
        "false_alarms": len(alarmed) / (count - len(copied)),
    }


def judge_labels(images: torch.Tensor, given: torch.Tensor, flipped: np.ndarray, seed: int) -> dict[str, float]:
    """Count the planted labels among the suspects, and the clean pictures among them."""
    suspects = choose_suspects(score_labels(images, given, num_classes=10, seed=seed), given, SUSPECTS)
    hit = np.isin(flipped, suspects.numpy()).sum()
    clean = len(images) - len(flipped)
    return {
        "found": hit / len(flipped),
        "false_alarms": (len(suspects) - hit) / clean,
        "suspects": float(len(suspects)),
    }


if __name__ == "__main__":
    main(answer)
