"""The words of a command line as shells hand them over: a ~ or = in a value, a pasted comment, flags anywhere."""

import sys

import pytest

from src.cli.compose import complete_overrides
from src.cli.main import main
from src.cli.near import find_setting, suggest_setting
from src.cli.words import prepare_words, quote_values


@pytest.mark.parametrize(
    ("word", "taken"),
    {
        "data.root=/photos/a=b": "data.root='/photos/a=b'",
        "data.root=/My Photos (2024)": "data.root='/My Photos (2024)'",
        "data.root=./Bücher": "data.root='./Bücher'",
        "experiment_name=a&b": "experiment_name='a&b'",
        "data.root=/photos/my set": "data.root=/photos/my set",
        "seed=range(0,3)": "seed=range(0,3)",
        "seed=choice(1,2)": "seed=choice(1,2)",
        "data.classes=[a,b]": "data.classes=[a,b]",
        "optim.lr=${seed}": "optim.lr=${seed}",
        "data.root='/a=b'": "data.root='/a=b'",
        "~optim": "~optim",
        "+hpo.space={optim.lr:{low:0.1}}": "+hpo.space={optim.lr:{low:0.1}}",
    }.items(),
)
def test_a_value_that_can_mean_only_itself_is_quoted(word: str, taken: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert quote_values([word]) == [taken]
    assert OverridesParser.create().parse_override(taken)


def test_a_home_folder_and_a_comment_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    typed = ["data.root=~/photos", "plugins=[~/a.py,~/b.py]", "~optim.lr", "run=a~b", "#", "a", "comment"]
    monkeypatch.setattr(sys, "argv", ["train", *typed])
    seen: list[str] = []
    with pytest.raises(SystemExit):
        main(lambda: seen.extend(sys.argv[1:]) or 0)
    assert seen == ["data.root=/home/me/photos", "plugins=[/home/me/a.py,/home/me/b.py]", "~optim.lr", "run=a~b"]


def test_flags_may_stand_anywhere_and_lists_need_no_bracket() -> None:
    words = prepare_words(["model=resnet20", "-m", "seed=0,1"])
    assert words.index("seed=0,1") < words.index("-m")
    assert "logger=[csv,tensorboard]" in complete_overrides(["logger=csv,tensorboard"])
    assert "logger=csv,tensorboard" in complete_overrides(["logger=csv,tensorboard", "-m"])


@pytest.mark.parametrize(
    ("name", "meant"),
    {
        "lr": "optim.lr",
        "epochs": "trainer.max_epochs",
        "batch-size": "data.batch_size",
        "Device": "trainer.accelerator",
        "arch": "model",
        "nothing_like_it": "",
    }.items(),
)
def test_a_near_name_is_found(name: str, meant: str) -> None:
    assert find_setting(name) == meant


def test_a_misspelt_name_is_found() -> None:
    assert suggest_setting("epocs") == "trainer.max_epochs" and suggest_setting("xyzzy") == ""
