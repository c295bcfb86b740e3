"""Who has started how many processes, as their environments tell."""

from __future__ import annotations

import pytest
import torch

from pipeline.config import Config, Precision, TrainerConfig, UserError
from pipeline.training.launch import Launch, LaunchEnvironment, find_launch
from pipeline.training.processes import explain_lost_process
from tests.experiments import changed

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "10",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29400",
}
SLURM = {
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_STEP_NODELIST": "node[3-5]",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}
BATCH_SCRIPT = {
    "SLURM_JOB_ID": "1234",
    "SLURM_NTASKS": "5",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}
DDP = {"num_nodes": 0, "num_processes": 0}


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that nothing is launched in, without GPUs."""
    for name in [*TORCHRUN, *SLURM, *BATCH_SCRIPT, "TORCHELASTIC_RUN_ID"]:
        monkeypatch.delenv(name, raising=False)
    use_gpus(monkeypatch, 0)
    return monkeypatch


def use_gpus(monkeypatch: pytest.MonkeyPatch, num: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num > 0)


def launch(config: Config, monkeypatch: pytest.MonkeyPatch, **values: str) -> Launch:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return find_launch(config)


def place(found: Launch) -> tuple[int, int, int, int, str, int]:
    environment = LaunchEnvironment(found)
    return (
        environment.global_rank(),
        environment.world_size(),
        environment.local_rank(),
        found.num_local,
        environment.main_address,
        environment.main_port,
    )


@pytest.mark.parametrize("name", ["torchrun", "the launcher"])
def test_torchrun_and_ray_train_say_who_a_process_is(
    config: Config, variables: pytest.MonkeyPatch, name: str
) -> None:
    if name == "torchrun":
        variables.setenv("TORCHELASTIC_RUN_ID", "1")
    found = launch(changed(config, "trainer", **DDP), variables, **TORCHRUN)
    assert place(found) == (5, 10, 1, 2, "node0", 29400)
    assert found.starter == name
    assert not found.starts_others


def test_srun_says_who_a_process_is(config: Config, variables: pytest.MonkeyPatch) -> None:
    """On the second of three machines, of which the last has fewer tasks."""
    found = launch(changed(config, "trainer", **DDP), variables, **SLURM)
    assert place(found) == (3, 5, 1, 2, "node3", 16234)
    assert not found.starts_others


@pytest.mark.parametrize("num_tasks", [None, "1"], ids=["batch script", "step of one task"])
@pytest.mark.parametrize("trainer", [{}, DDP], ids=["single", "ddp"])
def test_a_command_inside_an_allocation_is_a_command(
    config: Config, variables: pytest.MonkeyPatch, num_tasks: str | None, trainer: dict[str, int]
) -> None:
    extra = {} if num_tasks is None else {"SLURM_STEP_NUM_TASKS": num_tasks}
    config = changed(config, "trainer", **trainer)
    found = launch(config, variables, **BATCH_SCRIPT, **extra)
    assert found == Launch()


def test_without_a_launcher_the_command_starts_the_others(
    config: Config, variables: pytest.MonkeyPatch
) -> None:
    found = find_launch(changed(config, "trainer", num_processes=2))
    assert (found.rank, found.world_size, found.num_local) == (0, 2, 2)
    assert found.starts_others
    child = launch(changed(config, "trainer", num_processes=2), variables, **found.variables(1))
    assert place(child) == (1, 2, 1, 2, "127.0.0.1", found.port)
    assert not child.starts_others


def test_without_a_launcher_there_is_a_process_per_gpu(
    config: Config, variables: pytest.MonkeyPatch
) -> None:
    use_gpus(variables, 5)
    found = find_launch(changed(config, "trainer", **DDP))
    assert found.world_size == 5
    assert found.starts_others
    assert find_launch(config).world_size == 1


def test_a_process_takes_its_own_gpu_or_the_only_one_that_it_sees(
    config: Config, variables: pytest.MonkeyPatch
) -> None:
    found = launch(changed(config, "trainer", **DDP), variables, **TORCHRUN)
    assert found.device == torch.device("cpu")
    use_gpus(variables, 2)
    assert found.device == torch.device("cuda", 1)
    use_gpus(variables, 1)
    assert found.device == torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("trainer", "environment", "num_gpus", "message"),
    [
        ({}, TORCHRUN, 0, "the launcher has started 10 processes, 2 of them .* trainer=ddp"),
        ({}, SLURM, 0, "srun has started 5 processes, .* trainer=ddp"),
        ({"num_processes": 2}, TORCHRUN, 0, "num_nodes=1 with .*num_processes=2 is another"),
        ({"num_nodes": 5, "num_processes": 1}, TORCHRUN, 0, "is another number"),
        ({"num_nodes": 4, "num_processes": 0}, TORCHRUN, 0, "is another number"),
        ({"num_nodes": 2}, {}, 0, "num_nodes=2 machines need a launcher.*torchrun, srun or Ray"),
        ({"num_nodes": 0, "num_processes": 0}, TORCHRUN | {"WORLD_SIZE": "4"}, 0, "batch_size=10"),
        ({"num_processes": 0, "accumulate": 2}, {}, 2, "batch_size=10.*2 processes.*accumulate=2"),
        ({"num_processes": 5}, {}, 2, "5 processes .* need a GPU each, and it has 2"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(
    config: Config,
    variables: pytest.MonkeyPatch,
    trainer: dict[str, int],
    environment: dict[str, str],
    num_gpus: int,
    message: str,
) -> None:
    use_gpus(variables, num_gpus)
    with pytest.raises(UserError, match=message):
        launch(changed(config, "trainer", **trainer), variables, **environment)


@pytest.mark.parametrize("trainer", [{"num_nodes": 5, "num_processes": 2}, {"num_nodes": 5} | DDP])
def test_numbers_that_go_together_are_not(
    config: Config, variables: pytest.MonkeyPatch, trainer: dict[str, int]
) -> None:
    assert launch(changed(config, "trainer", **trainer), variables, **TORCHRUN).world_size == 10


def test_fp16_needs_a_gpu(config: Config, variables: pytest.MonkeyPatch) -> None:
    config = changed(config, "train", precision=Precision.fp16)
    with pytest.raises(UserError, match=r"fp16 needs a GPU.*bf16 or fp32"):
        find_launch(config)
    use_gpus(variables, 1)
    assert find_launch(config).device.type == "cuda"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.distributed.DistBackendError("NCCL communicator was aborted"), "NCCL comm"),
        (
            torch.distributed.DistStoreError("Timed out after 2 seconds"),
            "Timed out after 2 seconds",
        ),
        (RuntimeError("[/a/gloo/pair.cc:5] Connection closed. Look."), r"\(Connection closed\)"),
    ],
)
def test_errors_of_the_connection_are_explained(error: Exception, reason: str) -> None:
    found = explain_lost_process(error, Launch(rank=1, world_size=4), TrainerConfig(timeout_s=7))
    assert isinstance(found, UserError)
    assert found.args[0].startswith("process 1 of 4 ends because another one has ended")
    assert "trainer.timeout_s=7" in found.args[0]
    with pytest.raises(UserError, match=reason):
        raise found


def test_other_errors_are_not_explained_away() -> None:
    lost = Launch(world_size=4)
    for error in (RuntimeError("out of memory"), UserError("the loss is nan"), OSError("gloo")):
        assert explain_lost_process(error, lost, TrainerConfig()) is None
    error = torch.distributed.DistBackendError("of a single process")
    assert explain_lost_process(error, Launch(), TrainerConfig()) is None
