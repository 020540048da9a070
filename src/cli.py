"""The command line: help, composition, and one clear sentence for every mistake.

Hydra prints pages for a typo and hides the exit code of a sweep's jobs; here its errors become a sentence on stderr.
``debug=true`` or ``HYDRA_FULL_ERROR=1`` shows the traceback as well.
"""

import contextlib
import difflib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from src.config import HpoConfig, TrainConfig, default_of
from src.errors import UserError
from src.registry import natural, row, rows, unknown

CONF = Path(__file__).resolve().parents[1] / "conf"
FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR")  # as the user has it, which is what other processes are to inherit
TRACEBACKS = FULL_ERROR == "1" or "debug=true" in (word.lower() for word in sys.argv)


WANTED = {  # what OmegaConf's reason for refusing a value asks of the user
    "to Float": "a number is needed",
    "to Integer": "a whole number is needed",
    "not a valid bool": "true or false is needed",
    "is not a ListConfig": "a list is needed, such as [a,b]",
}


def main(story: Callable[[], int]) -> None:
    """Run a command and exit with its code; whatever goes wrong becomes one sentence and a code that is not 0."""
    try:
        sys.exit(story())
    except KeyboardInterrupt as interrupt:
        say(str(interrupt) or "Interrupted.")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if TRACEBACKS:
            raise
        say(sentence(error))
        sys.exit(1)


def say(text: str) -> None:
    """Print to stderr; stdout is for results."""
    print(text, file=sys.stderr, flush=True)


def compose_and_run(job: Callable[[Any], Any]) -> None:
    """Compose ``conf/train.yaml`` with the command line and run the job on it, or on each point of a sweep (-m)."""
    import hydra

    from src.registry import store_models

    store_schema()
    store_models()

    def run(config: Any) -> Any:
        with variable("HYDRA_FULL_ERROR", FULL_ERROR):
            return job(config)

    check_grids(sys.argv[1:])
    sys.argv[1:] = with_task(sys.argv[1:])
    # Hydra would print its own pages and call sys.exit; with the variable set it lets exceptions through.
    with variable("HYDRA_FULL_ERROR", "1"):
        hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")(run)()


def with_task(words: list[str]) -> list[str]:
    """The overrides with the task that the data set is first of all for, unless a task is typed or the experiment's
    is one of the data set's: Hydra cannot let one group's choice be the default of another's."""
    typed = dict(word.split("=", 1) for word in words if "=" in word)
    chosen = choices_of(typed.get("experiment", "")) | typed
    if "data" not in chosen or "task" in typed:
        return words
    from src.data.sets import SETS

    tasks = list(SETS[chosen["data"]].builders) if chosen["data"] in SETS else ["multiclass"]
    return words if chosen.get("task", "multiclass") in tasks else [*words, f"task={tasks[0]}"]


def choices_of(experiment: str) -> dict[str, str]:
    """What an experiment chooses in the groups, by group; nothing where there is no such experiment."""
    from omegaconf import DictConfig

    entries = experiment_file(experiment).get("defaults", [])
    choices = [pair for entry in entries if isinstance(entry, DictConfig) for pair in entry.items()]
    return {str(group).removeprefix("override /"): choice for group, choice in choices}


def experiment_file(name: str) -> Any:
    """The content of conf/experiment/<name>.yaml; empty where there is none."""
    from omegaconf import OmegaConf

    file = CONF / "experiment" / f"{name}.yaml"
    return OmegaConf.load(file) if file.exists() else OmegaConf.create()


def check_grids(words: list[str]) -> None:
    """Raise UserError where experiments with grids of their own are swept over: Hydra would leave the grids out."""
    for word in words:
        key, _, value = word.partition("=")
        names = value.split(",")
        if key == "experiment" and len(names) > 1 and any("hydra" in experiment_file(name) for name in names):
            raise UserError(f"{word}: an experiment has a grid of its own; start them one by one")


@contextlib.contextmanager
def variable(name: str, value: str | None) -> Iterator[None]:
    """Give an environment variable this value for a while; None means unset."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def store_schema() -> None:
    """Give Hydra the typed schema, so that every key and every value is checked."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=TrainConfig)


def typed(config: Any) -> TrainConfig:
    """The dataclasses of a composed configuration, after each has checked itself; UserError names what is wrong."""
    from omegaconf import OmegaConf

    strangers = unread(config)
    if strangers:
        raise UserError(f"{', '.join(strangers)}: no such setting; nothing reads it (python -m src.train --help)")
    result = OmegaConf.to_object(config)
    assert isinstance(result, TrainConfig)
    return result


