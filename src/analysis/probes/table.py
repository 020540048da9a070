"""The table of probes: a new one is a file beside this and a row here."""

from typing import Any

from . import (
    curvature,
    filters,
    grad_cam,
    gradient_flow,
    loss_landscape,
    receptive_field,
    responses,
    shortcut_ratio,
    similarity,
)
from .base import Probe

PROBES: dict[str, Probe[Any]] = {
    module.PROBE.name: module.PROBE
    for module in (
        gradient_flow,
        responses,
        grad_cam,
        loss_landscape,
        curvature,
        shortcut_ratio,
        similarity,
        receptive_field,
        filters,
    )
}
