"""Predict photos one by one, as most examples do it: PIL, torchvision's transforms, a batch of one."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms


@torch.no_grad()
def predict_one_by_one(network: nn.Module, paths: Sequence[Path], size: int) -> Tensor:
    """Return the probabilities of each photo [N, C]."""
    steps = [
        transforms.Resize(round(size * 256 / 224)),
        transforms.CenterCrop(size),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    transform = transforms.Compose(steps)
    found = []
    for path in paths:
        image = Image.open(path).convert("RGB")
        found.append(network(transform(image)[None]).softmax(dim=1)[0])
    return torch.stack(found)
