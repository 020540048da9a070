"""Annotation files and pictures that are damaged at random, the same ones for the same seed."""

import io
import json
import random
from typing import Any

import numpy as np
from PIL import Image

NUMBERS: list[Any] = [
    None,
    True,
    -1,
    0,
    0.5,
    1e308,
    float("inf"),
    float("nan"),
    2**31,
    2**53 + 1,
    2**63,
    10**400,
    "1",
    [1],
]
TEXTS: list[Any] = ["", "x" * 10_000, "9" * 5_000, "\ud800", "a\0b", "a\nb", 'a,"b', "..", ".", "/etc/passwd", None, 7]
TEXTS += ["../../../../../etc/passwd", "no/such/file.jpg", "0101.jpg", "./0101.jpg", "square"]
BOXES: list[Any] = [[0, 0, 0, 0], [1, 1, 0, 5], [-5, -5, 1e9, 1e9], [30, 30, 4, 4], [1, 2, 3], ["1", "2", "3", "4"]]
BOXES += [[float("nan")] * 4, [1e308] * 4, [0, 0, 10**400, 1], [-3, -3, 99, 99], [5, 5, 1e-9, 5], {}, "box", [True] * 4]
MASKS: list[Any] = [
    *([], [[]], [[[[]]]], [[0, 0, 4, 0, 0]], [[0, 0, 5, 5]], [[1e308] * 8], [[0, 0, 1e6, 0, 1e6, 1e6]], "text", [None]),
    *(
        [[0, 0, -1e9, 3, 4, 1e9]],
        [[True] * 6],
        [["1"] * 6],
        [[10**400, 0, 4, 0, 4, 5]],
        [[float("nan"), 0, 4, 0, 4, 5]],
    ),
    *({"counts": text, "size": [24, 32]} for text in ("", "!!~~", "PPPPPPPPPPPP", "0" * 5000, "oooooooooo", "l\ud800")),
    *(
        {"counts": runs, "size": [24, 32]}
        for runs in ([0, -5, 773], [768], [0.5], [10**9], [True, 767], [10**400], None)
    ),
    *({"counts": "00", "size": size} for size in ([10**9, 10**9], None, [24], ["24", "32"], [-24, -32], [0, 0])),
]
POOLS = {"bbox": BOXES, "segmentation": MASKS, "file_name": TEXTS, "name": TEXTS}
DEEP = json.loads("[" * 500 + "]" * 500)


def mutate_json(text: str, seed: int) -> bytes:
    """Return COCO annotations with one or two nodes replaced, removed or doubled; or with bytes of the file changed."""
    draw = random.Random(seed)
    if draw.random() < 0.1:
        return mutate_bytes(text.encode(), seed)
    content = json.loads(text)
    for _ in range(draw.choice([1, 1, 2])):
        entries = content[draw.choice(["images", "categories", *["annotations"] * 4])]
        entry = draw.choice(entries)
        key, kind = draw.choice(list(entry) or ["id"]), draw.random()
        if kind < 0.05:
            entries[0] = draw.choice([*NUMBERS, *TEXTS, DEEP])
        elif kind < 0.1:
            entries.append(entry)
        elif kind < 0.2:
            entry.pop(key, None)
        elif kind < 0.3 and isinstance(entry.get(key), list):
            entry[key][0] = draw.choice([*NUMBERS, *TEXTS, DEEP])
        else:
            strange = [*NUMBERS, *TEXTS, *BOXES, DEEP]
            entry[key] = draw.choice(strange if kind < 0.4 else POOLS.get(key, NUMBERS))
        if not isinstance(entries[0], dict):
            break
    if draw.random() < 0.05:
        content[draw.choice(["images", "annotations", "categories"])] = draw.choice([None, {}, [], "x", [[]], DEEP])
    return json.dumps(content).encode()


def mutate_bytes(content: bytes, seed: int) -> bytes:
    """Return a file's bytes cut off, with bits changed, or with numbers of its head changed."""
    draw, damaged = random.Random(seed), bytearray(content)
    kind = draw.random()
    if kind < 0.25:
        return bytes(damaged[: draw.randrange(len(damaged))])
    last = min(len(damaged), 100) if kind < 0.7 else len(damaged)
    for _ in range(draw.choice([1, 1, 2, 8])):
        at = draw.randrange(last)
        if draw.random() < 0.5:
            damaged[at] ^= 1 << draw.randrange(8)
        else:
            number = draw.choice([b"\xff\xff", b"\0\0", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\1"])
            damaged[at : at + len(number)] = number
    if kind > 0.95:
        damaged[draw.randrange(last) :] += draw.randbytes(100)
    return bytes(damaged)


def make_pictures() -> dict[str, bytes]:
    """Return the bytes of small pictures of many kinds, by name."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 255, (20, 30, 3)).astype(np.uint8)).resize((30, 20), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = rgb.convert("RGBA")
    clear.putalpha(rgb.convert("L"))
    palette = rgb.quantize(16)
    grey16 = Image.fromarray((np.arange(600).reshape(20, 30) * 100).astype(np.uint16))
    kinds: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("rgb.png", rgb, {}),
        ("grey16.png", grey16, {}),
        ("palette.png", palette, {"transparency": 3}),
        ("alpha.png", clear, {}),
        ("bits.png", rgb.convert("1"), {}),
        ("turned.png", rgb, {"exif": exif}),
        ("plain.jpg", rgb, {}),
        ("turned.jpg", rgb, {"exif": exif}),
        ("cmyk.jpg", rgb.convert("CMYK"), {}),
        ("grey.jpg", rgb.convert("L"), {}),
        ("progressive.jpg", rgb, {"progressive": True}),
        ("plain.ppm", rgb, {}),
        ("grey.pgm", rgb.convert("L"), {}),
        ("plain.gif", palette, {}),
        ("moving.gif", palette, {"save_all": True, "append_images": [palette]}),
        ("plain.tif", rgb, {}),
        ("lzw.tif", rgb, {"compression": "tiff_lzw"}),
        ("float.tif", Image.fromarray(rng.random((20, 30)).astype(np.float32)), {}),
        ("plain.webp", rgb, {}),
        ("alpha.webp", clear, {"lossless": True}),
        ("plain.bmp", rgb, {}),
    ]
    made = {}
    for name, image, options in kinds:
        file = io.BytesIO()
        image.save(
            file,
            {"jpg": "jpeg", "tif": "tiff", "ppm": "ppm", "pgm": "ppm"}.get(name[-3:], name.split(".")[1]),
            **options,
        )
        made[name] = file.getvalue()
    made["long.png"], made["head.ppm"] = make_long(rgb), b"P6\n-5 3\n255\n" + bytes(45)
    return made


def make_long(image: Image.Image) -> bytes:
    """Return a PNG of 900x2 pixels."""
    file = io.BytesIO()
    image.resize((900, 2)).save(file, "png")
    return file.getvalue()
