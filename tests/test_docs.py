"""Whatever the README and docs tell people to type works, and every path that they name exists.

A training is composed from the same words, each value of each of its lists, by the real entry point; the slow tests
run the commands that take seconds. A placeholder (<run>, …) stands for something made here.
"""

import itertools
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from helpers import ROOT, command, store_once, train
from PIL import Image

from src.cli.commands import OWN, is_command
from src.cli.compose import CONF, check_grids, complete_overrides, list_group_choices, to_train_config
from src.cli.help import format_help
from src.cli.words import quote_values
from src.config.run import TrainConfig
from src.new.__main__ import parse_words
from src.watch.__main__ import WORDS, read_words
from src.zoo.registry import rows

TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PAGES = [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = ("bash", "python", "text", "yaml")
OTHERS = ("make", "pip", "source")  # programs beside Python; what follows make and pip is looked up, too
PATH = re.compile(r"(?<![\w/.-])(?:src|conf|tests|docs|\.ci)/[\w./-]*[\w/]")
SETTING = re.compile(
    r"(?<![\w/.])(?:(?:model|data|task|optim|finetune|trainer|logger|hpo)\.\w+)\b(?<!\.py)(?<!\.yaml)(?!\.gz)"
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str


def read_blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    language, start, lines = None, 0, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif language is None:
            language, start, lines = line[3:].strip(), number + 1, []
        else:
            yield Block(page.relative_to(ROOT).as_posix(), start, language, "\n".join(lines))
            language = None
    assert language is None, f"{page}: a block does not end"


def read_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of a block: one a line, `\\` continues it."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        line = re.sub(r"<[^<>]*>", lambda found: found[0].replace(" ", "_"), line)  # one word
        if words := list(shlex.split(line)):
            yield name_module(words)


def name_module(words: list[str]) -> list[str]:
    """Return a command of the installed program, `residual train …`, as that of the clone."""
    if words[0] != "residual":
        return words
    own = len(words) == 1 or words[1] in OWN or words[1].startswith("-")
    return ["python", "-m", "src", *words[1:]] if own else ["python", "-m", f"src.{words[1]}", *words[2:]]


BLOCKS = [block for page in PAGES for block in read_blocks(page)]
COMMANDS = sorted({tuple(words) for b in BLOCKS if b.language == "bash" for words in read_commands(b.text)})


def words_of(module: str, *replaced: str, left_out: tuple[str, ...] = ()) -> list[list[str]]:
    """Return what follows `-m <module>` in each command of it, whoever starts it (srun, torchrun).

    `replaced` are the settings whose values are made here: commands that differ in nothing else are one.
    """
    found = [list(words[words.index(module) + 1 :]) for words in COMMANDS if module in words]
    keys = [[word.partition("=")[0] for word in words] for words in found]
    alike = {
        tuple(f"{key}=" if key in replaced else word for key, word in zip(*pair, strict=True) if key not in left_out)
        for pair in zip(keys, found, strict=True)
    }
    return [list(words) for words in sorted(alike)]


def test_every_block_says_what_it_is() -> None:
    for block in BLOCKS:
        assert block.language in LANGUAGES, f"{block.page}:{block.line}: which of {', '.join(LANGUAGES)} is it?"
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("words", [w for w in words_of("src.train") if "plugins=" not in str(w)], ids=" ".join)
def test_a_training_composes(words: list[str]) -> None:
    if {"--help", "-h"} & set(words):
        assert "model=resnet56" in format_help()
        return
    sweeps = "-m" in words
    words = quote_values([re.sub(r"<\w+>|…", "placeholder", word) for word in words if word != "-m"])
    check_grids(["-m", *words] if sweeps else words)
    words = ["seed=0" if word == "seed=auto" else word for word in words]  # the grid fills it in
    for point in points(words, sweeps=sweeps):
        assert compose_point(point)


def points(words: list[str], *, sweeps: bool) -> Iterator[list[str]]:
    """Yield as many points of a sweep as its longest list has values: each value is in one. Of seeds, the first is."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    choices = []
    for word, override in zip(words, OverridesParser.create().parse_overrides(words), strict=True):
        if override.is_sweep_override():
            assert sweeps, f"{word}: a list of values needs -m"
            key = override.input_line.split("=", 1)[0]
            values = list(override.sweep_string_iterator())
            choices.append([f"{key}={value}" for value in (values[:1] if key == "seed" else values)])
        else:
            choices.append([word])
    longest = max(map(len, choices), default=1)
    for point in itertools.islice(zip(*map(itertools.cycle, choices), strict=True), longest) if choices else [()]:
        yield list(point)


def compose_point(words: list[str]) -> TrainConfig:
    """Compose and check a run; Hydra's own settings (hydra.launcher.slots) are checked on the way."""
    from hydra import compose, initialize_config_dir
    from omegaconf import open_dict

    store_once()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", complete_overrides(words), return_hydra_config=True)
    with open_dict(config):
        config.pop("hydra")
    return to_train_config(config)


@dataclass(frozen=True)
class Made:
    """What placeholders stand for: two small runs on digits, and photos in ImageNet's layout."""

    run: Path
    other: Path
    photos: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("docs")
    for name, words in {"run": (), "other": ("model.width=8",)}.items():
        done = train(folder / name, "trainer.max_epochs=1", *words)
        assert done.returncode == 0, done.stderr
    for split, label, i in itertools.product(("train", "val"), ("n01440764", "n02102040"), range(2)):
        path = folder / "photos" / split / label / f"{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(path)
    return Made(folder / "run", folder / "other", folder / "photos")


def fill(words: list[str], **values: object) -> list[str]:
    """Return the words with these values for the settings that have none."""
    return [f"{word}{values[word[:-1]]}" if word.endswith("=") else word for word in words]


def run_in_small(module: str, words: list[str]) -> None:
    """Run a command to its end; what it says is told where it fails."""
    done = command(module, *words)
    assert done.returncode == 0, f"python -m {module} {' '.join(words)}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [words for words in words_of("src.evaluate", "run", left_out=("data.root",)) if "run=" in words],
    ids=" ".join,
)
def test_a_run_is_evaluated(words: list[str], made: Made) -> None:
    """On the digits, which lie in no data.root."""
    run_in_small("src.evaluate", fill(words, run=made.run))


@pytest.mark.parametrize(
    "words", [words for words in words_of("src.evaluate", "weights") if "weights=" in words], ids=" ".join
)
def test_weights_are_measured_on_what_composes(words: list[str]) -> None:
    assert compose_point([re.sub(r"<\w+>", "placeholder", word) for word in words if word != "weights="])


@pytest.mark.slow
@pytest.mark.parametrize("words", words_of("src.predict", "run", "images", left_out=("out",)), ids=" ".join)
def test_images_are_predicted(words: list[str], made: Made, tmp_path: Path) -> None:
    run_in_small("src.predict", [*fill(words, run=made.run, images=made.photos), f"out={tmp_path / 'out'}"])


@pytest.mark.slow
@pytest.mark.parametrize("words", words_of("src.export", "run", left_out=("out", "push")), ids=" ".join)
def test_a_run_is_exported(words: list[str], made: Made, tmp_path: Path) -> None:
    run_in_small("src.export", [*fill(words, run=made.run), f"out={tmp_path / 'out'}"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", words_of("src.report", "runs", "labels", "compare", "wandb", "bundle", left_out=("out",)), ids=" ".join
)
def test_a_report_is_made(words: list[str], made: Made, tmp_path: Path) -> None:
    out = tmp_path / ("out.json" if {"compare=", "wandb="} & set(words) else "out")
    two = f"[{made.run},{made.other}]"
    (labels := tmp_path / "labels.csv").write_text("index,label\n0,1\n")
    values = {"runs": made.run, "labels": labels, "compare": two, "wandb": "entity/project"}
    values |= {"bundle": tmp_path / "bundle.html"}
    if words == ["bundle="]:
        run_in_small("src.report", [f"runs={made.run}", f"bundle={values['bundle']}", f"out={out}"])
    run_in_small("src.report", [*fill(words, **values), f"out={out}"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "words"),
    [
        *(("src.mistakes", words) for words in words_of("src.mistakes", "run", left_out=("data.root", "out"))),
        *(("src.trust", words) for words in words_of("src.trust", "run", left_out=("data.root", "cifar_c"))),
    ],
    ids=str,
)
def test_a_run_is_looked_at(module: str, words: list[str], made: Made, tmp_path: Path) -> None:
    out = [f"out={tmp_path}"] if module == "src.mistakes" else []
    run_in_small(module, [*fill(words, run=made.run), *out])


@pytest.mark.slow
@pytest.mark.parametrize("words", words_of("src.audit", "data", "data.root", left_out=("run", "out")), ids=" ".join)
def test_a_data_set_is_audited(words: list[str], made: Made, tmp_path: Path) -> None:
    """The photos here are all alike, so that the audit ends as one of a set with leaks does."""
    values = {"data": "folder", "data.root": made.photos}
    done = command("src.audit", *fill(words, **values), f"out={tmp_path}")
    assert done.returncode in (0, 1) and (tmp_path / "index.html").is_file(), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", words_of("src.pack", "data.root", left_out=("out",)), ids=" ".join)
def test_photos_are_packed(words: list[str], made: Made, tmp_path: Path) -> None:
    run_in_small("src.pack", [*fill(words, **{"data.root": made.photos}), f"out={tmp_path / 'packed'}"])


@pytest.mark.slow
@pytest.mark.parametrize("words", words_of("src.analyze", left_out=("out",)), ids=" ".join)
def test_a_network_is_looked_into(words: list[str], made: Made, tmp_path: Path) -> None:
    """With few images and points, of a run that is made here, or of the networks that are named, on the digits."""
    small = {"run": f"run={made.run}", "data": "data=digits", "at": "at=init,last"}
    named = [word for word in words if word.startswith("run=") and all(name in rows() for name in word[4:].split(","))]
    kept = [word if word in named else small.get(word.partition("=")[0], word) for word in words]
    sizes = ["images=16"] if "probe=list" not in words else []
    sizes += ["grid=2"] if "loss_landscape" in str(words) else []
    run_in_small("src.analyze", [*kept, *sizes, f"out={tmp_path}", *(["trainer.threads=1"] if sizes else [])])


@pytest.mark.slow
@pytest.mark.parametrize("words", words_of("src.lesson", "runs", left_out=("out",)), ids=" ".join)
def test_a_lesson_is_made(words: list[str], made: Made, tmp_path: Path) -> None:
    run_in_small("src.lesson", [*fill(words, runs=made.run), f"out={tmp_path / 'lesson.html'}"])


@pytest.mark.parametrize("words", words_of("src.watch", "runs"), ids=" ".join)
def test_runs_can_be_watched(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words are understood, but for a run, of which there is none here; tests/test_watch.py serves a page."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    given = [word for word in fill(words, runs=tmp_path) if not word.startswith("predict=")]
    assert read_words(given)[0].is_dir()
    assert {word.partition("=")[0] for word in words} <= set(WORDS)


def test_the_words_that_list_networks_exist() -> None:
    """tests/models/test_models_command.py lists them; many take half a minute."""
    options = command("src.models", "--help").stdout
    for words in words_of("src.models"):
        for word in words:
            known = word.split("=")[0] in options if word.startswith("-") else any(fnmatchcase(n, word) for n in rows())
            assert known, words


@pytest.mark.parametrize("words", words_of("src.new", left_out=("out",)), ids=" ".join)
def test_what_is_to_be_written_is_known_and_free(words: list[str]) -> None:
    """tests/test_new.py writes it."""
    assert parse_words(words)[1] == words[1]


@pytest.mark.slow
@pytest.mark.parametrize("words", words_of("src.bench", left_out=("out",)), ids=" ".join)
def test_a_bench_is_understood_as_far_as_its_folder(words: list[str], tmp_path: Path) -> None:
    """Nothing is measured: the last thing that is checked before is where the figures go."""
    absent = f"out={tmp_path / 'absent' / 'bench.json'}"
    done = command("src.bench", *words, absent)
    assert done.returncode == 1 and done.stderr.startswith(absent), done.stderr


def test_every_other_command_exists() -> None:
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in COMMANDS:
        line = " ".join(words)
        program = next(word for word in words if not re.fullmatch(r"[A-Z_]+=.*", word))
        if "-m" in words and program in ("python", "srun", "torchrun"):
            module = next(word for word in words if word == "src" or word.startswith("src."))
            assert module == "src" or is_command(module.removeprefix("src.")), line
        elif program == "python":
            assert (ROOT / words[1]).is_file(), line
        elif "/" in program:
            script = (ROOT / program).read_text()
            assert all(re.search(rf"\b{word}\b", script) for word in words[words.index(program) + 1 :][:1]), line
        elif program == "make":
            assert words[1] in targets, line
        elif program == "pip":
            assert re.findall(r"\[(\w+)\]", line)[0] in extras, line
        else:
            assert program in OTHERS, f"{line}: tell this test how to check it"


EXAMPLES = {block.text: block for block in BLOCKS if block.language == "python"}


@pytest.mark.parametrize("block", EXAMPLES.values(), ids=lambda block: f"{block.page}:{block.line}")
def test_a_python_example_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that begins with the name of its file is a plug-in, and the commands that name it train with it."""
    monkeypatch.chdir(tmp_path)
    if not (plugin := re.match(r"# (\w+\.py)\n", block.text)):
        exec(compile(block.text, f"{block.page}:{block.line}", "exec"), {"__name__": "example"})
        return
    (tmp_path / plugin[1]).write_text(block.text)
    commands = [words for words in words_of("src.train") if f"plugins=[{plugin[1]}]" in words]
    single = next(words for words in commands if "-m" not in words)
    ours = [word.replace(plugin[1], str(tmp_path / plugin[1])) for word in single]
    run_in_small("src.train", [*ours, "trainer.max_epochs=1", "trainer.threads=1", f"output_root={tmp_path}"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_and_link_exists(page: Path) -> None:
    text = page.read_text()
    for name in PATH.findall(text):
        known = (ROOT / name).exists() or re.search(re.escape(name) + r"\.?/?<", text)
        assert known, f"{page.name}: {name} does not exist"
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target} leads nowhere"
        assert not heading or heading in anchors(file), f"{page.name}: {target}: no such heading"


def anchors(page: Path) -> set[str]:
    """Return the names by which a page's headings are linked to."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_short(page: Path) -> None:
    for number, line in enumerate(page.read_text().splitlines(), 1):
        assert len(line) <= 120, f"{page.name}:{number}: {len(line)} characters"


def test_the_readme_is_one_page_and_leads_to_all_others() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    for page in PAGES[1:]:
        assert page.relative_to(ROOT).as_posix() in text, page.name


def test_every_name_of_a_group_is_documented() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    for group in ("data", "task", "optim", "finetune", "trainer", "logger", "experiment", "hpo"):
        for name in list_group_choices(group):
            assert re.search(rf"\b{name}\b", text), f"{group}={name} is in no page"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "wrong-inputs.md"], ids=lambda page: page.name)
def test_every_setting_exists(page: Path) -> None:
    known = format_help()
    text = re.sub(r"```python\n.*?```", "", page.read_text(), flags=re.DOTALL)
    for name in SETTING.findall(text):
        assert f"{name}=" in known, f"{page.name}: {name} is no setting (--help)"


PASTED = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"], "fish": ["fish", "-N", "-P"]}
PROGRAMS = ("python", "residual", "make", "pip", "srun", "torchrun", "sbatch")


@pytest.mark.parametrize("shell", [pytest.param(name, marks=pytest.mark.needs(name)) for name in PASTED])
def test_a_block_can_be_pasted(shell: str, tmp_path: Path) -> None:
    """Into an interactive shell without settings of its own, in a strange folder; each program gets the words meant.

    A zsh, as macOS has it, takes no comments there, and refuses a bare bracket that matches no file.
    """
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in PROGRAMS:
        words = f'for word in {name} "$@"; do printf "%s\\037" "$word"; done'
        (programs / name).write_text(f'#!/bin/sh\n{words} >> "$GOT"\necho >> "$GOT"\n')
        (programs / name).chmod(0o755)
    got = tmp_path / "got"
    got.touch()
    blocks = [block for block in BLOCKS if block.language == "bash"]
    lines = [line for block in blocks for line in block.text.splitlines() if not line.startswith("source ")]
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "GOT": str(got), "HOME": str(tmp_path)}
    (tmp_path / "strange").mkdir()
    subprocess.run(
        PASTED[shell],
        input="\n".join([*lines, "exit", ""]),
        env=environment | {"TERM": "dumb"},
        cwd=tmp_path / "strange",
        text=True,
        capture_output=True,
        timeout=120,
    )
    meant = [
        shlex.split(line)
        for block in blocks
        for line in re.sub(r"\\\n\s*", " ", block.text).splitlines()
        if line.split()[:1] and set(line.split()) & set(PROGRAMS) and "/" not in line.split()[0]
    ]
    seen = [line.split("\037")[:-1] for line in got.read_text().splitlines()]
    for words in meant:
        program = next(i for i, word in enumerate(words) if word in PROGRAMS)  # behind variables
        assert words[program:] in seen, f"{shell} does not take: {shlex.join(words)}"
