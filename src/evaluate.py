"""Evaluate a run again: ``python -m src.evaluate run=<directory or checkpoint> [split=test|val|train] [any override]``.

All settings come from the checkpoint. `data.root=…` says where the data is now, and `data=<set>` evaluates on another
data set. The arithmetic is fp32, and pixels are scaled as in training.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from .cli.compose import apply_overrides, to_train_config
from .cli.console import say
from .cli.main import main
from .config.run import TrainConfig
from .errors import UserError
from .runs.stored import find_checkpoint, restore_config

if TYPE_CHECKING:
    from .training.assemble import Assembly
    from .training.checkpoints import Checkpoint, StoredInfo

SPLITS = ("test", "val", "train")


def run_command() -> int:
    """Evaluate the run that the command line names, and print its table."""
    words = sys.argv[1:]
    if not words or {"--help", "-h"} & set(words):
        print(__doc__)
        return 0 if words else 2
    named = dict(word.split("=", 1) for word in words if word.startswith(("run=", "split=")))
    overrides = [word for word in words if not word.startswith(("run=", "split="))]
    if not named.get("run"):
        raise UserError("run= is missing; type the run's directory or checkpoint: python -m src.evaluate run=outputs/…")
    evaluate(Path(named["run"]), split=named.get("split", "test"), overrides=overrides)
    return 0


def evaluate(path: Path, *, split: str = "test", overrides: list[str] | None = None) -> dict[str, float]:
    """Return metrics such as "test/accuracy" of a run's weights on a split, and print them as a table.

    Raises UserError where there is no such run or split, or where the data has another number of classes.
    """
    if split not in SPLITS:
        raise UserError(f"split={split}: choose one of: {', '.join(SPLITS)}")
    checkpoint_path = find_checkpoint(path)
    from omegaconf import DictConfig, OmegaConf

    from .training.checkpoints import load_checkpoint

    checkpoint = load_checkpoint(checkpoint_path)
    if "config" not in checkpoint:
        raise UserError(f"{checkpoint_path}: no checkpoint of ours (it has no configuration)")
    stored = restore_config(OmegaConf.create(checkpoint["config"]))
    here = {
        "accelerator": "auto",
        "devices": None,
        "num_nodes": 1,
        "strategy": "auto",
        "limit_test_batches": None,
        "graph": "none",
    }
    over = {"trainer": here, "protocol": "last", "optim": {"schedule": "constant", "ema": 0.0}}
    config = to_train_config(apply_overrides(cast(DictConfig, OmegaConf.merge(stored, over)), overrides or []))
    return evaluate_checkpoint(config, checkpoint, checkpoint_path, split)


def evaluate_checkpoint(config: TrainConfig, checkpoint: "Checkpoint", path: Path, split: str) -> dict[str, float]:
    """Run the network of a checkpoint over a split and print the table."""
    from .training.assemble import assemble
    from .training.checkpoints import extract_network_weights
    from .training.messages import format_metrics
    from .training.settle import settle
    from .training.trainer import build_trainer

    as_trained = replace(config.data, normalize="weights")
    assembly = assemble(settle(replace(config, data=as_trained), continued=True), checkpoint=checkpoint)
    config, data, task = assembly.config, assembly.data, assembly.task
    check_classes(checkpoint["info"], assembly)
    if not data.sizes.get(split):
        raise UserError(f"split={split}: this run has no such split (data.val_fraction={config.data.val_fraction})")
    assembly.network.load_state_dict(extract_network_weights(checkpoint))
    task.adopt(checkpoint)
    trainer = build_trainer(config)
    try:
        trainer.test(task, data.eval_loader(split, trainer.strategy.root_device), verbose=False)
    except SystemExit:  # Lightning raises it after Ctrl-C and SIGTERM; after SIGTERM with the code of a success
        raise KeyboardInterrupt from None
    metrics = {name.replace("test/", f"{split}/"): value for name, value in task.epoch_metrics.items()}
    if trainer.is_global_zero:
        if list(checkpoint["info"]["classes"]) != list(data.info.classes):
            say(f"The network was trained on other classes: {', '.join(checkpoint['info']['classes'][:5])} …")
        say(f"{config.model.name} on {config.data.name}, {split}, {data.sizes[split]:,} images, fp32; {path}")
        print(format_metrics(metrics, config.task.name))
    return metrics


def check_classes(trained_on: "StoredInfo", assembly: "Assembly") -> None:
    """Refuse data with another number of classes or channels."""
    config, info = assembly.config, assembly.data.info
    if len(trained_on["classes"]) != info.num_classes or trained_on["channels"] != info.channels:
        raise UserError(
            f"data={config.data.name}: {info.num_classes} classes and {info.channels} channels, but the "
            f"network was trained for {len(trained_on['classes'])} and {trained_on['channels']}; "
            "set data.classes and data.channels"
        )


if __name__ == "__main__":
    main(run_command)
