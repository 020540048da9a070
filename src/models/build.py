"""Build networks: a row of the registry (``src/zoo``) becomes a module. Importing this file imports no torch."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from ..config.fields import require
from ..config.model import ModelConfig
from ..data.info import DatasetInfo
from ..errors import UserError
from ..zoo.base import Residual
from ..zoo.convnet import VGG, AlexNet, AlexNetCifar, SmallCNN
from ..zoo.densenet import CifarDenseNet, ImageNetDenseNet
from ..zoo.preact import PreActResNet, ResNetV2, WideResNet
from ..zoo.registry import find_builder, row
from ..zoo.resnet import CifarResNet, ImageNetResNet
from ..zoo.speednet import SpeedNet

if TYPE_CHECKING:
    from torch import nn

    from .blocks import BlockStyle


def create_model(name: str, num_classes: int = 10, in_channels: int = 3, **dials: object) -> "nn.Module":
    """Return the registered network of this name, freshly initialised: ``create_model("cifar_resnet", depth=74)``.

    ``dials`` are the settings of its family. Raises UserError for an unknown name or dial, for a value that the family
    refuses, and for another architecture under the name of a published network, as the command line does.
    """
    config = row(name)
    of_runs = {f.name for f in fields(ModelConfig)}
    known = [f.name for f in fields(config) if f.name not in of_runs]
    for dial in dials:
        require(dial in known, f"model.{dial}: {name} has no such setting; there are: {', '.join(known)}")
    changed: ModelConfig = replace(config, **dials)  # type: ignore[arg-type]
    return build_classifier(changed, in_channels=in_channels, num_classes=num_classes)


def build_model(config: ModelConfig, info: DatasetInfo) -> "nn.Module":
    """Build the network for images and classes like those of the data set, freshly initialised."""
    return build_classifier(config, in_channels=info.channels, num_classes=info.num_classes)


def build_classifier(config: ModelConfig, *, in_channels: int, num_classes: int) -> "nn.Module":
    """Build the network for images [N, in_channels, H, W]; raise UserError where no family builds it.

    A family that a plug-in has registered comes first, because it may be a subclass of one that is here.
    """
    if (build := find_builder(type(config))) is not None:
        return build_plugin(build, config, in_channels, num_classes)
    match config:
        case CifarResNet() | ImageNetResNet():
            return build_resnet(config, in_channels, num_classes)
        case PreActResNet() | WideResNet() | ResNetV2():
            return build_preact(config, in_channels, num_classes)
        case SpeedNet():
            return build_speednet(config, in_channels, num_classes)
        case ImageNetDenseNet() | CifarDenseNet():
            return build_densenet(config, in_channels, num_classes)
        case VGG() | AlexNet() | SmallCNN():
            return build_convnet(config, in_channels, num_classes)
    raise UserError(
        f"model.name={config.name}: no family builds it; let its YAML begin with `defaults: [cifar_resnet]`, "
        "or another name that python -m src.models lists"
    )


def make_style(config: Residual) -> "BlockStyle":
    """Return what all blocks of this network have in common."""
    from .blocks import BlockStyle

    return BlockStyle(
        activation=config.activation,
        gate=config.gate,
        zero_padding=getattr(config, "zero_padding", "end"),
        stride_in=getattr(config, "stride_in", "3x3"),
    )


def build_resnet(config: CifarResNet | ImageNetResNet, in_channels: int, num_classes: int) -> "nn.Module":
    """Build a post-activation network."""
    from . import resnet

    if isinstance(config, CifarResNet):
        return resnet.build_cifar_resnet(
            in_channels=in_channels,
            num_classes=num_classes,
            depth=config.depth,
            block=config.block,
            shortcut=config.shortcut,
            width=config.width,
            cardinality=config.cardinality,
            group_width=config.group_width,
            style=make_style(config),
            head=config.head,
            stochastic_depth=config.stochastic_depth,
            checkpoint_activations=config.checkpoint_activations,
        )
    return resnet.build_imagenet_resnet(
        in_channels=in_channels,
        num_classes=num_classes,
        depth=config.depth,
        shortcut=config.shortcut,
        stem=config.stem,
        cardinality=config.cardinality,
        group_width=config.group_width,
        style=make_style(config),
        head=config.head,
        stochastic_depth=config.stochastic_depth,
        checkpoint_activations=config.checkpoint_activations,
    )


def build_preact(config: PreActResNet | WideResNet | ResNetV2, in_channels: int, num_classes: int) -> "nn.Module":
    """Build a pre-activation network."""
    from . import preact

    if isinstance(config, PreActResNet):
        return preact.build_preact_resnet(
            in_channels=in_channels,
            num_classes=num_classes,
            depth=config.depth,
            block=config.block,
            shortcut=config.shortcut,
            width=config.width,
            style=make_style(config),
            head=config.head,
            stochastic_depth=config.stochastic_depth,
            checkpoint_activations=config.checkpoint_activations,
        )
    if isinstance(config, WideResNet):
        return preact.build_wide_resnet(
            in_channels=in_channels,
            num_classes=num_classes,
            depth=config.depth,
            widen=config.widen,
            dropout=config.dropout,
            style=make_style(config),
            head=config.head,
            stochastic_depth=config.stochastic_depth,
            checkpoint_activations=config.checkpoint_activations,
        )
    return preact.build_resnet_v2(
        in_channels=in_channels,
        num_classes=num_classes,
        depth=config.depth,
        style=make_style(config),
        head=config.head,
        stochastic_depth=config.stochastic_depth,
        checkpoint_activations=config.checkpoint_activations,
    )


def build_speednet(config: SpeedNet, in_channels: int, num_classes: int) -> "nn.Module":
    """Build a network for the shortest training."""
    from . import speednet

    return speednet.build_speednet(
        in_channels=in_channels,
        num_classes=num_classes,
        depth=config.depth,
        widths=config.widths,
        style=make_style(config),
        head=config.head,
        stochastic_depth=config.stochastic_depth,
        checkpoint_activations=config.checkpoint_activations,
    )


def build_densenet(config: ImageNetDenseNet | CifarDenseNet, in_channels: int, num_classes: int) -> "nn.Module":
    """Build a densely connected network."""
    from . import densenet

    if isinstance(config, ImageNetDenseNet):
        return densenet.build_imagenet_densenet(
            in_channels=in_channels,
            num_classes=num_classes,
            depth=config.depth,
            dropout=config.dropout,
            head=config.head,
            checkpoint_activations=config.checkpoint_activations,
        )
    return densenet.build_cifar_densenet(
        in_channels=in_channels,
        num_classes=num_classes,
        depth=config.depth,
        growth=config.growth,
        dropout=config.dropout,
        head=config.head,
        checkpoint_activations=config.checkpoint_activations,
    )


def build_convnet(config: VGG | AlexNet | SmallCNN, in_channels: int, num_classes: int) -> "nn.Module":
    """Build a network without shortcuts."""
    from . import convnet

    if isinstance(config, VGG):
        return convnet.build_vgg(
            in_channels=in_channels,
            num_classes=num_classes,
            depth=config.depth,
            batch_norm=config.batch_norm,
            head=config.head,
            dropout=config.dropout,
        )
    if isinstance(config, AlexNet):
        return convnet.build_alexnet(
            in_channels=in_channels,
            num_classes=num_classes,
            dropout=config.dropout,
            first_stride=1 if isinstance(config, AlexNetCifar) else 4,
        )
    return convnet.build_small_cnn(
        in_channels=in_channels,
        num_classes=num_classes,
        width=config.width,
        activation=config.activation,
        dropout=config.dropout,
    )


def build_plugin(build: Callable[..., object], config: ModelConfig, in_channels: int, num_classes: int) -> "nn.Module":
    """Build the network of a plug-in's family: a classifier with a backbone.

    Raises TypeError where its function returns no torch module, and UserError where that has no backbone.
    """
    from torch import nn

    from .backbone import get_backbone

    network = build(config, in_channels=in_channels, num_classes=num_classes)
    if not isinstance(network, nn.Module):
        kind = type(config).__name__
        raise TypeError(f"the builder of {kind} returned {type(network).__name__}, not a torch module")
    get_backbone(network, config.name)
    return network
