"""Settle each "auto" of a set of your own pictures, and say in two lines what was chosen and why.

A person's own settings stay. On the command line "auto" is typed; in a configuration it is 0 where a number is meant.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.data import Folder
from ..config.optim import FinetuneConfig
from ..config.run import TrainConfig
from ..config.task import Multiclass
from ..data.recipe import Recipe, SetFacts, fit_recipe
from ..errors import UserError

if TYPE_CHECKING:
    from ..data.photos.listing import Listing

RESIDENT = 2**30  # bytes of decoded pictures that lie in memory; more are decoded while training
UNEVEN = 1.5  # times as many pictures in the largest class as in the smallest: unbalanced
SAMPLE = 256  # pictures whose headers are read


def fit_to_data(config: TrainConfig) -> tuple[TrainConfig, tuple[str, ...]]:
    """Return the configuration without any "auto", and sentences for a person; unchanged where nothing is to be fitted.

    Raises UserError for whatever is wrong with the pictures' layout.
    """
    data = config.data
    if not isinstance(data, Folder):
        return settle_headline(config, "accuracy"), ()
    config, told = settle_auto_weights(config)
    if not has_auto(config):
        return config, told
    from ..data.photos.layout import list_pictures

    listing = list_pictures(data)
    facts = measure_set(data, listing)
    pretrained = config.model.weights is not None
    recipe = fit_recipe(
        facts.n,
        len(facts.counts),
        facts.pixels,
        3 if pretrained or not facts.grey else 1,
        pretrained=pretrained,
        batch_size=data.batch_size,
        optim=config.optim.name if config.optim.lr == 0 else "adamw",
    )
    settled = apply_recipe(config, data, recipe, listing)
    uneven = facts.imbalance >= UNEVEN
    settled = settle_headline(settled, "f1" if uneven else "accuracy")
    return settled, (*listing.notes, *told, *describe_fit(config, settled, facts))


def has_auto(config: TrainConfig) -> bool:
    """Return True where a setting is still to be fitted."""
    data, task = config.data, config.task
    numbers = (data.batch_size, data.image_size, data.channels, config.trainer.max_epochs, config.optim.lr)
    words = (data.augment, getattr(data, "decode", ""), getattr(task, "headline", ""))
    return 0 in numbers or "auto" in words


def apply_recipe(config: TrainConfig, data: Folder, recipe: Recipe, listing: "Listing") -> TrainConfig:
    """Return the configuration with the recipe's values in place of each "auto"."""
    size = recipe.image_size if data.image_size == 0 else data.image_size
    channels = recipe.channels if data.channels == 0 else data.channels
    decode = data.decode
    if decode == "auto":
        many = len(listing.paths()) * (size or 64) ** 2 * (channels or 3) > RESIDENT
        decode = "while_training" if many else "once"
    augment = data.augment
    if augment == "auto":
        augment = recipe.augment if decode == "once" else "imagenet_v1"
    fitted = replace(
        data,
        batch_size=data.batch_size or recipe.batch_size,
        image_size=size,
        channels=channels,
        decode=decode,
        augment=augment,
    )
    return replace(
        config,
        data=fitted,
        optim=replace(config.optim, lr=config.optim.lr or recipe.lr),
        trainer=replace(config.trainer, max_epochs=config.trainer.max_epochs or recipe.epochs),
    )


def settle_headline(config: TrainConfig, headline: str) -> TrainConfig:
    """Return the configuration with this headline metric where its own is "auto"."""
    task = config.task
    if isinstance(task, Multiclass) and task.headline == "auto":
        return replace(config, task=replace(task, headline=headline))
    return config


