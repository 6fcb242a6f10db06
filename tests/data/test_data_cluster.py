"""A Ray cluster that is not there, and one whose machines are too small."""

import socket
import sys
from types import SimpleNamespace

import pytest

from distillir.data import cluster
from distillir.errors import ConfigError, VectorsError


@pytest.fixture
def init(monkeypatch):
    """Stands in for Ray: what its `init` raises, and the addresses it was called with."""
    asked = []

    def start(address, **_):
        asked.append(address)
        if error := ray.error:
            raise error

    ray = SimpleNamespace(is_initialized=lambda: False, init=start, error=None, asked=asked)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return ray


@pytest.mark.parametrize("kind", [ConnectionError, TimeoutError, RuntimeError, ValueError])
def test_a_cluster_that_is_not_there_is_an_error_of_the_address(init, kind):
    init.error = kind("Could not find\nany running Ray instance.")
    with pytest.raises(ConfigError, match=r"no Ray cluster at auto: any running Ray.* → start it with `ray start"):
        cluster.connected("auto")
    with pytest.raises(ConfigError, match="no Ray cluster at this machine"):
        cluster.connected()


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
@pytest.mark.parametrize("named", ["given", "RAY_ADDRESS", "auto"])
def test_an_address_that_takes_no_connection_is_refused_before_ray_waits_for_it(init, monkeypatch, form, named):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = form.format(free.getsockname()[1])
    if named != "given":
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=f"no Ray cluster at {address}: .* → .* or correct the address"):
        cluster.connected({"given": address, "auto": "auto"}.get(named))
    assert init.asked == []


def test_what_answers_and_what_only_ray_can_read_goes_to_ray(init, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # which "local" overrules
        for address in (there, f"ray://{there}", "local", "elsewhere://name"):
            assert cluster.connected(address) is init
    assert init.asked == [there, f"ray://{there}", "local", "elsewhere://name"]
    with pytest.raises(ConfigError, match=r"no Ray cluster at 127\.0\.0\.1:many"):
        cluster.connected("127.0.0.1:many")


def machines(*resources):
    nodes = [{"Alive": True, "Resources": dict(zip(("CPU", "GPU"), has, strict=False))} for has in resources]
    return SimpleNamespace(nodes=lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 999.0, "GPU": 99.0}}])


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "fitting"),
    [
        ([(2.0,)] * 4, 1.0, 0.0, 8),
        ([(3.0,)] * 4, 2.0, 0.0, 4),  # and not 12 // 2
        ([(8.0, 1.0), (8.0,), (1.0, 4.0)], 2.0, 1.0, 1),
        ([(8.0, 1.0)], 1.0, 0.25, 4),
        ([(0.3,)], 0.1, 0.0, 3),
        ([(2.0,), ()], 0.0, 0.0, 2),
    ],
)
def test_room_is_counted_by_machine(resources, cpus, gpus, fitting):
    assert cluster.room(machines(*resources), cpus, gpus, VectorsError) == fitting


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "message"),
    [
        ([(2.0,)] * 4, 4.0, 0.0, r"worker of 4 processors and 0 accelerators → .*of 4, .* has 2 processors and 0 acc"),
        ([(2.0,), (8.0,)], 1.0, 1.0, r"of 1 processors and 1 accelerators → .*of 2, .* has 8 processors and 0 acc"),
        ([(16.0,), (1.0, 1.0)], 2.0, 1.0, r"→ .*of 2, the largest has 1 processors and 1 accelerators"),
        ([], 1.0, 0.0, "no room"),
    ],
)
def test_machines_that_are_all_too_small_are_named(resources, cpus, gpus, message):
    with pytest.raises(VectorsError, match=message):
        cluster.room(machines(*resources), cpus, gpus, VectorsError)
