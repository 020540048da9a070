"""A whole training step as one CUDA graph, because kernel launches limit the throughput of a small network.

The random numbers are those of the ordinary step: a replay reads the generator's current seed and offset, and each step
seeds the generator anew.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

WARM_UP = 3  # ordinary steps first: cuDNN chooses its algorithms and the optimizer makes its state


class CapturedStep:
    """Run forward, backward and update on static buffers, recorded once and then replayed.

    ``compute(*batch)`` returns the loss [] first, then other tensors; calling this object returns the same and has
    updated the weights. All batches have one shape. The optimizer's learning rate becomes a tensor, which ``set_rate``
    fills. Without ``capture`` the step runs anew on the same buffers instead of being replayed, so that tests need no
    GPU.
    """

    def __init__(self, compute: Callable[..., tuple[Tensor, ...]], optimizer: Optimizer, *, capture: bool) -> None:
        self.compute = compute
        self.optimizer = optimizer
        self.capture = capture
        self.calls = 0
        self.batch: tuple[Tensor, ...] = ()
        for group in optimizer.param_groups:
            device = group["params"][0].device
            # torch's fused kernels read a learning rate in float32 from a GPU; on a CPU it keeps its precision
            dtype = torch.float32 if capture else torch.float64
            group["lr"] = torch.tensor(float(group["lr"]), dtype=dtype, device=device)
            if capture and "capturable" in group:  # only Adam has it
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
            return self._step_on_side_stream()
        if self.calls == WARM_UP + 1:
            self._record()
        self.graph.replay()
        return tuple(output.clone() for output in self.outputs)  # the next replay overwrites them

    def _step(self) -> tuple[Tensor, ...]:
        self.optimizer.zero_grad(set_to_none=True)
        loss, *rest = self.compute(*self.batch)
        with torch.autocast(loss.device.type, enabled=False):  # autocast is for the forward pass alone
            loss.backward()
            self.optimizer.step()
        return loss.detach(), *rest

    def _step_on_side_stream(self) -> tuple[Tensor, ...]:
        """Run an ordinary step on a stream of its own, as torch demands before a recording."""
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
        # thread_local: else a thread that pins the next batch's memory meanwhile would spoil the recording
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.outputs = self._step()
