"""The Ray cluster that work is spread over."""

from __future__ import annotations

import os
import socket
from typing import Any
from urllib.parse import urlsplit

from distillir.errors import ConfigError, DistillirError, MissingDependencyError

ANSWER = 10.0  # seconds in which an address answers; Ray itself waits for minutes


def connected(address: str | None = None) -> Any:
    """Ray, connected to a cluster.

    Args:
        address: of the cluster; None = the one this process is connected to, else the one that RAY_ADDRESS names, else
            one on this machine alone.

    Raises:
        MissingDependencyError: Ray is not installed. ConfigError: no cluster answers there.
    """
    try:
        import ray
    except ImportError:
        raise MissingDependencyError("ray", "ray") from None
    if not ray.is_initialized():
        named = address
        if address in (None, "auto"):  # then the environment comes first, as Ray has it
            named = os.environ.get("RAY_ADDRESS") or address
        try:
            _answers(named)
            ray.init(address=address, log_to_driver=False, include_dashboard=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"no Ray cluster at {named or 'this machine'}: {brief(error)}",
                "start it with `ray start --head`, or correct the address",
            ) from error
    return ray


def room(ray: Any, cpus: float, gpus: float, refusal: type[DistillirError]) -> int:
    """Workers that the machines of a cluster have room for, where each must lie on one machine.

    Args:
        ray: as `connected` gives it.
        cpus, gpus: of a worker, 0 where it needs none.
        refusal: class of the error where no machine can hold one: Ray would wait for such a machine without a word.

    Raises:
        DistillirError: of the class `refusal`.
    """
    needs = {kind: need for kind, need in (("CPU", cpus), ("GPU", gpus)) if need}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def holds(has: dict[str, float]) -> float:
        return min((has.get(kind, 0.0) / need for kind, need in needs.items()), default=1.0)

    # Ray counts in ten-thousandths: 0.3 processors hold three workers of 0.1.
    found = sum(int(holds(has) + 1e-4) for has in nodes)
    if found < 1:
        most: dict[str, float] = max(nodes, key=lambda has: (holds(has), has.get("CPU", 0.0)), default={})
        raise refusal(
            f"the cluster has no room for a worker of {_told(cpus, gpus)}",
            f"ask for what one machine has, or add a larger one: of {len(nodes)}, the largest has "
            f"{_told(most.get('CPU', 0.0), most.get('GPU', 0.0))}",
        )
    return found


def brief(error: Exception) -> str:
    """The cause at the end of what Ray says of a worker that was lost or a cluster that is not there."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1][:200]


def _told(cpus: float, gpus: float) -> str:
    return f"{cpus:g} processors and {gpus:g} accelerators"


def _answers(address: str | None) -> None:
    """Raise `OSError` where an address of host and port takes no connection; of other addresses Ray knows more."""
    scheme, _, place = (address or "").rpartition("://")
    parts = urlsplit(f"//{place}")
    if scheme in ("", "ray") and parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), ANSWER).close()
