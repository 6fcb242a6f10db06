"""Run folders that are made once, and services over copies of them."""

import shutil

import pytest
from served import Live

from distillir.recipes import SparseRecipe, index_alone
from distillir.serving import Source


@pytest.fixture(scope="session")
def animal_run(animals, tmp_path_factory):
    """A run folder with an untrained gate over forty documents; to be copied, never served itself."""
    folder = animals(tmp_path_factory.mktemp("animals"))
    for engine in ("exact", "qdrant_edge"):
        recipe = {name: folder / f"{name}.jsonl" for name in ("corpus", "train", "dev", "test")}
        index_alone(SparseRecipe(out=folder / engine, engine=engine, **recipe), quiet=True)
    return folder


@pytest.fixture
def run_folder(animal_run, tmp_path):
    """A copy of it: `run_folder()` or `run_folder("exact")`."""

    def copy(engine="qdrant_edge", name="run"):
        return shutil.copytree(animal_run / engine, tmp_path / name)

    return copy


@pytest.fixture
def live(run_folder):
    """Starts services and stops them: `live()`, `live(Source(…), settings, token=…)`."""
    running = []

    def start(source=None, settings=None, **options):
        made = Live(source or Source(run_folder()), settings, **options)
        running.append(made)
        return made

    yield start
    for one in running:
        if one.thread.is_alive():
            one.stop()


@pytest.fixture(scope="module")
def shared(animal_run, tmp_path_factory):
    """One service for tests that change nothing."""
    folder = tmp_path_factory.mktemp("shared")
    made = Live(Source(shutil.copytree(animal_run / "qdrant_edge", folder / "run")))
    yield made
    made.stop()
