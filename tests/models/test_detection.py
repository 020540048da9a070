"""Detectors on our backbones are torchvision's: the same parameters, the same outputs, every weight learns."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import torchvision.models.detection as theirs
from detectors import KINDS, registered, tiny, tiny_backbone
from torch import Tensor, nn
from torchvision.models.detection._utils import overwrite_eps

import zoo
from src.errors import UserError
from src.models.complexity import count_macs, count_parameters
from src.models.detection import FrozenBatchNorm, Pyramid, Resize, choose_levels
from src.models.pretrained import detection as detection_weights
from src.models.pretrained.detection import load_detector
from src.models.pretrained.files import compute_sha256
from src.models.pretrained.reading import read_weights

THEIRS = {
    "faster_rcnn": theirs.fasterrcnn_resnet50_fpn,
    "mask_rcnn": theirs.maskrcnn_resnet50_fpn,
    "retinanet": theirs.retinanet_resnet50_fpn,
}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CLASSES = detection_weights.COCO[1:]  # as torchvision's detectors know them: 90, by COCO's ids


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, 60, 80, generator=generator), torch.rand(3, 72, 50, generator=generator)]


def target(boxes: list[list[float]], height: int = 64, width: int = 64) -> dict[str, Any]:
    masks = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[int(y1) : int(y2), int(x1) : int(x2)] = 1
    labels = torch.arange(len(boxes)) % 3 + 1
    return {"boxes": torch.tensor(boxes).view(-1, 4), "labels": labels, "masks": masks, "side": 64}


def step(model: nn.Module, targets: list[dict[str, Any]]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    photos = [torch.randint(256, (3, 64, 64), dtype=torch.uint8, generator=generator) for _ in targets]
    loss = torch.stack(list(model.train()(photos, targets).values())).sum()
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize(
    ("kind", "frozen", "trainable"),
    [
        ("faster_rcnn", 41_755_286, 41_808_406),
        ("mask_rcnn", 44_401_393, 44_454_513),
        ("retinanet", 34_014_999, 34_068_119),
    ],
)
def test_parameters_are_torchvisions(kind: str, frozen: int, trainable: int) -> None:
    with torch.device("meta"):
        assert count_parameters(registered("resnet50", kind, device="meta", freeze_batchnorm=True)) == frozen
        assert count_parameters(registered("resnet50", kind, device="meta")) == trainable


class DetectorArithmetic(nn.Module):
    """The arithmetic of a detector without the choice of boxes, so that shapes are enough to count it.

    In training the second stage takes as many boxes of an image as it learns from, and masks of a quarter of them; in
    evaluation the 1,000 that are proposed, and masks of the 100 that are found at most.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[Any]:
        maps = list(self.model.backbone(images).values())
        if isinstance(self.model, theirs.RetinaNet):
            return [self.model.head(maps)]
        heads: Any = self.model.roi_heads
        learned = heads.fg_bg_sampler.batch_size_per_image
        boxes, masks = (learned, learned // 4) if self.training else (1000, heads.detections_per_img)
        found = [maps, self.model.rpn.head(maps)]
        cells = images.new_empty(len(images) * boxes, 256, 7, 7)
        found.append(heads.box_predictor(heads.box_head(cells)))
        if heads.has_mask():
            cells = images.new_empty(len(images) * masks, 256, 14, 14)
            found.append(heads.mask_predictor(heads.mask_head(cells)))
        return found


@pytest.mark.parametrize(
    ("kind", "macs"), [("faster_rcnn", 134.38), ("mask_rcnn", 134.38 + 53.2066), ("retinanet", 151.54)]
)
def test_the_arithmetic_is_what_torchvision_states(kind: str, macs: float) -> None:
    """For 800x800 pixels, in 10^9 multiply-adds; Mask R-CNN's without its masks: 100 of 4 convolutions and 2 layers."""
    with torch.device("meta"):
        model = registered("resnet50", kind, device="meta", detections=100)
    assert count_macs(DetectorArithmetic(model), 3, 800) / 1e9 == pytest.approx(macs, abs=0.005)


@cache
def their_detector(kind: str) -> Any:
    """torchvision's, with values that let no mistake hide, for small images; finds something of every score."""
    torch.manual_seed(0)
    if kind == "retinanet":
        arguments = {"detections_per_img": 10, "score_thresh": 0.0}
    else:
        arguments = {"box_detections_per_img": 10, "box_score_thresh": 0.0, "rpn_post_nms_top_n_test": 100}
    model = THEIRS[kind](weights=None, weights_backbone=None, min_size=64, max_size=96, **arguments).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.3, 0.6)
            nn.init.normal_(module.bias, 0.0, 0.1)
            nn.init.normal_(module.running_mean, 0.0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    logits = (
        model.head.classification_head.cls_logits if kind == "retinanet" else model.roi_heads.box_predictor.cls_score
    )
    nn.init.normal_(logits.weight, std=0.3)  # else all scores are nearly equal
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of torchvision's detector of a kind."""
    folder = tmp_path_factory.mktemp("weights")

    @cache
    def save(kind: str) -> Path:
        torch.save(their_detector(kind).state_dict(), folder / f"{kind}.pth")
        return folder / f"{kind}.pth"

    return save


def ours_from(path: Path, kind: str, classes: tuple[str, ...], **settings: Any) -> tuple[Any, str]:
    limits = {"score_threshold": 0.0, "detections": 10}
    model = registered("resnet50", kind, num_classes=len(classes) + 1, **IMAGENET, **limits, **settings).eval()
    return model, load_detector(model, read_weights(path), path=path, classes=classes)


def output(model: Any) -> Any:
    """In double precision, where no two scores are so near that rounding decides which comes first."""
    with torch.inference_mode():
        return model.double()([image.double() for image in images()])


@cache
def their_output(kind: str) -> Any:
    return output(deepcopy(their_detector(kind)))


def assert_same_output(ours: Any, expected: Any) -> None:
    if hasattr(ours, "rpn"):
        ours.rpn._post_nms_top_n = {"training": 100, "testing": 100}
    for own, their in zip(output(ours), expected, strict=True):
        assert len(their["boxes"]) == 10 and their["scores"].std() > 1e-4
        assert own.keys() == their.keys()
        for name, value in their.items():
            assert (own[name] - value).abs().max() <= 1e-4, name


@pytest.mark.parametrize(("kind", "freeze_batchnorm"), [*((kind, True) for kind in KINDS), ("faster_rcnn", False)])
def test_with_torchvisions_weights_the_outputs_are_torchvisions(
    kind: str, freeze_batchnorm: bool, saved: Callable[[str], Path]
) -> None:
    ours, report = ours_from(saved(kind), kind, CLASSES, freeze_batchnorm=freeze_batchnorm)
    assert "those of the 90 classes among them" in report and "\n" not in report
    assert_same_output(ours, their_output(kind))


def as_first_published(name: str) -> str:
    """What torchvision called a tensor of a detector at first."""
    for new, old in (("inner_blocks", "inner_blocks"), ("layer_blocks", "layer_blocks")):
        for i in range(4):
            name = name.replace(f"{new}.{i}.0.", f"{old}.{i}.")
    for i in range(4):
        name = name.replace(f"mask_head.{i}.0.", f"mask_head.mask_fcn{i + 1}.")
        name = name.replace(f"_head.conv.{i}.0.", f"_head.conv.{2 * i}.")
    return name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")


@pytest.mark.parametrize("kind", ["mask_rcnn", "retinanet"])
def test_published_files_have_older_names_and_no_epsilon(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, expected = tmp_path / "detector.pth", deepcopy(their_detector(kind))
    small = [module for module in expected.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in small:  # so small that an epsilon shows
        module.running_var /= 1e4  # type: ignore[operator]
        module.weight.data /= 1e2
        module.eps = 0.0
    state = {as_first_published(name): value for name, value in expected.state_dict().items()}
    assert len(set(state) - set(expected.state_dict())) > 10
    torch.save(state, path)
    monkeypatch.setattr(detection_weights, "WITHOUT_EPSILON", (compute_sha256(path)[:8],))
    expected = output(expected)
    assert_same_output(ours_from(path, kind, CLASSES, freeze_batchnorm=True)[0], expected)
    if kind == "retinanet":
        monkeypatch.undo()
        with pytest.raises(AssertionError):
            assert_same_output(ours_from(path, kind, CLASSES, freeze_batchnorm=True)[0], expected)


def test_the_epsilon_is_torchvisions() -> None:
    """Its own way, for the files of which it knows."""
    fixed = FrozenBatchNorm(3)
    assert fixed.eps == detection_weights.EPSILON == nn.BatchNorm2d(3).eps
    overwrite_eps(fixed, 0.0)
    assert fixed.eps == 0


def test_other_classes_take_the_rows_that_they_know(saved: Callable[[str], Path]) -> None:
    expected, path = their_detector("mask_rcnn"), saved("mask_rcnn")
    ours, report = ours_from(path, "mask_rcnn", ("zebra", "person"))
    assert "2 classes among them" in report
    rows, predictor = [0, 24, 1], expected.roi_heads.box_predictor
    assert torch.equal(ours.roi_heads.box_predictor.cls_score.weight, predictor.cls_score.weight[rows])
    boxes = predictor.bbox_pred.weight.view(91, 4, -1)[rows].flatten(0, 1)
    assert torch.equal(ours.roi_heads.box_predictor.bbox_pred.weight, boxes)
    masks = expected.roi_heads.mask_predictor.mask_fcn_logits.weight
    assert torch.equal(ours.roi_heads.mask_predictor.mask_fcn_logits.weight, masks[rows])
    ours, report = ours_from(path, "mask_rcnn", ("person", "unicorn"))
    assert report.endswith("fresh: the layers that tell the 2 classes apart.")
    assert torch.equal(ours.roi_heads.box_head.fc6.weight, expected.roi_heads.box_head.fc6.weight)
    ours, report = ours_from(path, "retinanet", ("person", "zebra"))
    assert report.endswith("fresh: pyramid and heads.")
    assert torch.equal(ours.backbone.body.stem[0][0].weight, expected.backbone.body.conv1.weight)


def test_retinanets_rows_are_those_of_each_anchor(saved: Callable[[str], Path]) -> None:
    expected = their_detector("retinanet")
    ours, _ = ours_from(saved("retinanet"), "retinanet", ("person", "zebra"))
    logits = expected.head.classification_head.cls_logits.bias.view(9, 91)[:, [0, 1, 24]].flatten()
    assert torch.equal(ours.head.classification_head.cls_logits.bias, logits)


@pytest.mark.parametrize("ours", [True, False])
def test_a_classifier_gives_its_backbone(ours: bool, tmp_path: Path) -> None:
    classifier: Any = zoo.build("resnet18") if ours else torchvision.models.resnet18()
    torch.save(classifier.state_dict(), tmp_path / "weights.pth")
    model = registered("resnet18", "faster_rcnn", freeze_batchnorm=True)
    report = load_detector(
        model, read_weights(tmp_path / "weights.pth"), path=tmp_path / "weights.pth", classes=CLASSES
    )
    assert report.endswith("fresh: pyramid and heads.")
    first = classifier.backbone.stem[0][0] if ours else classifier.conv1
    assert torch.equal(model.backbone.body.stem[0][0].weight, first.weight)
    last = classifier.backbone.stages[3][1].residual[2][1] if ours else classifier.layer4[1].bn2
    assert torch.equal(model.backbone.body.stages[3][1].residual[2][1].running_var, last.running_var)


def test_our_own_detector_gives_all_it_has(tmp_path: Path) -> None:
    trained = tiny("mask_rcnn")
    state = {f"model.{name}": value for name, value in trained.state_dict().items()}
    checkpoint = {"state_dict": state, "info": {"classes": ["a", "b", "c"]}}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    model = tiny("mask_rcnn", num_classes=3, freeze_batchnorm=True)
    report = load_detector(model, read_weights(tmp_path / "last.ckpt"), path=tmp_path / "last.ckpt", classes=("c", "a"))
    assert "2 classes among them" in report
    assert torch.equal(
        model.roi_heads.box_predictor.cls_score.bias, trained.roi_heads.box_predictor.cls_score.bias[[0, 3, 1]]
    )


def test_another_backbone_is_refused_and_nothing_is_loaded(tmp_path: Path) -> None:
    torch.save(zoo.build("resnet34").state_dict(), tmp_path / "weights.pth")
    model = registered("resnet18", "retinanet")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match="weights of another architecture"):
        load_detector(model, read_weights(tmp_path / "weights.pth"), path=tmp_path / "weights.pth", classes=CLASSES)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_reaches_every_weight(kind: str) -> None:
    torch.manual_seed(0)
    model = tiny(kind)
    loss = step(model, [target([[4.0, 6.0, 40.0, 50.0], [10.0, 10.0, 30.0, 28.0]]), target([[0.0, 0.0, 60.0, 30.0]])])
    assert loss.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if name.startswith("backbone."):
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_without_objects_is_learned_from(kind: str) -> None:
    model = tiny(kind)
    assert step(model, [target([]), target([])]).isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnext50_32x4d", "se_resnet50", "resnet50v2", "densenet121", "vgg16_bn"]
)
def test_levels_have_the_strides_that_the_anchors_are_made_for(name: str) -> None:
    with torch.device("meta"):
        for kind in KINDS:
            model = registered(name, kind, device="meta")
            pyramid: Pyramid = model.backbone
            maps = pyramid(torch.empty(1, 3, 256, 256))
            assert [256 // level.shape[-1] for level in maps.values()] == pyramid.strides
            assert all(level.shape[1] == 256 for level in maps.values())
            generator = model.anchor_generator if kind == "retinanet" else model.rpn.anchor_generator
            assert [sizes[0] for sizes in generator.sizes] == [
                stride * (4 if kind == "retinanet" else 8) for stride in pyramid.strides
            ]


def test_a_level_stands_on_the_last_map_of_its_stride() -> None:
    assert choose_levels([8, 16, 32, 32], name="resnet50v2", wanted=(4, 8, 16, 32)) == [0, 1, 3]
    assert choose_levels([2, 4, 8, 16, 32], name="vgg16", wanted=(4, 8, 16, 32)) == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["resnet20", "resnet50_cifar", "wrn16_8"])
def test_a_backbone_for_small_images_is_refused(name: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=r"model=tiny: its maps have strides 1, 2, .*resnet50"):
        registered(name, "faster_rcnn", device="meta")


def test_what_is_frozen_stays_and_the_rest_learns() -> None:
    backbone = tiny_backbone()
    model = tiny("faster_rcnn", backbone=backbone, trainable_stages=2)
    learning = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert learning == {name for name, _ in backbone.named_parameters() if name.startswith(("stages.2.", "stages.3."))}
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    step(model, [target([[4.0, 6.0, 40.0, 50.0]])] * 2)
    changed = {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith(("stages.2.", "stages.3.")) for name in changed)
    assert all(parameter.requires_grad for parameter in model.backbone.fpn.parameters())
    frozen = tiny("faster_rcnn", freeze_batchnorm=True)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())
    assert all(parameter.requires_grad for parameter in frozen.parameters())
    assert not any(p.requires_grad for p in tiny("retinanet", trainable_stages=0).backbone.body.parameters())


