"""A Slurm cluster of two nodes with a CPU each, on this machine, for the time of a test."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

DAEMONS = ("munged", "slurmctld", "slurmd")
ENDS = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
NODES = ("127.0.0.1", "second")
"""The first one's name is an address too: where the tasks of a job look for each other."""

_PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
"""Jobs inherit it from what submits them, and with it the environment of the tests."""

_CONFIG = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
# The port at which tasks meet follows from the job's number.
FirstJobId={controller_port}
SlurmUser={user}
SlurmdUser={user}
# A requeued job waits until its credentials have expired: two minutes, unless told otherwise.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,kill_invalid_depend
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
{nodes}
PartitionName=batch Nodes=ALL Default=YES PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=off
"""


def missing_daemons() -> list[str]:
    """Those that are not installed."""
    return [name for name in DAEMONS if not shutil.which(name, path=_PATH)]


@dataclass(frozen=True)
class Cluster:
    """A running cluster; `environment` is what makes Slurm's commands talk to it."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str) -> str:
        """What a command prints."""
        result = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}{self.logs()}"
        return result.stdout

    def submit(self, *arguments: str) -> str:
        """The id of a new job."""
        return self.run("sbatch", "--parsable", *arguments).strip()

    def show(self, job: str) -> dict[str, str]:
        """What the controller knows of a job, such as JobState, Restarts and ExitCode."""
        fields = self.run("scontrol", "show", "job", "--oneliner", job).split()
        return dict(field.split("=", 1) for field in fields if "=" in field)

    def wait_for(
        self, job: str, state: str, condition: Callable[[], bool] = lambda: True
    ) -> dict[str, str]:
        """What is known of a job when it is in a state, and when something else is the case.

        Raises:
            AssertionError: with what it and its neighbours printed, if it ends in another state.
        """

        def there() -> bool:
            now = self.show(job)["JobState"]
            return (now == state and condition()) or now in {*ENDS} - {state}

        wait_until(there, timeout_s=150)
        found = self.show(job)
        outputs = Path(found["StdOut"]).parent.glob("*.out")
        printed = "".join(f"\n{path.name}:\n{path.read_text()}" for path in outputs)
        assert found["JobState"] == state, f"{found['JobState']}, not {state}{printed}{self.logs()}"
        return found

    def logs(self) -> str:
        """The last lines of every daemon, for the message of a test that fails."""
        paths = sorted(self.folder.glob("*.log"))
        return "".join(f"\n{path.name}: {path.read_text()[-2000:]}" for path in paths)


def wait_until(condition: Callable[[], object], timeout_s: float) -> None:
    """Raises AssertionError if `condition` has not come true by then."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {timeout_s} s"
        time.sleep(0.1)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Everything lies in a new folder of a short name (of sockets: 108 bytes), and goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    environment = os.environ | {"PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf")}
    cluster = Cluster(folder, environment)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(_kill_all, folder)
        _configure(folder)
        for name, command in _daemons(folder):
            log = stack.enter_context((folder / f"{name}.log").open("ab"))
            daemon = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            stack.enter_context(daemon)
            stack.callback(daemon.kill)
        wait_until(lambda: _num_idle(cluster) == len(NODES), timeout_s=30)
        yield cluster


def _configure(folder: Path) -> None:
    controller_port, *node_ports = _free_ports(1 + len(NODES))
    nodes = [
        f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=1"
        for name, port in zip(NODES, node_ports, strict=True)
    ]
    user = pwd.getpwuid(os.getuid()).pw_name
    content = _CONFIG.format(
        folder=folder, controller_port=controller_port, nodes="\n".join(nodes), user=user
    )
    (folder / "slurm.conf").write_text(content)
    for name in ("state", *NODES):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))


def _daemons(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The name of each, and its command in the foreground, with messages on standard error."""
    files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "seed")]
    socket_option = f"--socket={folder}/munge.socket"
    yield "munged", ["munged", "--foreground", "--force", socket_option, *files]
    yield "slurmctld", ["slurmctld", "-D"]
    for name in NODES:
        yield name, ["slurmd", "-D", "-N", name]


def _free_ports(num: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(num)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _num_idle(cluster: Cluster) -> int:
    command = ["sinfo", "--noheader", "--Node", "--format=%N %t", "--partition=batch"]
    result = subprocess.run(
        command, env=cluster.environment, capture_output=True, text=True, check=False, timeout=60
    )
    return result.stdout.count(" idle")


def _kill_all(folder: Path) -> None:
    """Tasks and what watches over them, which outlive the daemons."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if _is_of(folder, process):
                process.kill()
                process.wait(10)


def _is_of(folder: Path, process: psutil.Process) -> bool:
    """Tasks know where the configuration is; a slurmstepd wipes what it knew, and has a socket."""
    sockets = [str(connection.laddr) for connection in process.net_connections("unix")]
    return str(folder) in process.environ().get("SLURM_CONF", "") or any(
        address.startswith(f"{folder}/") for address in sockets
    )