def measure_set(data: Folder, listing: "Listing") -> SetFacts:
    """Count the training pictures that will be left of each class, and read some headers for sizes and colours."""
    split = listing.splits["train"]
    wanted = [str(name) for name in data.classes] if data.classes else list(listing.classes)
    names = [name if name in split else listing.classes[int(name)] for name in wanted if is_class(name, listing)]
    kept = 1.0 if "val" in listing.splits else 1 - data.val_fraction
    counts = [len(split[name]) * kept for name in names] or [1.0]
    if data.limit_train is not None:
        limit = data.limit_train if data.limit_train > 1 else data.limit_train * sum(counts)
        counts = [count * min(1.0, limit / sum(counts)) for count in counts]
    paths = [path for name in names for path in split[name]]
    shorter, grey = read_headers(listing.root, paths[:: max(1, len(paths) // SAMPLE)][:SAMPLE])
    return SetFacts(tuple(max(1, round(count)) for count in counts), shorter, grey)


def is_class(name: str, listing: "Listing") -> bool:
    """Return True for the name or number of a class; a wrong one is told of where classes are chosen."""
    return name in listing.classes or (name.isdecimal() and int(name) < len(listing.classes))


def read_headers(root: Path, paths: Sequence[str]) -> tuple[int, bool]:
    """Return the median of the shorter sides of these pictures, and whether all are grey; 64 where none can be read."""
    from PIL import Image

    from ..data.photos.formats import list_formats

    sides, modes = [], set()
    for path in paths:
        try:
            with Image.open(root / path, formats=list_formats()) as image:
                sides.append(min(image.size))
                modes.add(image.mode)
        except Exception:  # a damaged picture is told of where it is read
            continue
    return (sorted(sides)[len(sides) // 2] if sides else 64), bool(modes) and modes <= {"1", "L", "LA", "I", "I;16"}


def settle_auto_weights(config: TrainConfig) -> tuple[TrainConfig, tuple[str, ...]]:
    """Return the configuration with torchvision's weights, tuned gradually, in place of model.weights=auto.

    Where they cannot be had it trains from scratch, and says so. Raises UserError where a person chose what to tune.
    """
    if config.model.weights != "auto":
        return config, ()
    from ..models.pretrained.files import find_weights

    try:
        find_weights("DEFAULT", config.model.name)
    except UserError as error:
        if config.finetune != FinetuneConfig():
            raise
        reason = str(error).removeprefix("model.weights=DEFAULT: ").partition("; ")[0]
        return (
            replace(config, model=replace(config.model, weights=None)),
            (f"From scratch: model.weights=auto found none ({reason}).",),
        )
    finetune = config.finetune if config.finetune != FinetuneConfig() else replace(config.finetune, name="gradual")
    return replace(config, model=replace(config.model, weights="DEFAULT"), finetune=finetune), ()


def describe_fit(before: TrainConfig, after: TrainConfig, facts: SetFacts) -> tuple[str, ...]:
    """Return two lines on what was fitted, and what a person has set, and one on classes of uneven size."""
    steps = max(1, facts.n // after.data.batch_size)
    fitted = {
        "data.batch_size": (before.data.batch_size == 0, after.data.batch_size),
        "trainer.max_epochs": (before.trainer.max_epochs == 0, after.trainer.max_epochs),
        "optim.lr": (before.optim.lr == 0, f"{after.optim.lr:g}"),
        "data.image_size": (before.data.image_size == 0, after.data.image_size),
        "data.augment": (before.data.augment == "auto", after.data.augment),
    }
    mine = " ".join(f"{name}={value}" for name, (is_fitted, value) in fitted.items() if is_fitted)
    yours = " ".join(f"{name}={value}" for name, (is_fitted, value) in fitted.items() if not is_fitted)
    place = "in memory" if getattr(after.data, "decode", "once") == "once" else "decoded while training"
    colours = "grey" if facts.grey else "coloured"
    lines = [
        f"Fitted to about {facts.n:,} {colours} training pictures of {len(facts.counts)} classes, {facts.pixels} pixels"
        f": {mine or 'nothing'}{f'; yours: {yours}' if yours else ''}",
        f"That is {steps:,} steps an epoch and {steps * after.trainer.max_epochs:,} in all; pictures "
        f"{place} (data.decode={getattr(after.data, 'decode', 'once')})",
    ]
    if facts.imbalance >= UNEVEN:
        balance = getattr(after.data, "balance", "none")
        headline = getattr(after.task, "headline", "accuracy")
        advice = "data.balance=sampler or =loss evens them" if balance == "none" else f"data.balance={balance}"
        lines.append(
            f"Unbalanced: the classes have from {min(facts.counts):,} to {max(facts.counts):,} training pictures; "
            f"{advice}; the best epoch is chosen by {'macro F1' if headline == 'f1' else headline}"
        )
    return tuple(lines)
