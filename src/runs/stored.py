"""Read the configuration of a run directory again, and find its checkpoint."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..cli.plugins import load_plugins
from ..config.choices import Choice, find_choice, list_group_fields
from ..config.fields import get_neutral
from ..config.run import TrainConfig
from ..errors import UserError
from ..files import Json, read_yaml_text
from ..text import take_first_line
from ..zoo.registry import row

if TYPE_CHECKING:
    from omegaconf import DictConfig


def load_stored_config(path: Path) -> "DictConfig":
    """Load the stored configuration of a run directory, type-checked; raise UserError where there is none."""
    file = path / "config.yaml"
    if not file.exists():
        raise UserError(f"{path}: no run directory (it holds no config.yaml); python -m src.runs lists those that are")
    return restore_config(read_yaml_text(file), file)


def restore_config(stored: object, source: Path) -> "DictConfig":
    """Return a stored configuration, plain or as YAML, on its schema, and checked as when it was composed.

    Settings of a single start (fresh, resume …) get their defaults. Raises UserError, which names the source, where it
    is no configuration.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = put_on_schema(OmegaConf.to_container(OmegaConf.create(stored)))  # type: ignore[call-overload]
        OmegaConf.to_object(config)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    except (
        OmegaConfBaseException,
        LookupError,
        ValueError,
        AttributeError,
        TypeError,
        AssertionError,
        RecursionError,
    ) as error:
        reason = take_first_line(str(error) or type(error).__name__)[:200]
        raise UserError(f"{source}: damaged (no configuration of a run: {reason})") from None
    return config


def put_on_schema(content: Any) -> "DictConfig":
    """Return a stored configuration on the schema of its choices, with today's names."""
    from omegaconf import DictConfig, OmegaConf

    load_plugins(content.get("plugins", []))
    schema = OmegaConf.structured(TrainConfig)
    schema.model = OmegaConf.structured(type(row(content["model"].pop("family"))))
    for group in ("data", "task", "optim"):
        kind = find_choice(group, content[group]["name"])
        schema[group] = OmegaConf.structured(kind)
        content[group] = keep_own_settings(kind, content[group])
    content["logger"] = upgrade_loggers(content["logger"])
    schema.logger = {name: OmegaConf.structured(find_choice("logger", name)) for name in content["logger"]}
    once: dict[str, object] = {"fresh": False, "resume": None, "resume_anyway": False, "debug": False}
    once |= {"preflight": "check", "preflight_memory": None, "test": True}
    return cast(DictConfig, OmegaConf.merge(schema, content, once))


def keep_own_settings(kind: type[Choice], stored: dict[str, object]) -> dict[str, object]:
    """Return the settings of a choice without those of other choices, which earlier versions stored too.

    Raises UserError where such a setting has a value that would have changed the run.
    """
    others = list_group_fields(kind.config_group)
    own = set()
    for f in fields(kind):  # type: ignore[arg-type]
        choices, value = f.metadata.get("choices", ()), stored.get(f.name)
        if not (choices and value not in choices and value == get_neutral(others[f.name])):  # another's, of this name
            own.add(f.name)
    for name in stored.keys() - own:
        other = others.get(name)
        if other is None or (other.metadata["identity"] and stored[name] != get_neutral(other)):
            raise UserError(
                f"{kind.config_group}.{name}={stored[name]}: {kind.config_group}={kind.choice} has no such setting"
            )
    return {name: value for name, value in stored.items() if name in own}


def upgrade_loggers(stored: Json) -> dict[str, object]:
    """Return a run's loggers by name; earlier versions stored a single one, beside the settings of W&B."""
    if "name" not in stored:
        return stored
    name = stored.pop("name")
    return {name: stored if name == "wandb" else {}}


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint of a run directory (best.ckpt with protocol=best_val), or the path of a file itself."""
    if path.is_file():
        return path
    name = "best" if load_stored_config(path).protocol == "best_val" else "last"
    return path / "checkpoints" / f"{name}.ckpt"


def describe_same_command(*, fresh: bool) -> str:
    """Describe the command that continues a stopped run; fresh=true would start it over."""
    return "the same command without fresh=true" if fresh else "the same command"


def read_command_line() -> str:
    """Return the command as it was typed, quoted so that it can be pasted."""
    import shlex

    module = sys.modules["__main__"].__spec__
    if module and module.name.startswith("residual."):
        program = f"residual {module.name.partition('.')[2]}"
    else:
        program = f"python -m {module.name}" if module else f"python {shlex.quote(sys.argv[0])}"
    return " ".join([program, *map(shlex.quote, sys.argv[1:])])
