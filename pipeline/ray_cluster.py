"""The connection to a Ray cluster, or one that is started on this machine."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from pipeline.config import UserError

CONNECT_TIMEOUT_S = 10.0


def connect(address: str, field: str, variables: Mapping[str, str] | None = None) -> Any:
    """Ray, initialised; as it is, if it is already.

    Args:
        address: HOST:PORT, or "auto" for the cluster of this machine; empty starts one.
        field: of the config that the address is from.
        variables: of the environment of processes on the cluster; those of one that is started
            here have this process's.

    Raises:
        UserError: if there is no cluster.
    """
    import ray

    if ray.is_initialized():
        return ray
    try:
        if address and address != "auto":  # Ray finds it, or says at once that there is none
            _knock(address)
        ray.init(
            address=address or "local",
            include_dashboard=False,
            log_to_driver=False,
            # Nobody can see the metrics of a cluster without a dashboard.
            _system_config=None if address else {"enable_metrics_collection": False},
            # Without one, Ray's workers start ahead of need: an actor begins four times as fast.
            runtime_env={"env_vars": dict(variables)} if address and variables else None,
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"there is no Ray cluster at {field}={address!r} ({error}): give the HOST:PORT that"
            " `ray start --head` prints, and its RAY_AUTH_MODE and token if it has one; or leave"
            f" {field} empty"
        ) from error
    return ray


def _knock(address: str) -> None:
    """Raises OSError or ValueError at once if nobody listens; Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S):
        pass
