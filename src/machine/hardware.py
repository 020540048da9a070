"""Look at this machine: its devices, precision, memory and versions."""

import os
import platform
import resource
import subprocess
from pathlib import Path

import torch

from ..config.trainer import TrainerConfig
from ..errors import UserError
from . import ranks
from .ranks import NODE_GPUS


def resolve_hardware(trainer: TrainerConfig) -> tuple[str, int, str]:
    """Return (accelerator, devices, precision), with every auto decided.

    Raises UserError for devices that this machine does not have, and for processes that nobody starts.
    """
    if trainer.accelerator == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("trainer.accelerator=mps: no Apple GPU that torch can use is here; use trainer=auto.")
        if trainer.precision == "bf16" or (trainer.devices or 1) > 1 or trainer.strategy == "ddp":
            raise UserError("trainer.accelerator=mps: one device, in fp32; leave the other trainer settings out.")
        return "mps", 1, "fp32"
    gpus = count_gpus() if trainer.accelerator != "cpu" else 0
    if trainer.accelerator == "gpu" and not gpus:
        raise UserError("trainer.accelerator=gpu: no GPU that torch can use is here; use trainer=cpu or trainer=auto.")
    accelerator = "gpu" if gpus else "cpu"
    devices = trainer.devices or (gpus if trainer.strategy == "ddp" and gpus else 1)
    if accelerator == "gpu" and devices > gpus:
        raise UserError(f"trainer.devices={devices}: only {gpus} GPU(s) here.")
    check_processes(trainer, devices)
    precision = trainer.precision
    if precision == "auto":
        if NODE_GPUS in os.environ:
            raise UserError(
                "trainer.precision=auto: the nodes' precision is not known here; set trainer.precision=fp32 or bf16."
            )
        precision = "bf16" if has_fast_bf16(accelerator) else "fp32"
    return accelerator, devices, precision


def count_gpus() -> int:
    """Count the GPUs of this machine, or of a node that jobs are to be submitted to."""
    if NODE_GPUS in os.environ:
        return int(os.environ[NODE_GPUS])
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def check_processes(trainer: TrainerConfig, devices: int) -> None:
    """Raise UserError unless each device has a process, or trainer=ddp can start one for it."""
    asked = f"trainer.devices={devices}" + f" trainer.num_nodes={trainer.num_nodes}" * (trainer.num_nodes > 1)
    world, rank = devices * trainer.num_nodes, ranks.find_rank()
    if world > 1 and trainer.strategy != "ddp":
        raise UserError(f"{asked}: several devices need one process each; add trainer=ddp.")
    if rank and rank.world != world:
        raise UserError(
            f"{asked}: needs {world} process{'es' * (world > 1)}, but {rank.starter} has started {rank.world}; "
            "trainer=ddp with trainer.devices=<processes a node> trainer.num_nodes=<nodes> makes them agree."
        )
    if trainer.num_nodes > 1 and not rank and NODE_GPUS not in os.environ:
        raise UserError(
            f"{asked}: start one process for each device of each node, by srun or torchrun; "
            "in a sweep, hydra/launcher=slurm does it."
        )


def has_fast_bf16(accelerator: str) -> bool:
    """Return True where bfloat16 has instructions of its own, so that it is faster than float32."""
    if accelerator == "gpu":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and any(flag in cpuinfo.read_text() for flag in ("avx512_bf16", "amx_bf16"))


def explain_out_of_memory(error: BaseException) -> str | None:
    """Return the sentence for an error that means that memory ran out, and None for any other error."""
    text = str(error)
    allocator = (
        "not enough memory" in text or "can't allocate memory" in text
    )  # of the CPU; the text depends on the system
    if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not allocator:
        return None
    return (
        f"Out of memory ({text.splitlines()[0] if text else 'on the host'}). "
        "Compute each batch in parts (trainer.accumulate=4) or lower data.batch_size."
    )


def measure_peak_memory(accelerator: str) -> int:
    """Return the peak memory of this process: the GPU's where one trains, else resident memory [bytes]."""
    if accelerator == "gpu":
        return torch.cuda.max_memory_allocated()
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def describe_environment(accelerator: str, precision: str) -> dict[str, object]:
    """Return versions, device, threads, precision and commit, as results.json stores them."""
    import lightning

    commit = _run_git("rev-parse", "HEAD")
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "device": torch.cuda.get_device_name() if accelerator == "gpu" else _find_cpu_name(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "git_commit": commit,
        "git_dirty": bool(_run_git("status", "--porcelain")) if commit else None,
    }


def _find_cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _run_git(*arguments: str) -> str | None:
    """Return the output of git in the project's folder, or None where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
