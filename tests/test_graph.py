"""When a step can be captured, and why not."""

import pytest
from helpers import compose

from src.training.settle import explain_no_graph

ON_A_GPU = ("model=resnet20", "data=cifar10", "trainer.accelerator=gpu", "trainer.graph=full")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("trainer.accelerator=cpu", "a CPU has no CUDA graphs"),
        ("trainer.strategy=ddp", "ddp"),
        ("trainer.accumulate=2", "trainer.accumulate=2"),
        ("trainer.compile=true", "reduce-overhead"),
        ("trainer.detect_anomaly=true", "detect_anomaly"),
        ("optim.ema=0.99", "optim.ema=0.99"),
        ("optim.clip_norm=1", "clip_norm"),
        ("optim=adam_plateau", "plateau"),
        ("model.checkpoint_activations=true", "checkpoint_activations"),
        ("data=coco task=detection", "task=detection"),
    ],
)
def test_what_cannot_be_captured_says_why(word: str, reason: str) -> None:
    others = [w for w in ON_A_GPU if w.split("=")[0] != word.split("=")[0]]
    assert reason in (explain_no_graph(compose(*others, *word.split())) or "")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("optim=adamw",),
        ("optim=sgd_multistep", "model.stochastic_depth=0.2"),
        ("trainer.graph=reduce-overhead", "optim.ema=0.99", "trainer.accumulate=2"),
    ],
)
def test_what_can(words: tuple[str, ...]) -> None:
    assert explain_no_graph(compose(*ON_A_GPU, *words)) is None
