"""Two machines of a Ray cluster, which are two raylets on this one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def on_ray(test: Any) -> Any:
    """A slow test; what Ray itself leaves open or calls by old names is no error."""
    for kind in ("ResourceWarning", "DeprecationWarning", "FutureWarning"):
        test = pytest.mark.filterwarnings(f"ignore::{kind}")(test)
    return pytest.mark.slow(test)


@contextmanager
def two_raylets(importable: Path, memory: int = 80 * 2**20) -> Iterator[Any]:
    """One processor and one thread each; workers find modules of the folder `importable`."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'distillir[ray]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        paths = [str(importable), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        head = {"num_cpus": 1, "object_store_memory": memory, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.add_node(num_cpus=1, object_store_memory=memory)
            ray.init(address=cluster.address, log_to_driver=False)
            yield ray
        finally:
            ray.shutdown()
            cluster.shutdown()
