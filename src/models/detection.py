"""Detectors: torchvision's Faster R-CNN, RetinaNet and Mask R-CNN on the backbones of this registry.

What is between is a feature pyramid that knows of a backbone only its ``feature_channels``, ``feature_strides`` and
``forward_features``. With a ResNet-50 these are torchvision's networks, to the last parameter.
"""

from collections.abc import Sequence
from typing import Any

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

CHANNELS = 256  # of every level of the pyramid


LEVELS = (4, 8, 16, 32)  # the strides of a pyramid's levels [pixels]


NEEDED = LEVELS[1:]


RATIOS = (0.5, 1.0, 2.0)  # height / width of the anchors


class FrozenBatchNorm(FrozenBatchNorm2d):
    """torchvision's fixed BatchNorm, whose values are no parameters; here half precision stays half precision."""

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
    convolutions, and the finest is left out (RetinaNet).
    """

    def __init__(self, body: nn.Module, *, name: str, last_pool: bool) -> None:
        super().__init__()
        channels: list[int] = body.feature_channels  # type: ignore[assignment]
        strides: list[int] = body.feature_strides  # type: ignore[assignment]
        self.levels = pyramid_levels(strides, name=name, wanted=LEVELS if last_pool else NEEDED)
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
        maps = self.body.forward_features(images)  # type: ignore[operator]
        pyramid: dict[str, Tensor] = self.fpn({str(i): maps[level] for i, level in enumerate(self.levels)})
        return {name: single(level) for name, level in pyramid.items()}


def pyramid_levels(strides: Sequence[int], *, name: str, wanted: Sequence[int]) -> list[int]:
    """Which of the maps, of these strides, a pyramid stands on: the last of each wanted stride.

    Raises UserError for a backbone that lacks stride 8, 16 or 32, such as one for images of 32 pixels.
    """
    last = {stride: i for i, stride in enumerate(strides)}
    if not all(stride in last for stride in NEEDED):
        raise UserError(
            f"model={name}: its maps have strides {', '.join(map(str, strides))}, and a detector needs "
            f"{', '.join(map(str, NEEDED))}; take a network for ImageNet's images, such as resnet50"
        )
    return [last[stride] for stride in wanted if stride in last]


class Resize(GeneralizedRCNNTransform):
    """Scales pixels and sizes inside the network: bytes, or floats in [0, 1], of any size; torchvision's arithmetic.

    In training a target's ``side`` says how long the image's shorter side becomes.
    """

    side: int | None = None

    def normalize(self, image: Tensor) -> Tensor:
        scaled: Tensor = super().normalize(image if image.is_floating_point() else image.float() / 255)
        return scaled

    def resize(self, image: Tensor, target: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any] | None]:
        self.side = target.get("side") if target else None
        resized: tuple[Tensor, dict[str, Any] | None] = super().resize(image, target)
        return resized

    def torch_choice(self, k: list[int]) -> int:
        return self.side or int(super().torch_choice(k))


def freeze(backbone: nn.Module, *, freeze_batchnorm: bool, trainable_stages: int) -> None:
    """Fix the parts of a backbone before its last ``trainable_stages``, and on request every BatchNorm.

    The stem counts as a stage, as in torchvision. What is fixed keeps the statistics of its BatchNorm too.
    """
    parts: list[list[nn.Module]] = backbone.parts  # type: ignore[assignment]
    fixed = [module for part in parts[: max(len(parts) - trainable_stages, 0)] for module in part]
    for module in fixed:
        module.requires_grad_(False)
    still = {norm for top in ([backbone] if freeze_batchnorm else fixed) for norm in top.modules()}
    for parent in list(backbone.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d) and child in still:
                norm = FrozenBatchNorm(child.num_features, child.eps).to(child.weight.device)
                norm.load_state_dict(child.state_dict())
                setattr(parent, name, norm)


def detector(
    *,
    backbone: nn.Module,
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
    """The detector of this kind (faster_rcnn, mask_rcnn or retinanet); called as torchvision's are.

    ``num_classes`` counts the background, which is 0. Images are resized to ``image_size`` pixels on the shorter side
    and at most ``max_size`` on the longer one. At most ``detections`` of an image come out.
    """
    freeze(backbone, freeze_batchnorm=freeze_batchnorm, trainable_stages=trainable_stages)
    pyramid = Pyramid(backbone, name=name, last_pool=kind != "retinanet")
    if kind == "retinanet":
        limits = {"score_thresh": score_threshold, "nms_thresh": nms_threshold, "detections_per_img": detections}
        model = RetinaNet(pyramid, num_classes, anchor_generator=retinanet_anchors(pyramid), **limits)
    else:
        stages = two_stages(pyramid, masks=kind == "mask_rcnn")
        model = (MaskRCNN if kind == "mask_rcnn" else FasterRCNN)(
            pyramid,
            num_classes,
            **stages,
            box_batch_size_per_image=box_samples,
            box_score_thresh=score_threshold,
            box_nms_thresh=nms_threshold,
            box_detections_per_img=detections,
        )
    model.transform = Resize(image_size, max_size, list(mean), list(std))
    for part in model.modules():
        if isinstance(part, RPNHead | FastRCNNPredictor | MaskRCNNPredictor | RetinaNetHead):
            part.register_forward_hook(as_float)
    return model


def two_stages(pyramid: Pyramid, *, masks: bool) -> dict[str, Any]:
    """What Faster R-CNN (Ren et al. 2015) and Mask R-CNN (He et al. 2017) take from the pyramid: anchors of 8 strides,
    and for boxes and masks the cells of the level that suits their size; the pooled level serves anchors alone."""
    names, count = [str(i) for i in range(len(pyramid.levels))], len(pyramid.strides)
    sizes = tuple((8 * stride,) for stride in pyramid.strides)
    stages: dict[str, Any] = {
        "rpn_anchor_generator": AnchorGenerator(sizes, (RATIOS,) * count),
        "box_roi_pool": NativeRoIAlign(names, output_size=7, sampling_ratio=2),
    }
    return stages | ({"mask_roi_pool": NativeRoIAlign(names, output_size=14, sampling_ratio=2)} if masks else {})


def retinanet_anchors(pyramid: Pyramid) -> AnchorGenerator:
    """Lin et al. 2017b: anchors of 4 strides, and of 1/3 and 2/3 of an octave more."""
    sizes = tuple(tuple(int(4 * stride * 2 ** (third / 3)) for third in range(3)) for stride in pyramid.strides)
    return AnchorGenerator(sizes, (RATIOS,) * len(sizes))


class NativeRoIAlign(MultiScaleRoIAlign):
    """torchvision's kernel also where deterministic algorithms are preferred, for which it has, on a GPU, a Python
    function that takes gigabytes."""

    def forward(self, *args: Any) -> Tensor:
        before = torch.get_deterministic_debug_mode()
        torch.set_deterministic_debug_mode("default")
        try:
            cells: Tensor = super().forward(*args)
        finally:
            torch.set_deterministic_debug_mode(before)
        return cells


def as_float(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    """A forward hook: what a head predicts, in float32 under autocast too, for boxes are decoded in that type."""
    if isinstance(outputs, Tensor):
        return single(outputs)
    if isinstance(outputs, dict):
        return {name: as_float(module, inputs, value) for name, value in outputs.items()}
    return type(outputs)(as_float(module, inputs, value) for value in outputs)


def single(x: Tensor) -> Tensor:
    """Half precision as float32; anything else as it is."""
    return x.float() if x.dtype.itemsize < 4 else x


class Work(nn.Module):
    """A detector's arithmetic, for counting: shapes are enough for it, because no box is chosen.

    In training the second stage takes as many boxes of an image as it learns from, and masks of a quarter of them; in
    evaluation the 1,000 that are proposed, and masks of the 100 that are found at most.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[Any]:
        maps = list(self.model.backbone(images).values())  # type: ignore[operator]
        if isinstance(self.model, RetinaNet):
            return [self.model.head(maps)]
        heads: Any = self.model.roi_heads
        learned = heads.fg_bg_sampler.batch_size_per_image
        boxes, masks = (learned, learned // 4) if self.training else (1000, heads.detections_per_img)
        found = [maps, self.model.rpn.head(maps)]  # type: ignore[union-attr, operator]
        cells = images.new_empty(len(images) * boxes, CHANNELS, 7, 7)
        found.append(heads.box_predictor(heads.box_head(cells)))
        if heads.has_mask():
            cells = images.new_empty(len(images) * masks, CHANNELS, 14, 14)
            found.append(heads.mask_predictor(heads.mask_head(cells)))
        return found
