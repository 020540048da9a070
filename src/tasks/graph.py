"""A whole training step as one CUDA graph: a small network is limited by its launches, and this leaves a single one.

The random numbers are those of the ordinary step: a replay takes the generator's seed and offset of its own moment, and
each step seeds the generator anew.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

WARM_UP = 3  # ordinary steps first: cuDNN chooses its algorithms and the optimizer makes its state


class CapturedStep:
    """Forward, backward and update on static buffers, recorded once and then replayed.

    ``compute(*batch)`` gives the loss [] first, and anything else after it; so does calling this, and the weights are
    updated then. Batches are all of one shape. The learning rate becomes a tensor, which ``set_learning_rate`` fills.
    Without ``capture`` the step runs anew instead of being replayed, on the same buffers: so its plumbing can be tested
    where no GPU is.
    """

    def __init__(self, compute: Callable[..., tuple[Tensor, ...]], optimizer: Optimizer, *, capture: bool) -> None:
        self.compute = compute
        self.optimizer = optimizer
        self.capture = capture
        self.calls = 0
        self.batch: tuple[Tensor, ...] = ()
        for group in optimizer.param_groups:
            device = group["params"][0].device
            # torch's fused kernels read a rate in float32 from a GPU; on a CPU it stays what it is
            rate = torch.tensor(float(group["lr"]), dtype=torch.float32 if capture else torch.float64, device=device)
            group["lr"] = rate
            if capture and "capturable" in group:  # Adam's
                group["capturable"] = True

    def __call__(self, *batch: Tensor) -> tuple[Tensor, ...]:
        if not self.batch:
            self.batch = tuple(torch.empty_like(tensor) for tensor in batch)
        for buffer, tensor in zip(self.batch, batch, strict=True):
            assert buffer.shape == tensor.shape, "a captured step takes batches of one shape"
            buffer.copy_(tensor)
        self.calls += 1
        if not self.capture:
            return self._step()
        if self.calls <= WARM_UP:
            return self._aside()
        if self.calls == WARM_UP + 1:
            self._record()
        self.graph.replay()
        return tuple(output.clone() for output in self.outputs)  # the next replay writes over them

    def _step(self) -> tuple[Tensor, ...]:
        self.optimizer.zero_grad(set_to_none=True)
        loss, *rest = self.compute(*self.batch)
        with torch.autocast(loss.device.type, enabled=False):  # it is for the forward pass alone
            loss.backward()
            self.optimizer.step()
        return loss.detach(), *rest

    def _aside(self) -> tuple[Tensor, ...]:
        """An ordinary step on a stream of its own, as must precede a recording."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            outputs = self._step()
        torch.cuda.current_stream().wait_stream(stream)
        return outputs

    def _record(self) -> None:
        """Record the step; nothing is computed yet."""
        self.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        # other threads may go on meanwhile: one that pins the next batches' memory would spoil the recording otherwise
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.outputs = self._step()
