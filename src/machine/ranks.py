"""The processes that torchrun or SLURM's srun has started for one run: which is this, and what rank 0 has decided.

Rank 0 alone looks whether the run is finished, holds its lock and empties its directory (fresh=true). The others wait
for its word before they look at anything: what a node sees of a shared file system may be some seconds old.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

NODE_GPUS = "TRAIN_NODE_GPUS"  # where jobs are for other machines than this one: the GPUs of each of those
PATIENCE = timedelta(days=1)  # rank 0 may have a data set to download first


TOLD: list[Any] = []  # what rank 0 has told the others through; the first of them to go would close it for all


@dataclass(frozen=True)
class Rank:
    """This process among its like."""

    starter: str  # torchrun or srun
    number: int
    world: int

    def environment(self) -> Any:
        """What Lightning asks for its place, and for where rank 0 is."""
        from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

        return TorchElasticEnvironment() if self.starter == "torchrun" else SLURMEnvironment(auto_requeue=False)

    def store(self) -> Any:
        """The values by name that all of them share."""
        from torch.distributed import rendezvous

        places = self.environment()
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = places.main_address, str(places.main_port)
        return next(rendezvous("env://", self.number, self.world, timeout=PATIENCE))[0]

    def follow(self) -> None:
        """Wait for rank 0: return where there is training to do, else exit as it does."""
        store = self.store()
        word = store.get("word").decode()
        store.set(f"heard {self.number}", word)
        if word != "train":
            sys.exit(int(word))


def find_rank() -> Rank | None:
    """This process' rank; None where it is alone, or Lightning starts the others itself."""
    there = os.environ
    if "TORCHELASTIC_RUN_ID" in there:
        rank = Rank("torchrun", int(there["RANK"]), int(there["WORLD_SIZE"]))
    elif "SLURM_STEP_ID" in there:  # an sbatch script has SLURM_NTASKS, too, but is no task itself
        rank = Rank("srun", int(there["SLURM_PROCID"]), int(there["SLURM_STEP_NUM_TASKS"]))
    else:
        return None
    return rank if rank.world > 1 else None


def announce(word: str) -> None:
    """Rank 0's word to the others, once: "train", or the code to exit with."""
    rank = find_rank()
    if rank is None or rank.number > 0 or TOLD:
        return
    TOLD.append(rank.store())
    TOLD[0].set("word", word)
    TOLD[0].wait([f"heard {number}" for number in range(1, rank.world)])


@contextlib.contextmanager
def announce_end() -> Iterator[None]:
    """Let nobody wait in vain, however rank 0 ends."""
    try:
        yield
    except BaseException:
        announce("1")
        raise
    announce("0")


RANK_ZERO_DECIDED = "TRAIN_RUN_DIRECTORY"  # tells the other processes of a DDP run where rank 0 has begun
