"""DenseNet: Huang et al. 2017, "Densely Connected Convolutional Networks"; the layers are torchvision's.

Each layer sees the maps of all layers before it in its block: 1x1 and 3x3 convolution, each behind BN and relu.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import densenet as published

from .heads import Classifier, make_classifier
from .layers import run_module


class DenseNet(nn.Module):
    """Dense blocks with transitions (1x1 to half of the channels, 2x2 average pool) between them.

    ``features`` are those of torchvision's DenseNet. With ``checkpoint_activations`` only the inputs of the layers are
    kept for the backward pass.
    """

    def __init__(self, *, features: nn.Sequential, stem_stride: int, checkpoint_activations: bool = False) -> None:
        super().__init__()
        self.features = features
        self.checkpoint_activations = checkpoint_activations
        last = features.get_submodule("norm5")
        assert isinstance(last, nn.BatchNorm2d)
        transitions = [m for m in features if isinstance(m, published._Transition)]
        inner = [m.get_submodule("norm").num_features for m in transitions]
        self.feature_channels: list[int] = [*inner, last.num_features]
        self.feature_strides = [stem_stride * 2**i for i in range(len(self.feature_channels))]

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Return one map a block, the last behind BN, relu: (N, feature_channels[i], H / feature_strides[i], …)."""
        maps = []
        for layer in self.features:
            if isinstance(layer, published._DenseBlock):
                collected = [x]
                for dense in layer.values():
                    collected.append(run_module(dense, list(collected), recompute=self.checkpoint_activations))
                x = torch.cat(collected, 1)
                maps.append(x)
            else:
                x = layer(x)
        maps[-1] = F.relu(x, inplace=True)
        return maps

    @property
    def parts(self) -> list[list[nn.Module]]:
        """The stem and the dense blocks, each with the transition or norm behind it."""
        found: list[list[nn.Module]] = [[]]
        for layer in self.features:
            if isinstance(layer, published._DenseBlock):
                found.append([])
            found[-1].append(layer)
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x)[-1]


IMAGENET_NETWORKS = {  # Table 1: growth, layers of each block, channels of the stem
    121: (32, (6, 12, 24, 16), 64),
    161: (48, (6, 12, 36, 24), 96),
    169: (32, (6, 12, 32, 32), 64),
    201: (32, (6, 12, 48, 32), 64),
}


def build_from_features(
    *,
    in_channels: int,
    num_classes: int,
    growth: int,
    blocks: Sequence[int],
    stem_channels: int,
    stem: str,
    dropout: float,
    head: str,
    checkpoint_activations: bool,
) -> Classifier:
    """Build torchvision's network with this stem ("imagenet" or "cifar") and head."""
    features = published.DenseNet(
        growth_rate=growth,
        block_config=tuple(blocks),
        num_init_features=stem_channels,
        drop_rate=dropout,
        num_classes=num_classes,
    ).features
    if stem == "cifar":
        features.conv0 = nn.Conv2d(in_channels, stem_channels, 3, padding=1, bias=False)
        del features.norm0, features.relu0, features.pool0
    elif in_channels != 3:
        features.conv0 = nn.Conv2d(in_channels, stem_channels, 7, stride=2, padding=3, bias=False)
    backbone = DenseNet(
        features=features,
        stem_stride=4 if stem == "imagenet" else 1,
        checkpoint_activations=checkpoint_activations,
    )
    return make_classifier(backbone, head=head, num_classes=num_classes)


def build_imagenet_densenet(
    *, in_channels: int, num_classes: int, depth: int, dropout: float, head: str, checkpoint_activations: bool
) -> Classifier:
    """Build a network of Table 1, for images of about 224 pixels."""
    growth, blocks, stem_channels = IMAGENET_NETWORKS[depth]
    return build_from_features(
        in_channels=in_channels,
        num_classes=num_classes,
        growth=growth,
        blocks=blocks,
        stem_channels=stem_channels,
        stem="imagenet",
        dropout=dropout,
        head=head,
        checkpoint_activations=checkpoint_activations,
    )


def build_cifar_densenet(
    *,
    in_channels: int,
    num_classes: int,
    depth: int,
    growth: int,
    dropout: float,
    head: str,
    checkpoint_activations: bool,
) -> Classifier:
    """Build DenseNet-BC with 6n + 4 layers: a 3x3 convolution to twice the growth, three blocks of n layers."""
    n = (depth - 4) // 6
    return build_from_features(
        in_channels=in_channels,
        num_classes=num_classes,
        growth=growth,
        blocks=(n, n, n),
        stem_channels=2 * growth,
        stem="cifar",
        dropout=dropout,
        head=head,
        checkpoint_activations=checkpoint_activations,
    )
