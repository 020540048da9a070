"""Write the file of a thing of your own, and its test, to begin with: ``python -m src.new model|data|task NAME``.

  python -m src.new model my_net            a family of networks: my_net.py and test_my_net.py
  python -m src.new data my_set             a data set
  python -m src.new task my_task            a task with a loss of its own
  python -m src.new experiment my_study     overrides and a grid: experiment/my_study.yaml and test_my_study.py

Each trains at once, as it is; the command is printed. out=<folder> writes them there instead of here.
"""

import importlib.util
import keyword
import re
import shlex
import sys
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..cli.compose import list_group_choices
from ..cli.console import say
from ..cli.main import main, print_help
from ..errors import UserError
from ..files import write_atomic
from ..text import describe_unknown

KINDS = {  # the file of each kind, and how it is trained
    "model": ("{name}.py", "plugins=[{file}] model={name} data=digits"),
    "data": ("{name}.py", "plugins=[{file}] data={name} model=resnet20"),
    "task": ("{name}.py", "plugins=[{file}] task={name} data=digits model=resnet20"),
    "experiment": ("experiment/{name}.yaml", "-m hydra.searchpath=[{folder}] experiment={name}"),
}
LONGEST = 40  # characters of a name


def run_command() -> int:
    """Write the files that the command line names, and say how to train and to test them."""
    if (code := print_help(__doc__)) is not None:
        return code
    kind, name, folder = parse_words(sys.argv[1:])
    paths = write_files(kind, name, folder)
    package = (__package__ or "src").partition(".")[0]
    train = KINDS[kind][1].format(name=name, file=paths[0], folder=folder)
    commands = [["python", "-m", f"{package}.train", *train.split(" ")], ["python", "-m", "pytest", str(paths[1])]]
    say(f"Written: {paths[0]}, and its test: {paths[1]}")
    print("\n".join(map(shlex.join, commands)))
    return 0


def parse_words(words: list[str]) -> tuple[str, str, Path]:
    """Return the kind, the name and the folder that the command line names; raise UserError for any other words."""
    folders = [word.removeprefix("out=") for word in words if word.startswith("out=")]
    named = [word for word in words if not word.startswith("out=")]
    if named and named[0] not in KINDS:
        raise UserError(describe_unknown("kind", named[0], KINDS).replace("kind=", "", 1))
    if len(named) != 2 or len(folders) > 1 or "" in folders:
        raise UserError(f"{' '.join(words)}: type python -m src.new {'|'.join(KINDS)} NAME [out=<folder>]")
    kind, name = named
    return kind, check_name(kind, name), Path(folders[0] if folders else ".").expanduser()


def check_name(kind: str, name: str) -> str:
    """Return a name that is free and a Python module may have; raise UserError, with one that is near, for another."""
    near = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\W+", "_", name.removesuffix(".py")).strip("_").lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or len(name) > LONGEST:
        hint = f", such as {near}" if re.fullmatch(r"[a-z]\w*", near) and near != name else ""
        raise UserError(
            f"NAME={name[:100]}: at most {LONGEST} small letters, digits and _, a letter first, no word of Python's"
            + hint
        )
    if name in list_group_choices(kind):
        raise UserError(f"NAME={name}: {kind}={name} is there already; choose another name")
    if kind != "experiment" and (found := importlib.util.find_spec(name)) and not is_own_file(found.origin, name):
        raise UserError(f"NAME={name}: Python has a module of this name ({found.origin}); choose another name")
    return name


def is_own_file(origin: str | None, name: str) -> bool:
    """Return True for the file of this name in the folder where the command is typed, which is told as a file."""
    return origin is not None and Path(origin) == Path(f"{name}.py").resolve()


def write_files(kind: str, name: str, folder: Path) -> list[Path]:
    """Write the file of this kind and its test, and return their paths; UserError where one is there already."""
    file = KINDS[kind][0].format(name=name)
    templates = {file: f"{kind}{Path(file).suffix}.j2", f"test_{name}.py": f"{kind}_test.py.j2"}
    values = {
        "name": name,
        "kind": "".join(map(str.capitalize, name.split("_"))),
        "package": (__package__ or "src").partition(".")[0],
    }
    paths = [folder / target for target in templates]
    for path in paths:
        if path.exists() or path.is_symlink():
            raise UserError(f"{path}: is there already; choose another name, or move it away")
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True)  # of code, no HTML
    for path, template in zip(paths, templates.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, environment.get_template(template).render(values).encode())
    return paths


if __name__ == "__main__":
    main(run_command)
