"""Five hundred damaged state dicts as initial weights: each is refused in a sentence, or its tensors are whole."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import choose_evenly
from torch import Tensor

from src.data.info import DatasetInfo
from src.data.normalization import compute_affine
from src.errors import UserError
from src.models.build import build_model
from src.models.pretrained.reading import read_weights
from src.models.pretrained.weights import check_network, load_weights
from src.zoo.resnet import CifarResNet

CLASSES = ("a", "b", "c")
INFO = DatasetInfo("made", CLASSES, 3, 8, mean=(0.5,) * 3, std=(0.25,) * 3)
NETWORK = CifarResNet(depth=8, width=4)
Content = dict[Any, Any]

ODD_VALUES: tuple[Any, ...] = (
    None,
    3,
    -1.5,
    "weights",
    b"",
    [],
    [1, 2],
    {},
    {"a": {"b": torch.ones(2)}},
    True,
    (),
    {1, 2},
)


def make_huge(shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(1).expand(2**36) if len(shape) < 2 else torch.zeros(1).expand(2**12, 2**12, 2**12)


def damage_tensor(state: Content, chance: random.Random) -> None:
    """Replace, rename or drop one tensor."""
    name = chance.choice(list(state))
    value: Any = state.pop(name)
    if not isinstance(value, Tensor):
        return
    other = chance.choice(list(state))
    acts: list[Callable[[], object]] = [
        lambda: None,  # dropped
        lambda: state.__setitem__(f"{chance.choice(['module.', 'x', '', 'head.', 'model.'])}{name}"[:-1], value),
        lambda: state.__setitem__(chance.randrange(9), value),
        lambda: state.__setitem__(name, value.flatten()),
        lambda: state.__setitem__(name, value[None]),
        lambda: state.__setitem__(
            name, value.T if value.ndim == 2 else value.transpose(0, -1) if value.ndim else value
        ),
        lambda: state.__setitem__(name, value.new_empty(0)),
        lambda: state.__setitem__(
            name, value.to(chance.choice([torch.int8, torch.bool, torch.float16, torch.float64]))
        ),
        lambda: state.__setitem__(name, value.to(torch.complex64)),
        lambda: state.__setitem__(name, value.double().fill_(chance.choice([float("nan"), float("inf"), 1e300]))),
        lambda: state.__setitem__(name, value.to(torch.uint8).view(torch.uint8)),
        lambda: state.__setitem__(name, make_huge(tuple(value.shape))),
        lambda: state.__setitem__(name, value[:1].expand(value.shape) if value.ndim else value),
        lambda: state.__setitem__(name, chance.choice(ODD_VALUES)),
        lambda: state.__setitem__(name, value.to_sparse() if value.ndim else value),
        lambda: state.__setitem__(name, value.to("meta")),
        lambda: state.__setitem__(name, torch.nn.Parameter(value) if value.is_floating_point() else value),
        lambda: state.__setitem__(name, state[other]),
        lambda: state.update({name: {name: value}, other: state[other]}),
    ]
    chance.choice(acts)()


def damage_content(content: Content, chance: random.Random) -> Content:
    """Replace something beside the tensors, where there is anything."""
    section = chance.choice(["info", "config", "normalization", "state_dict", "config_hash"])
    if section not in content:
        return content
    part, odd = content[section], chance.choice(ODD_VALUES)
    if isinstance(part, dict) and section != "state_dict" and chance.random() < 0.8:
        key = chance.choice(list(part))
        if isinstance(part[key], dict) and chance.random() < 0.7:
            part[key][chance.choice(list(part[key]))] = odd
        elif isinstance(part[key], list) and part[key] and chance.random() < 0.5:
            part[key][0] = chance.choice([*ODD_VALUES, float("nan"), 0.0])
        else:
            part[key] = odd
        return content
    return content | {section: odd}


def wrap(state: Content, chance: random.Random) -> Content:
    """Wrap a state dict as those who share theirs do."""
    config = {"model": {"family": "cifar_resnet", "name": "cifar_resnet", "depth": 8, "width": 4, "shortcut": "A"}}
    normalization = {"name": "dataset", "mean": [0.5] * 3, "std": [0.25] * 3, "mean_image": None}
    ours = {"info": {"classes": CLASSES, "channels": 3}, "config": config, "normalization": normalization}
    return chance.choice(
        [
            state,
            {"state_dict": state},
            {"model": state, "epoch": 3},
            {f"module.{name}": value for name, value in state.items()},
            {"state_dict": {f"model.{name}": value for name, value in state.items()}} | ours,
            {"state_dict": {f"model.{name}": value for name, value in state.items()}} | ours,
        ]
    )


def try_weights(path: Path) -> str:
    """Load weights as a training does; return "refused" or "loaded". Any error but UserError goes through."""
    model = build_model(NETWORK, INFO)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        pretrained = read_weights(path)
        load_weights(model, pretrained, path=path, classes=CLASSES)
    except UserError as error:
        sentence, after = str(error), model.state_dict()
    else:
        sentence, after = "", before
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    if sentence:
        assert str(path) in sentence and len(sentence) < 600
        return "refused"
    try:
        check_network(pretrained, NETWORK, path)
    except UserError:
        return "refused"
    assert all(value.isfinite().all() for value in model.state_dict().values())
    if pretrained.normalization:
        assert all(value.isfinite().all() for value in compute_affine(pretrained.normalization, 8, torch.device("cpu")))
    return "loaded"


@pytest.mark.slow
def test_damaged_state_dicts_are_refused_in_a_sentence(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = build_model(NETWORK, INFO).state_dict()
    problems, ends = [], []
    for seed in choose_evenly(range(500), 150):
        chance = random.Random(seed)
        state: Content = dict(whole)
        for _ in range(chance.choice([0, 1, 1, 1, 2, 5])):
            damage_tensor(state, chance)
        content = wrap(state, chance)
        for _ in range(chance.choice([0, 0, 1, 1, 2])):
            content = damage_content(content, chance)
        path = tmp_path / f"{seed}.pt"
        torch.save(content, path)
        began = time.process_time()
        try:
            ends.append(try_weights(path))
        except Exception as error:
            problems.append(f"{seed}: {type(error).__name__}: {str(error)[:150]}")
        if (taken := time.process_time() - began) > 5:
            problems.append(f"{seed}: took {taken:.0f} s")
        path.unlink()
    assert not problems, f"{len(problems)}\n" + "\n".join(problems)
    assert {"refused", "loaded"} == set(ends)
