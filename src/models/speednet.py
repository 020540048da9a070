"""Residual networks for the shortest training on small images, after Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds".

A whitened stem, then stages that each halve the map with a max pool before they normalise it, and add a short
residual branch on the smaller map. Page 2018, "How to Train Your ResNet", began with the stem and with such stages.
"""

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ..errors import UserError
from .blocks import BlockStyle
from .heads import Classifier, make_classifier
from .layers import ACTIVATIONS, GATES, make_conv_bn, make_drop
from .resnet import ResNet


class WhiteningConv(nn.Conv2d):
    """A k x k convolution, not padded, whose kernels whiten the patches of the training images.

    They are the principal components of the patches, each at variance 1, and their negatives, for a rectifier follows.
    Only the bias is learned; the components come from ``fit`` and are a buffer.
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
            components = compute_whitening(images, self.kernel_size[0]).view(-1, *self.weight.shape[1:])
            self.weight.copy_(torch.cat([components, -components]))


def compute_whitening(images: Tensor, kernel: int, epsilon: float = 5e-4) -> Tensor:
    """Return the matrix [C * k * k, C * k * k] that makes patches of images [B, C, H, W] uncorrelated, of variance 1.

    Rows are the principal components in the order of falling variance, measured about zero. The largest entry of each
    is positive, for the sign of an eigenvector is arbitrary. ``epsilon`` is added to the variances, so that noise is
    not amplified.
    """
    patches = images.unfold(2, kernel, 1).unfold(3, kernel, 1).movedim(1, 3).flatten(3).flatten(0, 2).double()
    variances, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    components = vectors.T.flip(0)
    largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
    scale = (variances.flip(0).clamp(min=0) + epsilon).rsqrt()
    return components * largest.sign() * scale[:, None]


class PooledBlock(nn.Module):
    """y = f(BN(pool(conv(x)))), then f(y + F(y)), where F is ``layers`` times 3x3, BN, with f between them.

    The pool halves the map; the normalisation and everything after it work on a quarter of the pixels. It is not a
    ResidualBlock, because what it adds to F is not its input but the reduced map.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        width: int,
        stride: int,
        layers: int,
        style: BlockStyle,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        make_activation = ACTIVATIONS[style.activation]
        conv, norm = make_conv_bn(in_channels, width, 3, norm=style.norm)
        self.reduce = nn.Sequential(conv, nn.MaxPool2d(stride), norm, make_activation())
        self.residual = nn.Sequential(make_conv_bn(width, width, 3, norm=style.norm))
        for _ in range(layers - 1):
            self.residual.extend([make_activation(), make_conv_bn(width, width, 3, norm=style.norm)])
        self.squeeze = GATES[style.gate](width)
        self.drop = make_drop(drop)
        self.activation = make_activation()

    def forward(self, x: Tensor) -> Tensor:
        y = self.reduce(x)
        out: Tensor = self.activation(y + self.drop(self.squeeze(self.residual(y))))
        return out


def build_speednet(
    *,
    in_channels: int,
    num_classes: int,
    depth: int,
    widths: Sequence[int],
    style: BlockStyle,
    head: str,
    stochastic_depth: float,
    checkpoint_activations: bool,
) -> Classifier:
    """Build a net of 3n + 5 layers.

    The stem, three stages of a reducing convolution and n layers in the residual branch, and a head.
    """
    stem = WhiteningConv(in_channels, kernel=2)
    backbone = ResNet(
        stem=nn.Sequential(stem, ACTIVATIONS[style.activation]()),
        stem_channels=stem.out_channels,
        stem_stride=1,
        block=partial(PooledBlock, layers=(depth - 5) // 3, style=style),
        expansion=1,
        widths=widths,
        strides=[[2]] * len(widths),
        stochastic_depth=stochastic_depth,
        checkpoint_activations=checkpoint_activations,
    )
    model = make_classifier(backbone, head=head, num_classes=num_classes)
    for block in backbone.modules():
        if isinstance(block, PooledBlock):
            kernel = block.reduce.get_parameter("0.weight")
            nn.init.dirac_(kernel[: kernel.shape[1]])  # begins by passing on what it gets
    return model


def fit_to_data(model: nn.Module, batches: Iterable[object], count: int = 2_000) -> None:
    """Fit every whitening stem of the network to the first training images; read no batch where it has none.

    Batches are normalised images float [B, C, H, W]; ``count`` images are enough for the statistics of the patches.
    Raises UserError for a detector, which normalises its images itself.
    """
    stems = [module for module in model.modules() if isinstance(module, WhiteningConv)]
    if not stems:
        return
    images: list[Tensor] = []
    for batch in batches:
        if not isinstance(batch, Tensor):
            raise UserError(
                "The stem of a SpeedNet is fitted to the training images of a classifier; for a detector, start from "
                "a trained one with model.weights=…"
            )
        images.append(batch)
        if sum(map(len, images)) >= count:
            break
    for stem in stems:
        stem.fit(torch.cat(images)[:count])
