"""Estimate the memory of a training step before it is taken, so that a sentence comes instead of a crash.

A copy of the network's shapes takes one step on the meta device, where tensors have sizes but no content, and every
storage is counted as it comes and goes. What autograd keeps, and what activation checkpointing does not keep, is
therefore measured, not modelled.
"""

import copy
import sys
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..errors import UserError

# What the allocator holds without using it, as a fraction of what the forward pass asks for. glibc fills the holes that
# freed maps leave badly: 0.3 to 0.65 were measured, with and without activation checkpointing (glibc 2.36; close to
# none under MALLOC_MMAP_THRESHOLD_=1048576). For the GPU's cache and cuDNN's workspaces it is an assumption.
SLACK = {"cpu": 0.46, "gpu": 0.1, "mps": 0.46}


@dataclass(frozen=True)
class Estimate:
    """Hold what a training step adds to the memory that the network's weights take already [bytes]."""

    weights: int  # gradients, optimizer state, average, low-precision copies: whatever the batch
    activations: int  # what autograd keeps between forward and backward
    transient: int  # what is alive besides at the peak: gradients of maps, a recomputed block
    slack: int  # what the allocator holds without using it

    @property
    def total(self) -> int:
        return self.weights + self.maps

    @property
    def maps(self) -> int:
        """Return the part that grows with the batch [bytes]."""
        return self.activations + self.transient + self.slack


def estimate_step(
    model: nn.Module,
    *,
    images: tuple[int, int, int, int],
    precision: str,
    optimizer_states: int,
    ema: bool,
    accelerator: str,
) -> Estimate:
    """Estimate the memory of a step on images (B, C, H, W), the part of the batch that one device computes at once."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = sum(map(count_bytes, trained)) * (1 + optimizer_states)
    if ema:
        weights += sum(map(count_bytes, model.state_dict().values()))
    if precision == "bf16":  # autocast keeps a copy of what it multiplies with
        weights += sum(2 * parameter.numel() for parameter in trained if parameter.ndim > 1)
    shapes = copy_shapes(model)
    live = Live(float_bytes=2 if precision == "bf16" else 4, beside=[*shapes.parameters(), *shapes.buffers()])
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), live:
        outputs = tree_leaves(shapes(torch.empty(images, device="meta")))
        activations, slack = live.bytes, int(SLACK[accelerator] * live.made)
        losses = [output.sum() for output in outputs if output.requires_grad]
        if losses:
            torch.autograd.backward(losses)
    return Estimate(weights=weights, activations=activations, transient=live.peak - activations, slack=slack)


def measure_free_memory(accelerator: str, root: Path = Path("/")) -> int:
    """Return the free memory of the GPU, or of the host within its limits [bytes]; sys.maxsize where it is unknown.

    `root` is where the system's files are searched.
    """
    if accelerator == "gpu":
        cached = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + cached
    return min([sys.maxsize, *read_host_memory(root), *read_cgroup_memory(root)])


def read_host_memory(root: Path) -> Iterator[int]:
    """Yield the memory that Linux has available, swap included [bytes]; yield nothing on other systems."""
    with suppress(OSError, KeyError):
        meminfo = read_values(root / "proc/meminfo")
        yield 1024 * (meminfo["MemAvailable:"] + meminfo.get("SwapFree:", 0))


def read_cgroup_memory(root: Path) -> Iterator[int]:
    """Yield what each control group of this process leaves it, where a container or SLURM sets a limit [bytes]."""
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            mount, names = root / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        for group in (Path(path), *Path(path).parents):  # inside a container only the root may be there
            folder = mount / group.relative_to("/")
            with suppress(OSError, ValueError):  # no such group, or no limit: "max"
                limit, used = (int((folder / name).read_text()) for name in names)
                stat = read_values(folder / "memory.stat")
                cache = sum(stat.get(f"total_{kind}", stat.get(kind, 0)) for kind in ("active_file", "inactive_file"))
                yield max(0, limit - used + cache)  # cached files make room


def read_values(path: Path) -> dict[str, int]:
    """Read the numbers of a file that has a name and a number on each line."""
    return {words[0]: int(words[1]) for words in map(str.split, path.read_text().splitlines())}


def check_memory(
    estimate: Estimate, free: int, *, batch_size: int, accumulate: int, checkpointed: bool, can_checkpoint: bool
) -> None:
    """Raise UserError, with the ways out, if a step will not fit; `batch_size` counts a step's images on one device."""
    if estimate.total <= free:
        return

    def fits(parts: int) -> bool:
        return batch_size % parts == 0 and estimate.weights + estimate.maps * accumulate // parts <= free

    ways = ["set model.checkpoint_activations=true"] if can_checkpoint and not checkpointed else []
    if parts := next(filter(fits, range(accumulate + 1, batch_size + 1)), None):
        ways += [f"set trainer.accumulate={parts}", "lower data.batch_size"]
    else:  # not even a single image
        ways.append("take a smaller network or smaller images (data.image_size)")
    raise UserError(
        f"A training step needs about {format_size(estimate.total)} of memory, but only {format_size(free)} is free: "
        f"{', or '.join(ways)}."
    )


def describe_estimate(estimate: Estimate, free: int) -> str:
    """Return the estimate as a person reads it: "about 1.3 GB for a step (0.9 GB activations), 21.4 GB free"."""
    known = f", {format_size(free)} free" if free < sys.maxsize else ""
    return f"about {format_size(estimate.total)} for a step ({format_size(estimate.activations)} activations){known}"


def format_size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 950e6 else f"{count / 1e6:,.0f} MB"


def copy_shapes(model: nn.Module) -> nn.Module:
    """Copy the network to the meta device, in training mode; gradients are freed as soon as they are there."""
    copies: dict[int, Tensor | NormShape] = {
        id(buffer): torch.empty_like(buffer, device="meta") for buffer in model.buffers()
    }
    for parameter in model.parameters():
        twin = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad)
        if parameter.requires_grad:
            twin.register_post_accumulate_grad_hook(lambda weight: setattr(weight, "grad", None))
        copies[id(parameter)] = twin
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            copies[id(module)] = NormShape(cast("nn.Parameter | None", copies.get(id(module.weight))))
    return copy.deepcopy(model, copies).train()


class KeepInput(torch.autograd.Function):
    """Stand for BatchNorm, whose meta kernel is slow: make a new map, and keep the input."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)  # type: ignore[arg-type]
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        return torch.empty_like(x), None if weight is None else torch.empty_like(weight)


class NormShape(nn.Module):
    """Stand for a BatchNorm where only shapes matter."""

    def __init__(self, weight: nn.Parameter | None) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = KeepInput.apply(x, self.weight)
        return y


class Live(TorchDispatchMode):
    """Count the bytes of the storages that operations make, while they are alive; those of `beside` do not count."""

    def __init__(self, *, float_bytes: int, beside: Iterable[Tensor]) -> None:
        super().__init__()
        self.float_bytes = float_bytes
        self.bytes = self.peak = self.made = 0  # alive now, at most, ever
        self.known = {tensor.untyped_storage()._cdata for tensor in beside}

    def __torch_dispatch__(
        self,
        operation: Callable[..., object],
        types: Collection[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.count(tensor)
        return result

    def count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known:
            return
        size = storage.nbytes()
        if tensor.is_floating_point():
            size = size // tensor.itemsize * self.float_bytes
        self.known.add(key)
        self.made += size
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self.forget, key, size)

    def forget(self, key: int, size: int) -> None:
        self.known.remove(key)
        self.bytes -= size


def count_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.itemsize
