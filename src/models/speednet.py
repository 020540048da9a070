"""Residual networks for the shortest training on small images, after Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds".

A whitened stem, then stages that each halve the map with a max pool before they normalise it, and add a short
residual branch on the smaller map. Page 2018, "How to Train Your ResNet", began with the stem and with such stages.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .heads import Classifier
from .layers import ACTIVATIONS, conv_bn, make_drop, make_squeeze
from .resnet import ResNet, classifier


class WhiteningConv(nn.Conv2d):
    """k x k, not padded: the principal components of the training images' patches, each at variance 1, and their
    negatives, for a rectifier follows. Only the bias is learned; the components come from ``fit`` and are a buffer.
    """

    def __init__(self, in_channels: int, kernel: int) -> None:
        super().__init__(in_channels, 2 * in_channels * kernel**2, kernel)
        drawn = self.weight.detach()
        del self.weight
        self.register_buffer("weight", drawn)  # random until it is fitted
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]

    def fit(self, images: Tensor) -> None:
        """Take the components of all patches of normalised images float [B, C, H, W]."""
        with torch.no_grad():
            components = whitening(images, self.kernel_size[0]).view(-1, *self.weight.shape[1:])
            self.weight.copy_(torch.cat([components, -components]))


def whitening(images: Tensor, kernel: int, least: float = 5e-4) -> Tensor:
    """The matrix [C * k * k, C * k * k] that makes the patches of images [B, C, H, W] uncorrelated with variance 1.

    Rows are principal components by falling variance, as measured about zero; each has its largest entry positive,
    for an eigenvector's sign is nobody's choice. ``least`` is added to the variances, so that noise is not blown up.
    """
    patches = images.unfold(2, kernel, 1).unfold(3, kernel, 1).movedim(1, 3).flatten(3).flatten(0, 2).double()
    variances, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    components = vectors.T.flip(0)
    largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
    scale = (variances.flip(0).clamp(min=0) + least).rsqrt()
    return components * largest.sign() * scale[:, None]


class PooledBlock(nn.Module):
    """y = f(BN(pool(conv(x)))), then f(y + F(y)), where F is ``layers`` times 3x3, BN, with f between them.

    The pool halves the map; the normalisation and everything after it works on a quarter of the pixels.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        width: int,
        stride: int,
        layers: int,
        activation: str,
        squeeze: bool = False,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        conv, norm = conv_bn(in_channels, width, kernel=3)
        self.reduce = nn.Sequential(conv, nn.MaxPool2d(stride), norm, ACTIVATIONS[activation]())
        self.residual = nn.Sequential(conv_bn(width, width, kernel=3))
        for _ in range(layers - 1):
            self.residual.extend([ACTIVATIONS[activation](), conv_bn(width, width, kernel=3)])
        self.squeeze = make_squeeze(width, on=squeeze)
        self.drop = make_drop(drop)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        y = self.reduce(x)
        out: Tensor = self.activation(y + self.drop(self.squeeze(self.residual(y))))
        return out


def speednet(
    *,
    in_channels: int,
    num_classes: int,
    depth: int,
    widths: Sequence[int],
    activation: str,
    se: bool,
    head: str,
    stochastic_depth: float,
    checkpoint_activations: bool,
) -> Classifier:
    """3n + 5 layers: the stem, three stages of a reducing convolution and n in the residual branch, a head."""
    stem = WhiteningConv(in_channels, kernel=2)

    def block(**where: Any) -> PooledBlock:
        return PooledBlock(**where, layers=(depth - 5) // 3, activation=activation, squeeze=se)

    backbone = ResNet(
        stem=nn.Sequential(stem, ACTIVATIONS[activation]()),
        stem_channels=stem.out_channels,
        stem_stride=1,
        block=block,
        expansion=1,
        widths=widths,
        strides=[[2]] * len(widths),
        stochastic_depth=stochastic_depth,
        checkpoint_activations=checkpoint_activations,
    )
    model = classifier(backbone, head, num_classes)
    for stage in backbone.stages:
        kernel = stage[0].reduce[0].weight  # type: ignore[index]
        nn.init.dirac_(kernel[: kernel.shape[1]])  # begins by passing on what it gets
    return model


def fit_to_data(model: nn.Module, batches: Iterable[Any], count: int = 2_000) -> None:
    """Take from the first training images what the network begins with, if anything; else no batch is read.

    Batches are normalised images float [B, C, H, W]; about ``count`` of them are enough for the patches' statistics.
    Raises UserError for a detector, which normalises its images itself.
    """
    stems = [module for module in model.modules() if isinstance(module, WhiteningConv)]
    if not stems:
        return
    images: list[Tensor] = []
    for batch in batches:
        if not isinstance(batch, Tensor):
            raise UserError("The stem of a SpeedNet begins with training images of a classifier: set model.weights=…")
        images.append(batch)
        if sum(map(len, images)) >= count:
            break
    for stem in stems:
        stem.fit(torch.cat(images)[:count])
