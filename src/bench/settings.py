"""Parse the command line of ``python -m src.bench``."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from ..errors import UserError

ROUNDS = 5  # fewer are no result


@dataclass(frozen=True)
class Settings:
    """The settings, each typed as ``name=value``; HELP explains them."""

    only: str = "a,b,c,d,e,f,g,h,i"
    rounds: int = ROUNDS
    images: int = 6400
    threads: int = 0
    out: str = "bench.json"
    data_root: str = "data"
    run: str = ""


HELP = {
    "only": "which comparisons, by their letters",
    "rounds": f"rounds of each; fewer than {ROUNDS} are a trial, not a result",
    "images": "CIFAR images in a round of a, b, d and f; the other comparisons derive their sizes from it",
    "threads": "torch's CPU threads; 0 leaves the choice to torch",
    "out": "where the figures go, as JSON",
    "data_root": "the folder that holds the data sets",
    "run": "f: the run directory of a ResNet-20 on CIFAR-10 to validate; by default one is trained for an epoch",
}


def format_key(name: str) -> str:
    """Return a setting's name on the command line, such as data.root, as for src.train."""
    return name.replace("_", ".")


def parse_settings(words: Sequence[str]) -> Settings:
    """Parse words, each ``key=value``; raise UserError for what is wrong."""
    known = {format_key(f.name): f for f in fields(Settings)}
    values: dict[str, str | int] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key not in known:
            raise UserError(
                f"{word}: no such setting; there are: {', '.join(f'{k}=' for k in known)}; --help explains them"
            )
        values[known[key].name] = parse_integer(key, text) if known[key].type is int else text
    settings = Settings(**values)  # type: ignore[arg-type]
    for letter in settings.only.split(","):
        if letter not in Settings.only.split(","):
            raise UserError(f"only={settings.only}: {letter!r} is no comparison; there are: {Settings.only}")
    if settings.rounds < 2:
        raise UserError(f"rounds={settings.rounds}: type at least 2; the second-best figure needs them")
    if settings.images < 256 or settings.images % 128:
        raise UserError(f"images={settings.images}: type a multiple of 128, at least 256")
    if settings.threads < 0:
        raise UserError(f"threads={settings.threads}: type at least 1, or 0 for torch's choice")
    return settings


def parse_integer(key: str, text: str) -> int:
    """Parse a whole number; raise UserError where it is none."""
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{key}={text}: a whole number is needed") from None
