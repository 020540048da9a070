"""Predict images: ``python -m src.predict run=<run, checkpoint or .safetensors> images=<what> [out=…] [top=5]``.

``images=`` is a file, a folder, a pattern such as 'photos/*.jpg', a zip archive, or - for stdin: an image, or paths,
one a line. Classes, preprocessing, threshold and temperature are the run's. Written are predictions.csv,
predictions.jsonl and page.html, and of a detector COCO's detections.json; ``annotations=<COCO file>`` gives its ids.
Also: ``batch_size=``, and any setting, such as trainer.accelerator=cpu. The same command again continues.

The exit code is 1 where an image could not be read (unreadable.csv); all others are predicted.
"""

from pathlib import Path

from .cli.console import say
from .cli.main import main, print_help, split_words
from .errors import UserError

OWN = ("run", "images", "out", "top", "batch_size", "annotations")


def run_command() -> int:
    """Predict the images that the command line names."""
    if (told := print_help(__doc__)) is not None:
        return told
    named, overrides = split_words(OWN)
    for name, example in {"run": "outputs/…", "images": "photos"}.items():
        if not named.get(name):
            raise UserError(
                f"{name}= is missing; type {name}={example}: python -m src.predict run=outputs/… images=photos"
            )
    return predict(
        Path(named["run"]),
        named["images"],
        overrides=overrides,
        out=read_folder(named),
        top=read_count(named, "top", 5),
        batch_size=read_count(named, "batch_size", 64),
        annotations=Path(named["annotations"]) if "annotations" in named else None,
    )


def read_folder(named: dict[str, str]) -> Path | None:
    """Return the folder of out=; None where the command line names none."""
    if named.get("out") == "":
        raise UserError("out=: name a folder, or leave this out")
    return Path(named["out"]).expanduser() if "out" in named else None


def read_count(named: dict[str, str], name: str, default: int) -> int:
    """Return a whole number from 1 on of the command line."""
    text = named.get(name, str(default))
    if not text.isdecimal() or not int(text[:9]) >= 1 or len(text) > 9:
        raise UserError(f"{name}={text[:24]}: a whole number from 1 on is needed")
    return int(text)


def predict(
    run: Path,
    images: str,
    *,
    overrides: list[str] | None = None,
    out: Path | None = None,
    top: int = 5,
    batch_size: int = 64,
    annotations: Path | None = None,
) -> int:
    """Predict images by a run and write the files; return 0, or 1 where an image could not be read.

    Raises UserError where the run, the images or the folder are none, and KeyboardInterrupt with what to do after it.
    """
    from .inference.batch import predict_to_folder
    from .inference.network import open_predictor
    from .inference.sources import find_images

    with find_images(images) as found:
        predictor = open_predictor(run, overrides)
        done = predict_to_folder(
            predictor, found, source=images, out=out, top=top, batch_size=batch_size, annotations=annotations
        )
    if done.table:
        print(done.table)
    say(done.summary)
    return 1 if done.unreadable else 0


if __name__ == "__main__":
    main(run_command)
