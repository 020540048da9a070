"""Find what the command line names: runs, at points of their training, and registered networks before it."""

import glob
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from ...cli.compose import apply_overrides, compose_run, to_train_config
from ...config.run import TrainConfig
from ...errors import UserError
from ...report.result import find_run_directories
from ...runs.find import resolve_run
from ...runs.stored import find_checkpoint, load_stored_config
from ...text import describe_unknown
from ...zoo.registry import rows

NAMED = ("init", "last", "best")


@dataclass(frozen=True)
class Target:
    """A network at a point of its training; ``run`` is its directory, "" for one that nobody has trained.

    ``checkpoint`` is "" at the initialisation, and ``overrides`` are the words that change the settings.
    """

    label: str
    at: str
    model: str
    seed: int
    run: str
    checkpoint: str
    overrides: tuple[str, ...]

    def digest(self) -> str:
        """Return what stands for the weights: the checkpoint's hash, or "" where the settings make them."""
        return hashlib.sha256(Path(self.checkpoint).read_bytes()).hexdigest() if self.checkpoint else ""


def find_targets(words: Sequence[str], points: Sequence[str], overrides: Sequence[str]) -> list[Target]:
    """Return the networks that these words name, each at each of the points; raise UserError for a wrong word.

    A word is a run directory, a folder or glob of runs, a checkpoint file, or the name of a registered network, which
    is only at its initialisation. Without points a run is looked at as it was tested.
    """
    found: list[Target] = []
    for word in words:
        path = Path(word) if word in rows() else resolve_run(word)
        runs = sorted(find_run_directories([str(path)])) if path.is_dir() or glob.has_magic(word) else []
        if path.is_file():
            found.append(make_file_target(path, points, overrides))
        elif runs:
            found += [target for run in runs for target in make_run_targets(run, points, overrides)]
        elif word in rows():
            found.append(make_initial_target(word, points, overrides))
        elif path.is_dir() or os.sep in word or glob.has_magic(word):
            raise UserError(f"run={word}: no run directory, and none below it")
        else:
            raise UserError(
                f"{describe_unknown('run', word, rows())}, and there is no such run directory or checkpoint"
            )
    return label_apart(list(dict.fromkeys(found)))


def make_file_target(path: Path, points: Sequence[str], overrides: Sequence[str]) -> Target:
    """Return the network of a checkpoint file."""
    from ...training.reopen import reopen

    if points:
        raise UserError(f"at={','.join(points)}: {path} is one checkpoint; name its run directory, or leave at= out")
    config = reopen(path, list(overrides)).config
    name = config.model.name
    return Target(name, path.stem, name, config.seed, "", str(path), tuple(overrides))


def make_run_targets(run: Path, points: Sequence[str], overrides: Sequence[str]) -> list[Target]:
    """Return a run's network at each of the points, of which "last" is the state that was tested."""
    config = load_stored_config(run)
    model, seed = str(config.model.name), int(config.seed)
    return [
        Target(model, point, model, seed, str(run), find_point(run, point), tuple(overrides))
        for point in points or ("last",)
    ]


def find_point(run: Path, point: str) -> str:
    """Return the checkpoint of a run at a point, "" for "init"; raise UserError where it was not kept."""
    if point == "init":
        return ""
    folder = run / "checkpoints"
    path = find_checkpoint(run) if point == "last" else folder / f"{point}.ckpt"
    if point.isdecimal():
        path = folder / f"epoch_{int(point):04d}.ckpt"
    elif point not in NAMED:
        raise UserError(f"at={point}: choose from init, last, best, and the numbers of epochs that were kept")
    if path.is_file():
        return str(path)
    kept = sorted(int(file.stem.removeprefix("epoch_")) for file in folder.glob("epoch_[0-9]*.ckpt"))
    advice = f"; kept: {', '.join(map(str, kept)) or 'none'} (trainer.keep_epochs=[{point}] keeps it while training)"
    raise UserError(f"{run}: has no checkpoint for at={point}{advice * point.isdecimal()}")


def make_initial_target(name: str, points: Sequence[str], overrides: Sequence[str]) -> Target:
    """Return a registered network at its initialisation."""
    if points and "init" not in points:
        raise UserError(f"at={','.join(points)}: {name} is a network that nobody has trained, so only at=init is known")
    seed = compose_run(f"model={name}", *overrides).seed
    return Target(name, "init", name, seed, "", "", tuple(overrides))


def label_apart(targets: Sequence[Target]) -> list[Target]:
    """Add the seed to labels that several networks share, and then the end of the directory's name."""
    for add in (lambda target: f"seed {target.seed}", lambda target: Path(target.run or target.checkpoint).name[-10:]):
        owners: dict[str, set[tuple[str, str]]] = {}
        for target in targets:
            owners.setdefault(target.label, set()).add((target.run, "" if target.run else target.checkpoint))
        shared = {label for label, owner in owners.items() if len(owner) > 1}
        targets = [replace(t, label=f"{t.label} {add(t)}") if t.label in shared else t for t in targets]
    return list(targets)


def compose_initial(target: Target) -> TrainConfig:
    """Return the settings with which a network at its initialisation is built, on this machine."""
    from ...training.reopen import HERE

    if not target.run:
        return compose_run(f"model={target.model}", *target.overrides)
    composed = cast(DictConfig, OmegaConf.merge(load_stored_config(Path(target.run)), HERE))
    return to_train_config(apply_overrides(composed, list(target.overrides)))
