"""How many processes train together, which of them this one is, and who has started them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

from pipeline.config import Config, Precision, TrainerConfig, UserError, check_shares

_THIS_COMMAND = "this command"


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One process among those that share each batch."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    """Among the processes of this machine, of which there are `num_local`."""
    num_local: int = 1
    address: str = "127.0.0.1"
    """Where the process of rank 0 is found by the others, at `port`."""
    port: int = 0
    starter: str = _THIS_COMMAND
    """For messages: who has started the processes, or is to start them."""

    @property
    def starts_others(self) -> bool:
        """Whether the other processes are still to be started by this one."""
        return self.starter == _THIS_COMMAND and self.world_size > 1

    @property
    def device(self) -> torch.device:
        """This process's own; a launcher may let each process see one GPU alone."""
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", self.local_rank if torch.cuda.device_count() > 1 else 0)

    def variables(self, local_rank: int) -> dict[str, str]:
        """What torchrun would tell a process of this machine; all of them are on it."""
        return {
            "RANK": str(local_rank),
            "LOCAL_RANK": str(local_rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_WORLD_SIZE": str(self.num_local),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


def find_launch(config: Config) -> Launch:
    """What this process is, from the variables that launchers set; starts nothing.

    Raises:
        UserError: if the launcher has started another number of processes than the config asks
            for, they cannot share a batch equally, or the devices are too few or of another kind.
    """
    launch = _launched(os.environ) or _alone(config.trainer)
    _check_number(launch, config.trainer)
    check_shares(config.train, config.trainer, launch.world_size)
    _check_devices(config, launch)
    return launch


def _launched(variables: Mapping[str, str]) -> Launch | None:
    """By torchrun and what does as it does (Ray Train), or by srun; None if by nobody.

    A step of a single task is a command like any other (an interactive shell is one), and outside
    a step srun's variables describe an allocation, not processes.
    """
    if "RANK" in variables and "WORLD_SIZE" in variables:
        return Launch(
            rank=int(variables["RANK"]),
            world_size=int(variables["WORLD_SIZE"]),
            local_rank=int(variables.get("LOCAL_RANK", 0)),
            num_local=int(variables.get("LOCAL_WORLD_SIZE", 1)),
            address=variables.get("MASTER_ADDR", "127.0.0.1"),
            port=int(variables.get("MASTER_PORT", 0)),
            starter="torchrun" if "TORCHELASTIC_RUN_ID" in variables else "the launcher",
        )
    if int(variables.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        nodes = variables["SLURM_STEP_NODELIST"]
        job, step = int(variables["SLURM_JOB_ID"]), int(variables["SLURM_STEP_ID"])
        return Launch(
            rank=int(variables["SLURM_PROCID"]),
            world_size=int(variables["SLURM_STEP_NUM_TASKS"]),
            local_rank=int(variables["SLURM_LOCALID"]),
            num_local=_tasks_of_node(variables),
            address=variables.get("MASTER_ADDR")
            or SLURMEnvironment.resolve_root_node_address(nodes),
            port=int(variables.get("MASTER_PORT") or 15000 + (job + 1000 * step) % 10000),
            starter="srun",
        )
    return None


def _tasks_of_node(variables: Mapping[str, str]) -> int:
    """Of this node, from a list by node such as `4(x2),3`."""
    counts: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", variables["SLURM_STEP_TASKS_PER_NODE"]):
        counts += [int(count)] * int(times or 1)
    return counts[int(variables["SLURM_NODEID"])]


def _alone(trainer: TrainerConfig) -> Launch:
    if trainer.num_nodes > 1:
        raise UserError(
            f"trainer.num_nodes={trainer.num_nodes} machines need a launcher that starts this"
            " command on each of them: torchrun, srun or Ray Train, with trainer=ddp"
        )
    num = trainer.num_processes or max(1, torch.cuda.device_count())
    return Launch(world_size=num, num_local=num, port=_free_port() if num > 1 else 0)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _check_number(launch: Launch, trainer: TrainerConfig) -> None:
    """Never several trainings side by side that each believe to be the only one."""
    num_local = trainer.num_processes or launch.num_local
    num = num_local * trainer.num_nodes or launch.world_size
    if (num_local, num) != (launch.num_local, launch.world_size):
        raise UserError(
            f"{launch.starter} has started {launch.world_size} processes, {launch.num_local} of"
            f" them on this machine, and trainer.num_nodes={trainer.num_nodes} with"
            f" trainer.num_processes={trainer.num_processes} is another number: pass trainer=ddp,"
            " which takes as many as were started"
        )


def _check_devices(config: Config, launch: Launch) -> None:
    num_gpus = torch.cuda.device_count()
    sees_all = num_gpus > 1 or launch.starter == _THIS_COMMAND
    if num_gpus and sees_all and launch.num_local > num_gpus:
        raise UserError(
            f"{launch.num_local} processes on this machine need a GPU each, and it has {num_gpus}:"
            f" set trainer.num_processes={num_gpus}, or hide the GPUs with CUDA_VISIBLE_DEVICES=-1"
        )
    if config.train.precision == Precision.fp16 and not num_gpus:
        raise UserError(
            "train.precision=fp16 needs a GPU, and this machine has none: use train.precision=bf16"
            " or fp32, which run anywhere"
        )


class LaunchEnvironment(ClusterEnvironment):
    """What Lightning asks for, answered from a `Launch`: it neither looks around nor starts any."""

    def __init__(self, launch: Launch) -> None:
        super().__init__()
        self._launch = launch

    @property
    def creates_processes_externally(self) -> bool:
        """They run before Lightning does."""
        return True

    @property
    def main_address(self) -> str:
        """Of rank 0."""
        return self._launch.address

    @property
    def main_port(self) -> int:
        """Of rank 0."""
        return self._launch.port

    @staticmethod
    def detect() -> bool:
        """Never chosen by Lightning itself."""
        return False

    def world_size(self) -> int:
        """Over all machines."""
        return self._launch.world_size

    def set_world_size(self, size: int) -> None:
        """Is what it is: machines may have unequal numbers of processes."""

    def global_rank(self) -> int:
        """Over all machines."""
        return self._launch.rank

    def set_global_rank(self, rank: int) -> None:
        """Is what it is."""

    def local_rank(self) -> int:
        """On this machine."""
        return self._launch.local_rank

    def node_rank(self) -> int:
        """Right where machines have equal numbers; nothing but `set_global_rank` is told of it."""
        return self._launch.rank // self._launch.num_local
