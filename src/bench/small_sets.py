"""Compare our default for small sets of pictures with fastai's, from scratch, on the same pictures in the same time.

    python -m src.bench.small_sets data=<folder> out=<folder> python=<an interpreter that has fastai> [seeds=3] [only=…]

``data`` holds imagenette160/ and FashionMNIST/raw/, as available. Each set is made once, as PNG files in train, val and
test. Ours is ``data=folder`` as it comes, but for the size and the network, which are the same on both sides. fastai
then gets as many epochs as take a little more than our CPU seconds, with a thread on both sides; they run in turn.
The rows go to out/small_sets.csv, which a second start continues; the test sets were looked at in no other way.
"""

import gzip
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..errors import UserError
from ..files import read_csv, write_rows

T95 = {2: 6.314, 3: 2.920, 4: 2.353, 5: 2.132}  # Student's t for a two-sided 90 %, by the number of pairs
MORE_TIME = 1.15  # fastai gets that many times our CPU seconds, for its epochs are foretold from two of them
HEAD = ["set", "seed", "side", "f1", "seconds", "epochs"]


@dataclass(frozen=True)
class SmallSet:
    """A set to be made: pictures of each class for training, validation and test, and the size that is trained on."""

    name: str
    size: int
    depth: int  # of the network, a ResNet for small images
    counts: tuple[tuple[int, int, int], ...]
    source: str = "imagenette160"
    classes: tuple[int, ...] = ()
    grey: bool = False


SETS = (
    SmallSet("two_60", 48, 20, ((48, 12, 50),) * 2, classes=(0, 1)),
    SmallSet("five_30", 48, 20, ((24, 6, 50),) * 5, classes=(0, 1, 2, 3, 4)),
    SmallSet("grey_60", 48, 20, ((48, 12, 50),) * 3, classes=(2, 3, 4), grey=True),
    SmallSet("ten_to_one", 48, 20, ((54, 6, 50), (18, 4, 50), (5, 2, 50)), classes=(0, 2, 4)),
    SmallSet("digits", 32, 8, ((50, 10, 60),) * 10, source="digits"),
    SmallSet("fashion_200", 28, 8, ((160, 40, 100),) * 10, source="FashionMNIST"),
)


def read_pictures(one: SmallSet, data: Path) -> Iterator[list[Image.Image]]:
    """Yield the pictures of each class of a set, in a fixed order."""
    if one.source == "imagenette160":
        folders = sorted(path.name for path in (data / "imagenette160" / "train").iterdir())
        for k in one.classes:
            files = [path for split in ("train", "val") for path in sorted(data.glob(f"*160/{split}/{folders[k]}/*"))]
            yield [Image.open(path).convert("L" if one.grey else "RGB") for path in files]
        return
    images, labels = read_digits() if one.source == "digits" else read_fashion(data)
    for k in range(10):
        yield [Image.fromarray(image) for image in images[labels == k]]


def read_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return (images.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8), labels


