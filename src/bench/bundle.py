"""Pack what a machine without a network lacks: ``python src/bench/bundle.py <folder with CIFAR-10> <out>``.

Write <out>/1 and <out>/2. Each holds half of CIFAR-10 as lossless WebP (50 MB instead of 93), so that it can be carried
alone where uploads are limited, and the pure-Python wheels. There, ``src/bench/gpu.sh setup`` lays the set out
again, byte for byte: ``python src/bench/bundle.py unpack <root> <out>/1 <out>/2``, also a part at a time.
Nothing here is needed where pip and a download work.
"""

import gzip
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


HALVES = {"1": ("data_batch_1", "data_batch_2", "data_batch_3"), "2": ("data_batch_4", "data_batch_5", "test_batch")}


WHEELS = (  # for any Python: what training and the GPU tests import beside torch, torchvision, numpy and pillow
    "antlr4-python3-runtime==4.9.3",
    "hydra-core",
    "iniconfig",
    "lightning",
    "lightning-utilities",
    "omegaconf",
    "packaging",
    "pluggy",
    "pygments",
    "pytest",
    "pyyaml",
    "torchmetrics",
    "tqdm",
)


PEER = "airbench==0.1.8"  # what cifar10_speedrun96 is measured against


FOLDER = "cifar-10-batches-py"


SHEETS, GRID = 20, (20, 25)  # of a batch file's 10,000 images, as 20 sheets of 20 rows and 25 columns


def pack(batch: Path, out: Path) -> None:
    """Write a batch file as sheets of its pixels, and what its pickle has before and after them."""
    raw = batch.read_bytes()
    pixels: np.ndarray = pickle.loads(raw, encoding="bytes")[b"data"]  # the official file, whose md5 our loader checks
    start = raw.index(pixels.tobytes())
    (out / f"{batch.name}.head.gz").write_bytes(gzip.compress(raw[:start], mtime=0))
    (out / f"{batch.name}.tail.gz").write_bytes(gzip.compress(raw[start + pixels.size :], mtime=0))
    for number, images in enumerate(pixels.reshape(SHEETS, *GRID, 3, 32, 32)):
        sheet = images.transpose(0, 3, 1, 4, 2).reshape(GRID[0] * 32, GRID[1] * 32, 3)
        Image.fromarray(sheet).save(out / f"{batch.name}.{number:02d}.webp", lossless=True, quality=50, method=2)


def unpack(parts: list[Path], root: Path) -> None:
    """Write the official files below `root` again, from the parts that are here."""
    target = root / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    for part in parts:
        for path in part.glob("batches.meta"):
            shutil.copy(path, target)
        for head in part.glob("*.head.gz"):
            name = head.name.removesuffix(".head.gz")
            sheets = (np.asarray(Image.open(part / f"{name}.{k:02d}.webp")) for k in range(SHEETS))
            tiles = (s.reshape(GRID[0], 32, GRID[1], 32, 3).transpose(0, 2, 4, 1, 3).tobytes() for s in sheets)
            tail = gzip.decompress((part / f"{name}.tail.gz").read_bytes())
            (target / name).write_bytes(gzip.decompress(head.read_bytes()) + b"".join(tiles) + tail)
            print(name, hashlib.md5((target / name).read_bytes(), usedforsecurity=False).hexdigest())


def build_wheels(folder: Path) -> None:
    """Collect pure-Python wheels, building those that PyPI lacks; raise RuntimeError for one bound to this machine."""
    shutil.rmtree(folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-binary", "pyyaml"]
    pip += ["--wheel-dir", str(folder), "--constraint", str(ROOT / "constraints.txt"), *WHEELS, PEER]
    subprocess.run(pip, check=True, env=os.environ | {"PYYAML_FORCE_LIBYAML": "0"})  # its part in C is for one Python
    if bound := [wheel.name for wheel in folder.iterdir() if not wheel.name.endswith("-none-any.whl")]:
        raise RuntimeError(f"wheels for this machine alone, not pure Python: {', '.join(bound)}")


def main(words: list[str]) -> None:
    """Pack, or unpack where the first word says so."""
    if words[:1] == ["unpack"]:
        unpack([Path(word) for word in words[2:]], Path(words[1]))
        return
    source, out = Path(words[0]) / FOLDER, Path(words[1])
    for half, names in HALVES.items():
        (out / half).mkdir(parents=True, exist_ok=True)
        for name in names:
            pack(source / name, out / half)
    shutil.copy(source / "batches.meta", out / "2")
    build_wheels(out / "1" / "wheels")
    shutil.copytree(out / "1" / "wheels", out / "2" / "wheels", dirs_exist_ok=True)
    for half in HALVES:
        size = sum(path.stat().st_size for path in (out / half).rglob("*") if path.is_file())
        print(f"{out / half}: {size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
