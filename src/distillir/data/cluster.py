"""The Ray cluster that work is spread over."""

from __future__ import annotations

from typing import Any

from distillir.errors import MissingDependencyError


def connected(address: str | None = None) -> Any:
    """Ray, connected to a cluster.

    Args:
        address: of the cluster; None = the one this process is connected to, else the one that RAY_ADDRESS names, else
            one on this machine alone.

    Raises:
        MissingDependencyError: Ray is not installed.
    """
    try:
        import ray
    except ImportError:
        raise MissingDependencyError("ray", "ray") from None
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    return ray


def brief(error: Exception) -> str:
    """The cause at the end of what Ray says of a lost worker."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1][:200]
