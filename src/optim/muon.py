"""Train matrices by orthogonalised momentum, and all else by Nesterov SGD.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

Group: TypeAlias = dict[str, Any]  # of parameters, with their settings

QUINTIC = (3.4445, -4.7750, 2.0315)  # theirs: singular values come near 1 in few iterations, but do not converge to 1


def orthogonalize(gradient: Tensor, iterations: int = 5) -> Tensor:
    """Return U V^T of gradient = U S V^T, for a matrix or a kernel [out, in, k, k] taken as [out, in * k * k]; float32.

    Newton-Schulz iterations in bfloat16 bring each singular value to between about 0.7 and 1.2.
    """
    matrix = gradient.flatten(1)
    x = matrix / (matrix.norm() + 1e-7)  # no singular value is above 1
    x = (x.T if len(x) > matrix.shape[1] else x).bfloat16()
    a, b, c = QUINTIC
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    x = x.T if len(matrix) > matrix.shape[1] else x
    return x.to(torch.float32).view(gradient.shape)


class Muon(Optimizer):
    """Take steps of equal size in all directions of a matrix; groups with ``orthogonal=False`` take Nesterov SGD.

    An orthogonal group's step is lr * sqrt(max(1, out / in)) times the orthogonalised momentum, after a decay by
    lr * weight_decay. With ``unit_norm`` a matrix is first scaled to the norm sqrt(out) instead, and the step is lr
    times the orthogonalised momentum, so that ``lr`` is about the fraction of the matrix that changes; that is for
    kernels whose scale has no effect because a normalisation follows.
    SGD's weight decay is an L2 penalty, as torch's. Nothing waits for a GPU.
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        iterations: int = 5,
        unit_norm: bool = False,
        orthogonal: bool = True,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "iterations": iterations,
            "unit_norm": unit_norm,
            "orthogonal": orthogonal,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["orthogonal"]:
                for parameter in parameters:
                    self._step_orthogonal(parameter, group)
            elif parameters:
                self._step_sgd(parameters, group)
        return loss

    def _find_momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer

    def _step_orthogonal(self, parameter: Tensor, group: Group) -> None:
        """Take a step of a matrix or kernel, in place."""
        gradient, lr, momentum = parameter.grad, group["lr"], group["momentum"]
        assert gradient is not None
        average = self._find_momentum(parameter).mul_(momentum).add_(gradient)
        update = orthogonalize(gradient + momentum * average, group["iterations"])
        rows = len(parameter)
        if group["unit_norm"]:
            parameter.mul_(rows**0.5 / parameter.norm())
        else:
            parameter.mul_(1 - lr * group["weight_decay"])
            update *= max(1.0, rows * rows / parameter.numel()) ** 0.5
        parameter.sub_(lr * update)

    def _step_sgd(self, parameters: list[Tensor], group: Group) -> None:
        """Take a step of SGD with Nesterov's momentum, as torch.optim.SGD defines it, in place."""
        momentum = group["momentum"]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        averages = [self._find_momentum(p) for p in parameters]
        torch._foreach_mul_(averages, momentum)
        torch._foreach_add_(averages, gradients)
        steps = list(torch._foreach_add(gradients, averages, alpha=momentum))
        torch._foreach_mul_(steps, group["lr"])
        torch._foreach_sub_(parameters, steps)