def read_fashion(data: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    def read(name: str, offset: int) -> NDArray[np.uint8]:
        path = data / "FashionMNIST" / "raw" / name
        packed = path.with_name(f"{name}.gz")
        content = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
        return np.frombuffer(content, np.uint8, offset=offset)

    images = read("train-images-idx3-ubyte", 16).reshape(-1, 28, 28)
    return images, read("train-labels-idx1-ubyte", 8).astype(np.int64)


def make_set(one: SmallSet, data: Path, out: Path) -> Path:
    """Write the PNG files of a set, unless they are there; photos in the size that is trained on."""
    root = out / one.name
    if (root / "whole").exists():
        return root
    for k, (pictures, counts) in enumerate(zip(read_pictures(one, data), one.counts, strict=True)):
        ends = np.cumsum([0, *counts])
        for split, first, last in zip(("train", "val", "test"), ends[:-1], ends[1:], strict=True):
            folder = root / split / f"class{k}"
            folder.mkdir(parents=True, exist_ok=True)
            for i, picture in enumerate(pictures[first:last]):
                if one.source == "imagenette160":
                    picture = ImageOps.fit(picture, (one.size, one.size), Image.Resampling.BICUBIC)
                picture.save(folder / f"{i:03}.png")
    (root / "whole").touch()
    return root


def measure_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def train_ours(one: SmallSet, root: Path, seed: int, out: Path, more: Sequence[str]) -> tuple[float, float, int]:
    """Train with our defaults, and return macro F1, CPU seconds, reading included, and epochs."""
    from ..cli.compose import compose_run
    from ..training.assemble import assemble
    from ..training.fit import fit
    from ..training.settle import open_run, settle

    words = (
        *("data=folder", f"data.root={root}", f"data.image_size={one.size}", f"seed={seed}"),
        *("model=cifar_resnet", f"model.depth={one.depth}", "trainer=cpu", "trainer.threads=1"),
        *(f"output_root={out / 'runs'}", "fresh=true", *more),
    )
    began = measure_cpu_seconds()
    settled = settle(compose_run(*words))
    run = open_run(settled, adopt=True)
    with run.hold():
        results = fit(assemble(settled), run)
    return results["metrics"]["test/f1"], measure_cpu_seconds() - began, results["epochs"]


class Peer:
    """fastai in its own environment, which answers a line of JSON by another."""

    def __init__(self, python: str) -> None:
        script = Path(__file__).with_name("peers") / "fastai_small.py"
        place = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": place}
        self.process: subprocess.Popen[str] = subprocess.Popen([python, str(script)], **pipes)  # type: ignore[call-overload]

    def train(self, one: SmallSet, root: Path, seed: int, seconds: float) -> tuple[float, float, int]:
        """Return macro F1, CPU seconds and epochs. Raises UserError where it has ended."""
        assert self.process.stdin is not None and self.process.stdout is not None
        request = {"root": str(root), "seed": seed, "size": one.size, "depth": one.depth, "seconds": seconds}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise UserError("python=…: fastai's side has ended; its own message is above")
        found = json.loads(line)
        return found["f1"], found["seconds"], found["epochs"]

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def summarize(rows: Sequence[Sequence[str]]) -> str:
    """Return a table of each set: both means, the paired difference with its 90 % interval, and the time's ratio."""
    lines = [f"{'set':<14}{'n':>3}{'ours':>8}{'fastai':>8}{'difference, 90 %':>22}{'time, ours/theirs':>20}"]
    means = []
    for name in dict.fromkeys(row[0] for row in rows):
        pairs = {(row[1], row[2]): row for row in rows if row[0] == name}
        seeds = [seed for seed, side in pairs if side == "ours" and (seed, "fastai") in pairs]
        ours, theirs = ([float(pairs[seed, side][3]) for seed in seeds] for side in ("ours", "fastai"))
        if not seeds:
            continue
        gap = np.subtract(ours, theirs)
        half = T95.get(len(gap), float("nan")) * gap.std(ddof=1) / len(gap) ** 0.5 if len(gap) > 1 else float("nan")
        times = [float(pairs[seed, "ours"][4]) / float(pairs[seed, "fastai"][4]) for seed in seeds]
        means.append((np.mean(ours), np.mean(theirs)))
        lines.append(
            f"{name:<14}{len(seeds):>3}{np.mean(ours):>8.3f}{np.mean(theirs):>8.3f}"
            f"{gap.mean():>+10.3f} ±{half:>6.3f}{'':>4}{np.mean(times):>18.2f}"
        )
    if means:
        both = np.mean(means, axis=0)
        lines.append(f"{'mean':<14}{len(means):>3}{both[0]:>8.3f}{both[1]:>8.3f}{both[0] - both[1]:>+10.3f}")
    return "\n".join(lines)


def run_command() -> int:
    """Run what is missing in the table, ours and fastai in turn, and print the summary."""
    words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    if missing := [name for name in ("data", "out", "python") if name not in words]:
        raise UserError(f"{missing[0]}=… is missing: {(__doc__ or '').split(chr(10))[2].strip()}")
    data, out = Path(words["data"]), Path(words["out"])
    out.mkdir(parents=True, exist_ok=True)
    table = out / "small_sets.csv"
    rows = read_csv(table)[1:]
    more = [word for word in sys.argv[1:] if "." in word.split("=")[0]]
    chosen = [one for one in SETS if "only" not in words or one.name in words["only"].split(",")]
    peer = Peer(words["python"])

    def measure(name: str, seed: int, side: str, run: Callable[[], tuple[float, float, int]]) -> float:
        known = [row for row in rows if row[:3] == [name, str(seed), side]]
        if not known:
            f1, seconds, epochs = run()
            known = [[name, str(seed), side, f"{f1:.4f}", f"{seconds:.1f}", str(epochs)]]
            rows.extend(known)
            write_rows(table, [HEAD, *rows])
        return float(known[0][4])

    try:
        for seed in range(int(words.get("seeds", "3"))):
            for one in chosen:
                root = make_set(one, data, out)
                ours = measure(one.name, seed, "ours", lambda: train_ours(one, root, seed, out, more))  # noqa: B023
                measure(one.name, seed, "fastai", lambda: peer.train(one, root, seed, MORE_TIME * ours))  # noqa: B023
    finally:
        peer.end()
    print(summarize(rows))
    return 0


if __name__ == "__main__":
    from ..cli.main import main

    main(run_command)
