"""Find this process among those that torchrun or SLURM's srun has started for one run, and follow rank 0.

Only rank 0 checks whether the run is finished, holds its lock and empties its directory (fresh=true). The others wait
for its decision before they look at anything: a node's view of a shared file system may be some seconds old.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.fabric.plugins.environments import ClusterEnvironment
    from torch.distributed import Store

NODE_GPUS = "TRAIN_NODE_GPUS"  # where jobs are for other machines than this one: the GPUs of each of those
RANK_ZERO_DECIDED = "TRAIN_RUN_DIRECTORY"  # tells the other processes of a DDP run which directory rank 0 uses
PATIENCE = timedelta(days=1)  # rank 0 may have a data set to download first


# the store through which rank 0 has announced its decision: were it freed, it would close for all ranks
ANNOUNCED: "list[Store]" = []


@dataclass(frozen=True)
class Rank:
    """Identify this process among those of its run."""

    starter: str  # torchrun or srun
    number: int
    world: int

    def find_environment(self) -> "ClusterEnvironment":
        """Return the environment that tells Lightning this process' rank, and where rank 0 is."""
        from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

        return TorchElasticEnvironment() if self.starter == "torchrun" else SLURMEnvironment(auto_requeue=False)

    def open_store(self) -> "Store":
        """Open the store of named values that all processes share."""
        from torch.distributed import rendezvous

        places = self.find_environment()
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = places.main_address, str(places.main_port)
        store: Store = next(rendezvous("env://", self.number, self.world, timeout=PATIENCE))[0]
        return store

    def wait_for_decision(self) -> None:
        """Wait for rank 0's decision: return where there is training to do, else exit with the same code."""
        store = self.open_store()
        word = store.get("word").decode()
        store.set(f"heard {self.number}", word)
        if word != "train":
            sys.exit(int(word))


def find_rank() -> Rank | None:
    """Return this process' rank; None where it is alone, or Lightning starts the others itself."""
    variables = os.environ
    if "TORCHELASTIC_RUN_ID" in variables:
        rank = Rank("torchrun", int(variables["RANK"]), int(variables["WORLD_SIZE"]))
    elif "SLURM_STEP_ID" in variables:  # an sbatch script has SLURM_NTASKS, too, but is no task itself
        rank = Rank("srun", int(variables["SLURM_PROCID"]), int(variables["SLURM_STEP_NUM_TASKS"]))
    else:
        return None
    return rank if rank.world > 1 else None


def announce(word: str) -> None:
    """Announce rank 0's decision to the other ranks, once: "train", or the code to exit with."""
    rank = find_rank()
    if rank is None or rank.number > 0 or ANNOUNCED:
        return
    ANNOUNCED.append(rank.open_store())
    ANNOUNCED[0].set("word", word)
    ANNOUNCED[0].wait([f"heard {number}" for number in range(1, rank.world)])


@contextlib.contextmanager
def announce_end() -> Iterator[None]:
    """Announce the end of the block to the other ranks, however it ends, so that none of them waits for ever."""
    try:
        yield
    except BaseException:
        announce("1")
        raise
    announce("0")
