"""Wrong inputs of every command: each gets one sentence of ours, an exit code not 0, and leaves no directory.

All run in this process, through the commands' own main; sweeps are started, and say so, in processes of their own.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import TINY, command

BOMB = "".join(
    f"{name}: &{name} [{', '.join(['x' if name == 'a' else '*' + chr(ord(name) - 1)] * 9)}]\n" for name in "abcdefghi"
)
FILES = {  # that the words below name, relative to the folder of the test
    "notdir": b"x",
    "text.ckpt": b"hello",
    "bad.py": b"def x(:\n",
    "leaves.py": b"import sys; sys.exit(3)\n",
    "outside.py": b"from src.zoo.registry import register, row\nfrom dataclasses import replace\n"
    b"register(replace(row('resnet20'), name='../out'))\n",
    "conf/experiment/bomb.yaml": f"# @package _global_\n{BOMB}".encode(),
    "more/experiment/endless.yaml": b"# @package _global_\noptim: &o\n  lr: *o\n",
    "good/experiment/syntax.yaml": b"a: [1,\n b: }\n",
    "good/experiment/twice.yaml": b"# @package _global_\nseed: 1\nseed: 2\n",
    "good/experiment/binary.yaml": b"\xff\xfe\x00\x01",
    "good/experiment/list.yaml": b"- 1\n- 2\n",
    "good/experiment/tag.yaml": b"# @package _global_\nseed: !!python/object/apply:os.system [ls]\n",
    "good/experiment/unknown.yaml": b"# @package _global_\nnothing: 1\n",
    "good/experiment/refers.yaml": b"# @package _global_\nseed: ${nothing}\n",
    "good/experiment/elsewhere.yaml": b"# @package _global_\nhydra:\n  searchpath: [conf]\n",
    "good/experiment/empty/x": b"",
    "run/config.yaml": f"model: {{}}\n{BOMB}".encode(),
}
GOOD = "hydra.searchpath=[{}/good]"
LONG = "x" * 300
WRONG: dict[tuple[str, ...], list[str]] = {  # words of src.train, and parts of what a person reads
    ("model=null",): ["model=null: no such model"],
    ("trainer=null",): ["trainer=null"],
    ("logger=null",): ["logger=null"],
    ("=1",): ["=1"],
    ("model=../../etc",): ["model=../../etc: no such model"],
    ("model.name=../../..",): ["model.name=../../..", "names a folder"],
    ("model.name=/abs/x",): ["model.name=/abs/x", "names a folder"],
    ("model.name=..",): ["model.name=..", "names a folder"],
    ("model.name=''",): ["model.name=", "names a folder"],
    (f"model.name={LONG}",): ["model.name=xxx", "bytes"],
    ("experiment=../../x",): ["experiment=../../x: no such experiment"],
    ("logger=nothing",): ["logger=nothing: no such logger", "wandb"],
    ("logger=[csv,nothing]",): ["logger=nothing: no such logger"],
    ("logger=wandb", "logger.mode=never"): ["mode", "disabled"],
    ("logger=wandb", "logger.tags=x"): ["a list is needed"],
    ("plugins=[{}/leaves.py]",): ["leaves.py: cannot be imported (SystemExit"],
    ("plugins=[{}/bad.py]",): ["bad.py: cannot be imported"],
    ("plugins=[{}/outside.py]",): ["model=../out: names a folder"],
    ("plugins=[{}/missing.py]",): ["missing.py: no such file"],
    ("model.weights=''",): ["model.weights=: name"],
    ("model.weights={}/a=b(1).ckpt",): ["a=b(1).ckpt: no such file"],
    ("model.weights={}/a=b.ckpt",): ["a=b.ckpt: no such file"],
    ("resume=''",): ["resume=: name"],
    ("resume=[a]",): ["resume=[a]: one word is needed"],
    ("resume={}/text.ckpt",): ["no run directory"],
    ("resume={}/run",): ["config.yaml: its aliases"],
    ("hydra.run.dir={}/notdir",): ["notdir: File exists"],
    ("hydra.run.dir={}/notdir/x",): ["notdir/x: Not a directory"],
    ("hydra.run.dir=''",): ["hydra.run.dir='': name a folder"],
    ("hydra.run.dir=null",): ["hydra.run.dir=null: a value is needed"],
    ("hydra.run.dir=[a]",): ["hydra.run.dir=[a]: one word is needed"],
    (f"hydra.run.dir={{}}/o/{LONG}",): ["File name too long"],
    ("output_root={}/notdir",): ["notdir: File exists"],
    ("output_root=''",): ["output_root='': name a folder"],
    ("output_root=null",): ["output_root=null: a value is needed"],
    (f"output_root={{}}/o/{LONG}",): ["File name too long"],
    ("hydra.output_subdir=x",): ["hydra.output_subdir=x", "leave this out"],
    ("hydra/launcher=nothing",): ["hydra/launcher=nothing: no such choice"],
    ("hydra.nothing=1",): ["hydra.nothing: no such setting"],
    ("hydra.job_logging=default",): ["hydra.job_logging=default: settings by name"],
    ("hydra.searchpath=[/nowhere]",): ["/nowhere: no such folder"],
    ("hydra.searchpath=x",): ["x"],
    ("--config-dir",): ["--config-dir", "expected one argument"],
    ("--config-dir", "/nowhere"): ["/nowhere: no such folder"],
    ("--config-name", "x"): ["--config-name", "--config-dir"],
    ("--config-path", "/nowhere"): ["--config-path", "--config-dir"],
    ("--experimental-rerun", "x"): ["--experimental-rerun"],
    ("--bogus",): ["--bogus: no such flag"],
    ("--cfg", "x"): ["invalid choice: 'x'"],
    ("--resolve",): ["--resolve: goes with --cfg"],
    ("-m", "--cfg", "job", "--info"): ["type one of them"],
    ("hydra.searchpath=[{}/conf]", "experiment=bomb"): ["bomb.yaml: its aliases"],
    ("--config-dir", "{}/conf", "experiment=bomb"): ["bomb.yaml: its aliases"],
    ("seed=1", "--config-dir", "{}/more", "experiment=endless"): ["endless.yaml: its aliases"],
    (GOOD, "experiment=syntax"): ["syntax.yaml, line 2: is no YAML"],
    (GOOD, "experiment=twice"): ["twice.yaml, line 3: is no YAML (found duplicate key seed)"],
    (GOOD, "experiment=binary"): ["not in UTF-8"],
    (GOOD, "experiment=list"): ["experiment"],
    (GOOD, "experiment=elsewhere"): ["experiment/elsewhere.yaml: hydra.searchpath is for the command line"],
    (GOOD, "experiment=tag"): ["tag.yaml, line 2: is no YAML"],
    (GOOD, "experiment=unknown"): ["nothing: no such setting"],
    (GOOD, "experiment=refers"): ["${nothing} names no setting"],
    ("~nothing",): ["~nothing: no such setting"],
    ("~optim.lr",): ["~optim.lr: cannot be left out"],
    ("seed=1,2",): ["seed=1,2: several values are a sweep: add -m"],
    ("seed=range(3)",): ["seed=range(3): several values are a sweep: add -m"],
    ("seed=[1",): ["seed=[1: not of the form"],
    ("seed='",): ["seed=': not of the form"],
    ("seed={",): ["seed={: not of the form"],
    ("seed",): ["seed: must have the form key=value"],
    ("seed:1",): ["seed:1: must have the form key=value"],
    ("é=1",): ["é=1: must have the form key=value"],
    ("+",): ["+: must have the form key=value"],
    ("seed=${x}",): ["${x} names no setting"],
    ("seed=${oc.env:NOTHING}",): ["cannot be resolved", "NOTHING"],
    ("seed=1e400",): ["seed=1e400: a whole number is needed"],
    ("+model=resnet20",): ["model: is chosen already"],
    ("experiment=a,b",): ["several values are a sweep"],
    ("hpo=default",): ["add -m"],
}
COMMANDS: dict[tuple[str, ...], list[str]] = {  # the same of the other commands
    ("evaluate", "run=/nowhere"): ["/nowhere: no run directory"],
    ("evaluate", "run="): ["run= is missing"],
    ("evaluate", "x"): ["x: type python -m src.evaluate run=x"],
    ("evaluate", "run={}/notdir"): ["notdir: damaged"],
    ("evaluate", "run={}/run"): ["config.yaml: its aliases"],
    ("evaluate", "run={}/run", "split=x"): ["split=x"],
    ("report", "runs=/nowhere"): ["/nowhere"],
    ("report", "runs="): ["runs="],
    ("report", "nothing=1"): ["nothing=1"],
    ("report", "x"): ["x"],
    ("report", "runs={}/run", "study=../x"): ["../x"],
    ("report", "wandb=x"): ["wandb=x"],
    ("pack", "data=x"): ["data.root=… is needed"],
    ("pack", "size=0"): ["size=0"],
    ("pack", "data=folder", "data.root=/nowhere", "out={}/o"): ["/nowhere"],
    ("pack", "data=folder", "data.root={}/notdir", "out={}/o"): ["notdir"],
    ("bench", "only=z"): ["only=z"],
    ("bench", "rounds=x"): ["rounds=x"],
    ("bench", "out=/nowhere/x"): ["no such folder"],
    ("bench", "nothing=1"): ["nothing"],
    ("models", "nothing*"): ["no such model"],
    ("analyze", "probe=filters"): ["run= is missing"],
    ("analyze", "probe=", "run=resnet20"): ["probe=: a value is needed"],
    ("analyze", "probe=nothing", "run=resnet20"): ["probe=nothing: no such probe", "filters"],
    ("analyze", "probe=filters", "run=resnt20"): ["run=resnt20: no such run", "resnet20"],
    ("analyze", "probe=filters", "run=/nowhere/x"): ["run=/nowhere/x: no run directory"],
    ("analyze", "probe=filters", "run={}/text.ckpt"): ["text.ckpt: damaged"],
    ("analyze", "probe=filters", "run=resnet20", "at=last"): ["at=last", "only at=init"],
    ("analyze", "probe=filters", "run=resnet20", "workers=x"): ["workers=x"],
    ("analyze", "probe=filters", "run=resnet20", "images=x"): ["images=x: a whole number"],
    ("analyze", "probe=filters", "run=resnet20", "grid=3"): ["grid=3: an option of probe=loss_landscape"],
    ("analyze", "probe=filters", "run=resnet20", "model.depth=21"): ["model.depth=21"],
    ("analyze", "probe=filters", "run=resnet20", "out={}/notdir"): ["notdir"],
    ("lesson", "runs=/nowhere"): ["runs=/nowhere: no run"],
    ("lesson", "run=x"): ["run=x: not understood"],
    ("lesson", "out={}/run"): ["is a folder"],
    ("lesson", "out={}/notdir/x.html"): ["notdir"],
}
THEIRS = ("Traceback", "debug=true", "usage:", "full_key", "ValueError", "RuntimeError", "Errno", "DictConfig")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with FILES, from which commands are typed."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", os.devnull)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def find_command(module: str) -> Callable[[], int]:
    """The function behind `python -m src.<module>`."""
    if module == "evaluate":
        from src.evaluate import run_command as command
    elif module == "report":
        from src.report.__main__ import answer as command
    elif module == "pack":
        from src.pack import pack_from_command_line as command
    elif module == "bench":
        from src.bench.__main__ import run as command
    elif module == "analyze":
        from src.analyze import run_command as command
    elif module == "lesson":
        from src.lesson.__main__ import run_command as command
    elif module == "models":
        from src.models.__main__ import list_models as command
    else:
        from src.train import run_command as command
    return command


@contextlib.contextmanager
def fresh_hydra() -> Iterator[None]:
    """Keep what a command leaves behind in this process from the next one."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from src.sweep.jobs import ENTRIES

    before = list(sys.path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    sys.path[:] = before
    ENTRIES.clear()
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


def check(module: str, words: list[str], parts: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from src.cli.main import main

    before = sorted(folder.rglob("*"))
    sys.argv[:] = [f"src.{module}", *(word.replace("{}", str(folder)) for word in words)]
    with fresh_hydra(), pytest.raises(SystemExit) as ended:
        main(find_command(module))
    said = capsys.readouterr().err.strip()
    left = [str(path) for path in sorted(folder.rglob("*")) if path not in before and "__pycache__" not in str(path)]
    print(f"{module} {' '.join(words)[:120]} | {said[:300]} | {ended.value.code} | {left}")
    assert ended.value.code not in (0, None) and not left
    assert all(part.replace("{}", str(folder)) in said for part in parts), said
    assert not any(word in said for word in THEIRS) and len(said.splitlines()) <= 3, said


def share(cases: dict[tuple[str, ...], list[str]]) -> list[Any]:
    """The cases as parameters; two of three are slow."""
    return [
        pytest.param(words, marks=[pytest.mark.slow] * (number % 3 > 0), id=" ".join(words)[:60])
        for number, words in enumerate(cases)
    ]


@pytest.mark.parametrize("words", share(WRONG))
def test_train(
    words: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    small = ["trainer=cpu", "trainer.threads=1", "trainer.max_epochs=1", "data.limit_train=128"]
    given = [word for word in small if "trainer=null" not in words or not word.startswith("trainer")]
    check("train", [*given, *words], WRONG[words], folder, capsys)


@pytest.mark.parametrize("words", share(COMMANDS))
def test_other_commands(
    words: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    check(words[0], list(words[1:]), COMMANDS[words], folder, capsys)


SWEEPS = {  # words of src.train -m
    ("seed=range(0,1000000000)",): ["1,000,000,000 jobs; 100,000 are the most"],
    ("seed=range(0,2,0)",): ["seed=range(0,2,0): never ends"],
    ("seed=0,1", "model=resnet57"): ["model=resnet57: no such model"],
    ("seed=0,1", "hydra.launcher.slots=x"): ["hydra.launcher.slots=x: a whole number is needed"],
    ("seed=0,1", "hydra.launcher.nothing=1"): ["hydra.launcher.nothing: no such setting"],
    ("seed=0,1", "hydra.sweep.dir=null"): ["hydra.sweep.dir=null: a value is needed"],
    ("seed=0,1", "hydra.sweep.dir={}/notdir"): ["notdir", "Not a directory"],
    ("seed=0,1", "hydra.output_subdir=x"): ["leave this out"],
    ("seed=0,1", "hydra/launcher=basic", "optim.lr=-1", "hydra.sweep.dir={}/o"): ["optim.lr=-1.0: above 0"],
    ("hpo=nothing",): ["hpo=nothing: no such hpo"],
    ("hpo=default", "hpo.name=../x"): ["hpo.name=../x"],
    ("hpo=default", "seed=1,2"): ["a search tries no grid"],
    ("hpo=default", "hydra/launcher=basic"): ["leave out hydra/launcher"],
    ("hpo=default", "output_root={}/notdir"): ["notdir"],
}


@pytest.mark.slow
@pytest.mark.parametrize("words", SWEEPS, ids=" ".join)
def test_sweeps(words: tuple[str, ...], folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    small = (
        "trainer=cpu",
        "trainer.threads=1",
        "trainer.max_epochs=1",
        "data.limit_train=128",
        f"output_root={folder}/o",
    )
    given = [word.replace("{}", str(folder)) for word in words]
    done = command("src.train", "-m", *small[: 5 - ("output_root={}/notdir" in words)], *given, timeout=600)
    assert done.returncode not in (0, -9)
    assert all(part in done.stderr for part in SWEEPS[words]), done.stderr
    assert not any(word in done.stderr for word in THEIRS), done.stderr
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_a_job_with_too_long_a_folder_fails_alone(folder: Path) -> None:
    words = ("trainer.max_epochs=1", f"experiment_name=a,{LONG}", f"hydra.sweep.dir={folder}/s")
    done = command("src.train", "-m", *TINY, *words, "hydra.sweep.subdir=${experiment_name}", timeout=600)
    assert done.returncode == 1 and "too long for a file system" in done.stderr, done.stderr
    assert (folder / "s" / "a" / "results.json").exists()
