"""Five hundred random overrides: each is a run or a sentence, soon, and nothing is left behind."""

import random
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import compose
from omegaconf import OmegaConf

from src.cli.messages import explain_error
from src.errors import UserError
from src.training.settle import open_run, settle

BASES = (
    ("data=digits", "model=cifar_resnet", "model.depth=8"),
    ("data=cifar10", "model=resnet20", "optim=muon"),
    ("data=folder", "model=imagenet_resnet", "optim=adam_plateau"),
    ("data=imagenet", "model=resnet50", "finetune=head", "model.weights=x"),
    ("data=coco", "model=resnet18", "task=detection"),
    ("data=coco", "model=densenet", "task=multilabel"),
    ("data=digits", "model=preact_resnet", "logger=[wandb,tensorboard]"),
    ("data=digits", "model=speednet", "hpo=default"),
)
GROUPS = ("data", "model", "task", "optim", "finetune", "trainer", "logger", "hpo", "experiment", "recipe")
VALUES = (
    *(
        "null",
        "",
        "''",
        "true",
        "False",
        "0",
        "-1",
        "1",
        "2",
        "7",
        "0.5",
        "-0.0",
        "1e-320",
        "1e400",
        "-1e400",
        "nan",
        "inf",
    ),
    *("9223372036854775808", "-9223372036854775808", "9223372036854775807", "18446744073709551616", "1" + 400 * "0"),
    *(
        "[]",
        "[1]",
        "[a,b]",
        "[null]",
        "[[1],[2]]",
        "[nan]",
        "[-1,1e400]",
        "[9223372036854775808]",
        "{}",
        "{a:1}",
        "{a:{b:[1]}}",
    ),
    *("x", "a/b", "../up", "/", "ünïcode", "'quo ted'", "???", "${seed}", "${nothing}", "${oc.env:HOME}", "x" * 3000),
)


def list_leaves(base: tuple[str, ...]) -> list[str]:
    """The dotted names of all settings below a configuration."""
    from src.runs.identity import to_plain

    def walk(node: Any, prefix: str) -> list[str]:
        if not isinstance(node, dict) or not node:
            return [prefix]
        return [prefix, *(leaf for key, value in node.items() for leaf in walk(value, f"{prefix}.{key}".lstrip(".")))]

    return [leaf for leaf in walk(to_plain(compose(*base)), "") if leaf and not leaf.endswith(".family")]


def judge(words: tuple[str, ...]) -> str:
    """What is wrong with the answer to these words; "" where it is a run or a sentence."""
    began = time.process_time()
    try:
        settled = settle(compose(*words))
        assert open_run(settled).path
        OmegaConf.to_yaml(OmegaConf.structured(settled.config))
    except UserError as error:
        said = str(error)
    except Exception as error:
        said = explain_error(error, words)
    else:
        said = "fine"
    if (taken := time.process_time() - began) > 20:
        return f"took {taken:.1f} s"
    return said if "debug=true shows" in said or not said.strip() or len(said.splitlines()) > 12 else ""


WRONG = {
    "model=null": "model=null: no such model among",
    "data=null": "data=null: no such data; there are: cifar10",
    "optim=[sgd]": "optim=[sgd]: no such optim",
    "task=7": "task=7: no such task",
    "logger=[null]": "logger=[null]: no such logger; there are: csv",
    "~model": "model=null: a run needs one; type model=<name>",
    "model=cifar_resnet model.depth=9223372036854775808": "model.depth=9223372036854775808: at most 10,000 layers",
    "model=cifar_resnet model.depth=-9223372036854775808": "the nearest are 8 and 14",
    "model=speednet model.widths=[64,64,4294967296]": "model.widths=4294967296: at most 65,536",
    "data.batch_size=9223372036854775808": "data.batch_size=9223372036854775808: a whole number below 2**32",
    "optim.lr=1e400": "optim.lr=inf: a finite number is needed",
    "data.limit_train=nan": "data.limit_train=nan: a fraction",
    "data.split_seed=-1": "data.split_seed=-1: from 0 to",
    "logger=wandb logger.wandb.tags=[[1]]": "logger.wandb.tags=[[1]]: a list of plain values",
    "data=imagenet data.train_sizes=[[64],[96]]": "data.train_sizes=[[64], [96]]: a list of plain values",
    "trainer.checkpoint_minutes=-1": "trainer.checkpoint_minutes=-1.0: at least 0",
    "seed=[1]": "seed=[1]: a whole number is needed",
}


def test_what_is_no_name_or_no_fitting_number_gets_a_sentence() -> None:
    for words, told in WRONG.items():
        with pytest.raises(Exception) as caught:
            compose(*words.split())
        said = explain_error(caught.value, words.split())
        assert told in said and "debug=true shows" not in said, said
    for words in ("logger=[csv,tensorboard]", "logger=[]", "seed=4294967295", "model=cifar_resnet model.depth=9998"):
        compose(*words.split())


@pytest.mark.slow
def test_random_overrides_are_runs_or_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not judge(BASES[0]), "the first one imports what the others need"
    draw = random.Random(5)
    names = {base: list_leaves(base) for base in BASES}
    faults = []
    for _ in range(500):
        base = draw.choice(BASES)
        count = draw.choice((1, 1, 1, 2))
        keys = [draw.choice(GROUPS) if draw.random() < 0.15 else draw.choice(names[base]) for _ in range(count)]
        words = tuple(f"{key}={draw.choice(VALUES)}" for key in keys)
        if wrong := judge((*base, *words)):
            faults.append(f"{' '.join((*base, *words))[:200]}: {wrong[:300]}")
    assert not list(tmp_path.iterdir())
    assert not faults, f"{len(faults)}:\n" + "\n".join(faults)
