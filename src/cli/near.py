"""Find what a person probably meant by a name that is none: a setting, a choice of a group, a flag."""

import difflib
import os
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from functools import cache

from ..config.choices import CHOICES, list_group_fields
from ..config.run import TrainConfig
from ..text import describe_unknown
from ..zoo.registry import rows

OTHER_NAMES = {  # of settings, in other projects
    "batch": "data.batch_size",
    "bs": "data.batch_size",
    "ckpt": "model.weights",
    "cuda": "trainer.accelerator=gpu",
    "dataset": "data",
    "data_dir": "data.root",
    "data_path": "data.root",
    "device": "trainer.accelerator",
    "epoch": "trainer.max_epochs",
    "epochs": "trainer.max_epochs",
    "gpu": "trainer.accelerator=gpu",
    "gpus": "trainer.devices",
    "img_size": "data.image_size",
    "imgsz": "data.image_size",
    "learning_rate": "optim.lr",
    "n_epochs": "trainer.max_epochs",
    "network": "model",
    "num_epochs": "trainer.max_epochs",
    "num_workers": "data.workers",
    "arch": "model",
    "opt": "optim",
    "optimizer": "optim",
    "out": "output_root",
    "output": "output_root",
    "output_dir": "output_root",
    "path": "data.root",
    "pretrained": "model.weights",
    "random_seed": "seed",
    "scheduler": "optim.schedule",
    "size": "data.image_size",
    "wd": "optim.weight_decay",
}


@cache
def list_settings() -> list[str]:
    """Return the dotted names of all settings, those of all networks and of all choices of a group included."""
    names = []
    for f in fields(TrainConfig):
        if f.name == "model":
            names += [f"model.{inner.name}" for row in rows().values() for inner in fields(row)]
        elif f.name in CHOICES:
            names += [f"{f.name}.{name}" for name in list_group_fields(f.name)]
        elif is_dataclass(f.type):
            names += [f"{f.name}.{inner.name}" for inner in fields(f.type)]
        else:
            names.append(f.name)
    return list(dict.fromkeys(names))


def find_setting(name: str) -> str:
    """Return the setting that a name without its group means, such as optim.lr for lr; "" where it means none."""
    plain = name.lower().replace("-", "_")
    if plain in OTHER_NAMES:
        return OTHER_NAMES[plain]
    known = list_settings()
    ends = [full for full in known if full.rpartition(".")[2] == plain and full != "logger.name"]
    return ends[0] if ends else plain if plain in (*CHOICES, "model", "trainer") else ""


def suggest_setting(name: str) -> str:
    """Return the setting that a misspelt name without its group is nearest to; "" where none is near."""
    if found := find_setting(name):
        return found
    leaves = {full.rpartition(".")[2]: full for full in reversed(list_settings())} | OTHER_NAMES
    near = difflib.get_close_matches(name.lower(), leaves, n=1, cutoff=0.75)
    return leaves[near[0]] if near else ""


def name_setting(setting: str, value: str = "…") -> str:
    """Return a setting as a word to type."""
    return setting if "=" in setting else f"{setting}={value}"


def explain_no_flag(flag: str, following: str = "") -> str:
    """Return the sentence for a word with dashes that is no flag, such as --model resnet20; "" for one unlike any."""
    name, _, value = flag.lstrip("-").partition("=")
    setting = name if name in list_settings() else suggest_setting(name)
    value = value or ("" if following.startswith("-") or "=" in following else following) or "…"
    return f"{flag}: settings are typed without dashes: {name_setting(setting, value)}" if setting else ""


def explain_unknown_choice(group: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence for a name that its group lacks: the nearest names, or the words for a folder of photos."""
    if group == "data" and ("/" in name or os.path.isdir(name)):
        return f"data={name}: a folder of your own pictures is typed data=folder data.root={name}"
    return describe_unknown(group, name, known)