def changed(config: Any, overrides: list[str]) -> Any:
    """A stored configuration with overrides typed on the command line: `group=name` first, then `key=value`.

    A named data set or model replaces the stored one; of other groups, what the name says is laid over what was stored.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import DictConfig, OmegaConf, open_dict

    parsed = [o for o in OverridesParser.create().parse_overrides(overrides) if not o.key_or_group.startswith("hydra")]
    values = []
    for override in parsed:
        key, value = override.key_or_group, override.value()
        if key in ("experiment", "recipe"):
            raise UserError(f"{key}={value}: names a new run; here, type only what differs from the stored one")
        if not isinstance(OmegaConf.select(config, key), DictConfig) or not isinstance(value, str):
            values.append(override)
        elif key == "model":
            config.model = OmegaConf.structured(row(value))
        elif value not in group_choices(key):
            raise UserError(unknown(key, value, group_choices(key)))
        else:
            node = OmegaConf.structured(OmegaConf.get_type(config[key])) if key == "data" else config[key]
            config[key] = OmegaConf.merge(node, OmegaConf.load(CONF / key / f"{value}.yaml"))
    for override in values:
        with open_dict(config) if override.is_add() else contextlib.nullcontext():
            OmegaConf.update(config, override.key_or_group, override.value())
    return config


def unread(config: Any, prefix: str = "") -> list[str]:
    """The keys of a configuration that its dataclasses lack: a `+typo=3` is accepted by Hydra, but read by nobody."""
    from omegaconf import DictConfig, OmegaConf

    kind = OmegaConf.get_type(config)
    known = {f.name for f in fields(kind)} if is_dataclass(kind) else set(config)
    names = [prefix + str(key) for key in config if key not in known]
    for key in known & set(config):
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none():
            names += unread(node, f"{prefix}{key}.")
    return names


def group_choices(group: str) -> list[str]:
    """The names that a config group offers: its files in conf/ and, for models, the registry."""
    names = {path.stem for path in (CONF / group).glob("*.yaml")}
    return sorted(names | set(rows()) if group == "model" else names, key=natural)


def sentence(error: BaseException, words: Sequence[str] | None = None) -> str:
    """What to tell a person about this error of these words (the command line's), in at most twelve lines."""
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if wrong := next((e for e in chain(error) if isinstance(e, UserError)), None):
        return str(wrong)
    if isinstance(error, MissingConfigException):
        return missing_choice(error.missing_cfg_file or "")
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not of the form key=value ({first_line(error.message)})"
    cause = next((e for e in chain(error) if isinstance(e, OmegaConfBaseException)), None)
    if cause is not None:
        return wrong_setting(str(error), cause, sys.argv[1:] if words is None else words)
    if isinstance(error, HydraException):
        return clipped(str(error))
    if isinstance(error, OSError) and error.errno == 28:
        place = f" at {error.filename}" if error.filename else ""
        return f"No space left on the device{place}: free some; what was saved before is intact."
    if type(error).__module__.startswith("wandb"):
        return f"W&B: {first_line(str(error))} Go on offline with logger.mode=offline, or without it: logger=csv."
    name = type(error).__name__
    return clipped(f"{name}: {error}" if str(error) else name) + "\n(debug=true shows the traceback)"


def chain(error: BaseException) -> list[BaseException]:
    """The error, its cause, the cause's cause, and so on."""
    found = [error]
    while (cause := found[-1].__cause__ or found[-1].__context__) is not None and cause not in found:
        found.append(cause)
    return found


def first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else text


def clipped(text: str, lines: int = 10) -> str:
    """The first lines of a text, so that a message stays on the screen."""
    kept = text.strip().splitlines()
    return "\n".join(kept[:lines] + (["…"] if len(kept) > lines else []))


def missing_choice(path: str) -> str:
    """The sentence for `group=name` where the group has no such name."""
    group, _, name = path.removesuffix(".yaml").rpartition("/")
    group = group.lstrip("/")
    if not (CONF / group).is_dir() or not group:
        return f"{path}: no such configuration"
    if group == "recipe":
        known = group_choices("recipe")
        task = next((task for task in group_choices("task") if name.endswith(f"_{task}")), "")
        data = name.removesuffix(f"_{task}")
        if data not in group_choices("data"):
            return unknown("data", data, group_choices("data"))
        if tasks := [recipe.removeprefix(f"{data}_") for recipe in known if recipe.startswith(f"{data}_")]:
            return f"data={data} task={task}: data={data} is for task={', '.join(tasks)}"
        return f"data={data} task={task}: no recipe for this pair; add conf/recipe/{name}.yaml"
    hint = " (python -m src.models lists them all)" if group == "model" else ""
    return unknown(group, name, group_choices(group)) + hint


def wrong_setting(text: str, cause: Any, words: Sequence[str]) -> str:
    """The sentence for a key that does not exist or a value of the wrong type."""
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, ValidationError

    key = str(getattr(cause, "full_key", "") or "")
    reason = first_line(str(cause))
    if isinstance(cause, MissingMandatoryValue):
        return f"{key}: a value is needed"
    space = next((w for w in words if w.lstrip("+").startswith("hpo.space")), None)
    if space and (key.startswith("hpo.space") or "RangeConfig" in reason):
        return (
            f"{space}: '+hpo.space={{optim.momentum:{{low:0.8,high:0.99}}}}' adds a setting to the search, and without "
            "+ it changes one that the file in conf/hpo has"
        )
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        parent, _, _ = key.rpartition(".")
        kind = cause.object_type if is_dataclass(cause.object_type) else None
        known = [f.name for f in fields(kind)] if kind else []
        stem = f"{parent}." if parent else ""
        near = difflib.get_close_matches(key.rpartition(".")[2], known, n=3)
        if near:
            return f"{key}: no such setting; did you mean {', '.join(stem + n for n in near)}?"
        return f"{key}: no such setting; {parent or 'the top level'} has: {', '.join(known)}"
    if isinstance(cause, ValidationError):
        typed_word = next((w for w in words if w.lstrip("+").startswith(f"{key}=")), key)
        wanted = next((text for word, text in WANTED.items() if word in reason), reason)
        return f"{typed_word}: {wanted}"
    return clipped(f"{first_line(text)} {reason}")


def help_text() -> str:
    """The page of `python -m src.train --help`: groups, models by family, and the settings with their defaults."""
    import textwrap

    families: dict[str, list[str]] = {}
    for name, model in rows().items():
        families.setdefault(model.family, []).append(name)
    out = [
        "Train a residual network and get a number you can trust.",
        "",
        "  python -m src.train model=resnet56 data=cifar10",
        "  python -m src.train -m model=resnet20,resnet32 seed=0,1      a sweep: one run a point, one table",
        "  python -m src.train -m hpo=default model=resnet20            a search over settings, by validation",
        "",
        "The same command again returns a finished run's result, or resumes an unfinished run.",
        "",
        "Groups (group=name):",
    ]
    for group in ("data", "task", "recipe", "optim", "finetune", "trainer", "logger", "experiment", "hpo"):
        out.append(_entry(group, ", ".join(group_choices(group))))
    out += ["", "Models by family (model=name; python -m src.models shows parameters and multiply-adds):"]
    out += [_entry(family, ", ".join(names)) for family, names in families.items()]
    out += ["", "Settings (name=value):"]
    for f in fields(TrainConfig):
        if f.name == "model":
            own = {inner.name: inner for row in rows().values() for inner in fields(row) if inner.name != "name"}
            out += [_setting("model.", inner) for inner in own.values()]
        elif is_dataclass(f.type):
            out += [_setting(f"{f.name}.", inner) for inner in fields(f.type) if inner.name != "name"]
        elif f.name == "hpo":
            out += [_setting("hpo.", inner) for inner in fields(HpoConfig)]
        else:
            out.append(_setting("", f))
    out += ["", textwrap.fill("What makes a network is set on its family: model=cifar_resnet model.depth=74.", 110)]
    out += ["", "Sweeps (-m; hydra/launcher=basic runs them in one process, without these):"]
    out += [
        _entry(
            "  hydra.launcher.slots=2", "jobs at once, each with its share of the cores; by default one a GPU, or one"
        ),
        _entry("  hydra.launcher.retries=1", "how often a failed job is started again (0)"),
        _entry("  hydra.launcher.minutes=90", "the longest that a job may take (no limit)"),
        _entry("  hydra.launcher.on_failure=stop", "start nothing after a failure (continue)"),
    ]
    out += [
        "",
        "Sweeps on a cluster (-m hydra/launcher=slurm): jobs that save, queue again and resume where time runs out:",
    ]
    out += [
        _entry("  hydra.launcher.partition=gpu", "where to; by default the cluster's own choice"),
        _entry("  hydra.launcher.minutes=60", "the time that a job asks for before it queues again"),
        _entry("  hydra.launcher.gpus=4", "GPUs of a node (0); hydra.launcher.cpus=8: cores a process (1)"),
        _entry("  hydra.launcher.memory=32", "of a node [GB]; by default the cluster's own choice"),
        _entry("  hydra.launcher.slots=8", "jobs at once; hydra.launcher.requeues=100: how often a job queues again"),
        _entry("  hydra.launcher.sbatch.account=me", "any other option of sbatch, by its long name"),
    ]
    return "\n".join([*out, "Hydra's flags (--cfg job, --info, -m): --hydra-help"])


def _entry(head: str, body: str) -> str:
    import textwrap

    return textwrap.fill(body, 110, initial_indent=f"  {head + ' ':<16}", subsequent_indent=" " * 18)


def _setting(prefix: str, f: Any) -> str:
    choices = f.metadata.get("choices")
    text = f.metadata["help"] + (f" ({' | '.join(choices)})" if choices else "")
    return f"  {f'{prefix}{f.name}={default_of(f)}':<34} {text}"