def test_norms_among_the_parts_are_frozen_too() -> None:
    body = zoo.build("densenet121", device="meta").backbone
    with torch.device("meta"):
        tiny("retinanet", backbone=body, trainable_stages=3)
    assert isinstance(body.features.norm0, FrozenBatchNorm) and isinstance(body.features.norm5, nn.BatchNorm2d)


def test_a_frozen_norm_is_the_norm_in_evaluation_in_any_type() -> None:
    torch.manual_seed(0)
    norm, fixed, x = nn.BatchNorm2d(3), FrozenBatchNorm(3), torch.randn(2, 3, 5, 5)
    for value in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        assert value is not None
        value.uniform_(0.5, 1.5)
    fixed.load_state_dict(norm.state_dict())
    torch.testing.assert_close(fixed(x), norm.eval()(x))
    half = fixed(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), norm(x), atol=0.03, rtol=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_keep_their_precision_under_autocast(kind: str) -> None:
    """In bf16, pixel 1000 and pixel 1003 are one."""
    torch.manual_seed(0)
    model = tiny(kind, score_threshold=0.0).eval()
    seen: list[Tensor] = []
    parts = ("RPNHead", "FastRCNNPredictor", "MaskRCNNPredictor", "RetinaNetHead", "Pyramid")
    for module in model.modules():
        if type(module).__name__ in parts:
            module.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        output = model(images())[0]

    def types(value: Any) -> set[torch.dtype]:
        if isinstance(value, Tensor):
            return {value.dtype}
        return set().union(*map(types, value.values() if isinstance(value, dict) else value))

    assert types(seen) == {torch.float32} == {output[name].dtype for name in output if name != "labels"}


def test_bytes_are_resized_as_torchvision_resizes_floats() -> None:
    photo = torch.randint(256, (3, 60, 80), dtype=torch.uint8)
    ours = Resize(48, 100, [0.5] * 3, [0.25] * 3).eval()
    expected = theirs.transform.GeneralizedRCNNTransform(48, 100, [0.5] * 3, [0.25] * 3).eval()
    torch.testing.assert_close(ours([photo])[0].tensors, expected([photo / 255])[0].tensors, rtol=0, atol=0)
    boxes = {"boxes": torch.tensor([[0.0, 0.0, 80.0, 60.0]]), "side": 30}
    batch, resized = ours.train()([photo], [boxes])
    assert batch.image_sizes == [(30, 40)]
    assert resized[0]["boxes"].tolist() == [[0.0, 0.0, 40.0, 30.0]]
    assert ours([photo])[0].image_sizes == [(48, 64)]
