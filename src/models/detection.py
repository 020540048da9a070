"""Detectors: torchvision's Faster R-CNN, RetinaNet and Mask R-CNN on the backbones of this registry.

Between the two stands a feature pyramid, which knows of a network no more than ``Backbone`` promises. With a ResNet-50
these are torchvision's networks, to the last parameter.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from ..errors import UserError
from .backbone import Backbone

CHANNELS = 256  # of every level of the pyramid


LEVELS = (4, 8, 16, 32)  # the strides of a pyramid's levels [pixels]


REQUIRED_LEVELS = LEVELS[1:]


RATIOS = (0.5, 1.0, 2.0)  # height / width of the anchors


class FrozenBatchNorm(FrozenBatchNorm2d):
    """torchvision's fixed BatchNorm, whose values are buffers; in half precision its output stays in that type."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32:
            return super().forward(x)
        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        return F.batch_norm(x, mean, variance, self.get_buffer("weight"), self.get_buffer("bias"), eps=self.eps)


class Pyramid(nn.Module):
    """A backbone and its feature pyramid (Lin et al. 2017): images -> maps of 256 channels, by name.

    A level stands on the last of the maps that have its stride; ``strides`` are those of all maps that come out. The
    maps are float32 under autocast too: anchors and boxes inherit their type, and bf16 cannot tell pixel 1000 from
    1003. ``last_pool`` adds a level by subsampling the last one (Faster R-CNN); without it two are added by strided
    convolutions, and the finest is left out (RetinaNet). Raises UserError where the maps of the backbone, the network
    ``name``, have other strides.
    """

    def __init__(self, body: Backbone, *, name: str, last_pool: bool) -> None:
        super().__init__()
        channels, strides = body.feature_channels, body.feature_strides
        self.levels = choose_levels(strides, name=name, wanted=LEVELS if last_pool else REQUIRED_LEVELS)
        own = [strides[level] for level in self.levels]
        self.strides = [*own, 64] if last_pool else [*own, 64, 128]
        self.out_channels = CHANNELS
        self.body = body
        self.fpn = FeaturePyramidNetwork(
            [channels[level] for level in self.levels],
            CHANNELS,
            LastLevelMaxPool() if last_pool else LastLevelP6P7(CHANNELS, CHANNELS),
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.body.forward_features(images)
        pyramid: dict[str, Tensor] = self.fpn({str(i): maps[level] for i, level in enumerate(self.levels)})
        return {name: widen_to_float32(level) for name, level in pyramid.items()}


def choose_levels(strides: Sequence[int], *, name: str, wanted: Sequence[int]) -> list[int]:
    """Return the indices of the maps that a pyramid stands on: of maps with these strides, the last of each wanted one.

    Raises UserError for a backbone that lacks stride 8, 16 or 32, such as one for images of 32 pixels.
    """
    last = {stride: i for i, stride in enumerate(strides)}
    if not all(stride in last for stride in REQUIRED_LEVELS):
        raise UserError(
            f"model={name}: its maps have strides {', '.join(map(str, strides))}, and a detector needs "
            f"{', '.join(map(str, REQUIRED_LEVELS))}; take a network for ImageNet's images, such as resnet50"
        )
    return [last[stride] for stride in wanted if stride in last]


class Resize(GeneralizedRCNNTransform):
    """Normalise and resize images inside the network: bytes, or floats in [0, 1], of any size.

    The arithmetic is torchvision's. In training the entry ``side`` of a target, if it has one, is the length of the
    shorter side that its image is resized to [pixels].
    """

    side: int | None = None

    def normalize(self, image: Tensor) -> Tensor:
        scaled: Tensor = super().normalize(image if image.is_floating_point() else image.float() / 255)
        return scaled

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        self.side = int(target["side"]) if target and "side" in target else None
        resized: tuple[Tensor, dict[str, Tensor] | None] = super().resize(image, target)
        return resized

    def torch_choice(self, k: list[int]) -> int:
        return self.side or int(super().torch_choice(k))


def freeze_parts(backbone: Backbone, *, freeze_batchnorm: bool, trainable_stages: int) -> None:
    """Freeze all parts of a backbone but the last ``trainable_stages``, and on request every BatchNorm.

    The stem counts as a stage, as in torchvision. Frozen parts keep the statistics of their BatchNorm too.
    """
    parts = backbone.parts
    fixed = [module for part in parts[: max(len(parts) - trainable_stages, 0)] for module in part]
    for module in fixed:
        module.requires_grad_(False)
    still = set(backbone.modules()) if freeze_batchnorm else {norm for top in fixed for norm in top.modules()}
    for parent in list(backbone.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d) and child in still:
                norm = FrozenBatchNorm(child.num_features, child.eps).to(child.weight.device)
                norm.load_state_dict(child.state_dict())
                setattr(parent, name, norm)


def make_detector(
    *,
    backbone: Backbone,
    name: str,
    kind: str,
    num_classes: int,
    freeze_batchnorm: bool,
    trainable_stages: int,
    image_size: int,
    max_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    detections: int = 100,
    box_samples: int = 512,
) -> FasterRCNN | RetinaNet:
    """Return a detector of this kind (faster_rcnn, mask_rcnn or retinanet); it is called as torchvision's are.

    ``num_classes`` counts the background, which is 0. Images are resized to ``image_size`` pixels on the shorter side
    and at most ``max_size`` on the longer one. At most ``detections`` boxes of an image are returned.
    """
    freeze_parts(backbone, freeze_batchnorm=freeze_batchnorm, trainable_stages=trainable_stages)
    pyramid = Pyramid(backbone, name=name, last_pool=kind != "retinanet")
    if kind == "retinanet":
        limits = {"score_thresh": score_threshold, "nms_thresh": nms_threshold, "detections_per_img": detections}
        model = RetinaNet(pyramid, num_classes, anchor_generator=make_retinanet_anchors(pyramid), **limits)
    else:  # Mask R-CNN (He et al. 2017) is Faster R-CNN with a third head
        masks = {"mask_roi_pool": make_roi_align(pyramid, 14)} if kind == "mask_rcnn" else {}
        model = (MaskRCNN if masks else FasterRCNN)(
            pyramid,
            num_classes,
            rpn_anchor_generator=make_two_stage_anchors(pyramid),
            box_roi_pool=make_roi_align(pyramid, 7),
            **masks,
            box_batch_size_per_image=box_samples,
            box_score_thresh=score_threshold,
            box_nms_thresh=nms_threshold,
            box_detections_per_img=detections,
        )
    model.transform = Resize(image_size, max_size, list(mean), list(std))
    for part in model.modules():
        if isinstance(part, RPNHead | FastRCNNPredictor | MaskRCNNPredictor | RetinaNetHead):
            part.register_forward_hook(cast_outputs)
    return model


def make_two_stage_anchors(pyramid: Pyramid) -> AnchorGenerator:
    """Return the anchors of Faster R-CNN (Ren et al. 2015): at every level, the pooled one too, of 8 strides."""
    return AnchorGenerator(tuple((8 * stride,) for stride in pyramid.strides), (RATIOS,) * len(pyramid.strides))


def make_retinanet_anchors(pyramid: Pyramid) -> AnchorGenerator:
    """Return the anchors of Lin et al. 2017b: of 4 strides, and of 1/3 and 2/3 of an octave more."""
    sizes = tuple(tuple(int(4 * stride * 2 ** (third / 3)) for third in range(3)) for stride in pyramid.strides)
    return AnchorGenerator(sizes, (RATIOS,) * len(sizes))


def make_roi_align(pyramid: Pyramid, size: int) -> MultiScaleRoIAlign:
    """Return the layer that cuts ``size`` x ``size`` cells for a box, from the level that suits the size of the box."""
    return NativeRoIAlign([str(i) for i in range(len(pyramid.levels))], output_size=size, sampling_ratio=2)


class NativeRoIAlign(MultiScaleRoIAlign):
    """torchvision's kernel also where deterministic algorithms are preferred.

    On a GPU torchvision would then call a Python function that takes gigabytes.
    """

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        before = torch.get_deterministic_debug_mode()
        torch.set_deterministic_debug_mode("default")
        try:
            cells: Tensor = super().forward(x, boxes, image_shapes)
        finally:
            torch.set_deterministic_debug_mode(before)
        return cells


def cast_outputs(module: nn.Module, inputs: object, outputs: object) -> object:
    """Return what a head predicts in float32, under autocast too, for boxes are decoded in that type (forward hook)."""
    if isinstance(outputs, Tensor):
        return widen_to_float32(outputs)
    if isinstance(outputs, dict):
        return {name: cast_outputs(module, inputs, value) for name, value in outputs.items()}
    assert isinstance(outputs, list | tuple)
    return type(outputs)(cast_outputs(module, inputs, value) for value in outputs)


def widen_to_float32(x: Tensor) -> Tensor:
    """Return half precision as float32, and anything else as it is."""
    return x.float() if x.dtype.itemsize < 4 else x
