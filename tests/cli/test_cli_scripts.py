"""The scripts of the repository hand their arguments on, and `scripts/bench` explains itself."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distillir.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_under_test", ROOT / "benchmarks" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def scripts(tmp_path):
    """A copy of the scripts in which nothing is installed and Python only says what it was given."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "scripts" / "setup").write_text("#!/usr/bin/env bash\n")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "distillir"):
        program = tmp_path / ".venv" / "bin" / name
        program.write_text(f'#!/usr/bin/env bash\nprintf "%s|" {name} "$@"; echo "$OMP_NUM_THREADS$HF_HUB_OFFLINE"\n')
        program.chmod(0o755)

    def run(*words):
        environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "HF_HUB_OFFLINE")}
        done = subprocess.run(
            ["bash", *words], cwd=tmp_path.parent, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    return lambda name, *words: run(str(tmp_path / "scripts" / name), *words)


def test_bench_without_a_name_lists_the_benchmarks(bench, capsys):
    assert bench.main([]) == 0
    out = capsys.readouterr().out
    assert "usage: scripts/bench" in out
    for name in bench.BENCHMARKS:
        assert name in out


def test_bench_with_an_unknown_name_prints_usage(bench, capsys):
    with pytest.raises(SystemExit) as left:
        bench.main(["speed"])
    assert left.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("usage: scripts/bench")
    assert "'speed'" in err


def test_the_list_of_benchmarks_needs_no_model_library():
    program = "import sys; from benchmarks.run import main; main([]); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("error", [ConfigError("no data", "give --data DIR"), FileNotFoundError("no data")])
def test_a_benchmark_that_cannot_run_ends_in_one_line(bench, monkeypatch, capsys, tmp_path, error):
    class Broken:
        @staticmethod
        def run(data, full):
            raise error

    monkeypatch.setattr(bench, "import_module", lambda name: Broken)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    assert bench.main(["mtrag"]) == 1
    printed = capsys.readouterr()
    assert printed.err == f"error: {error}\n"
    assert printed.out == ""
    assert not (tmp_path / "results").exists()


def test_a_result_is_kept_with_what_it_was_measured_on_and_printed_last(bench, monkeypatch, capsys, tmp_path):
    import json

    class Works:
        @staticmethod
        def run(data, full):
            sys.stdout.write("on the way\n")
            return {"data": str(data), "full": full}

    monkeypatch.setattr(bench, "import_module", lambda name: Works)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    assert bench.main(["mtrag", "--data", "somewhere", "--full"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    kept = json.loads((tmp_path / "results" / "mtrag_full.json").read_text())
    assert last == kept["result"] == {"data": "somewhere", "full": True}
    assert kept["versions"]["torch"]
    assert kept["machine"]["cores"] == os.cpu_count()
    assert set(kept) == {"result", "commit", "versions", "machine", "seconds", "full"}


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "scripts").iterdir() if p.is_file()))
def test_scripts_are_valid_and_say_how_they_are_called(name):
    script = ROOT / "scripts" / name
    subprocess.run(["bash", "-n", str(script)], check=True)
    head = script.read_text(encoding="utf-8").splitlines()
    assert head[0] == "#!/usr/bin/env bash"
    assert any(line.startswith("#   ") and f"scripts/{name}" in line for line in head[:12])
    assert "set -euo pipefail" in head


def test_demo_runs_the_quickstart_where_the_readme_looks(scripts):
    assert scripts("demo") == ["distillir|quickstart|--out|build/quickstart|1"]
    assert scripts("demo", "--json") == ["distillir|quickstart|--out|build/quickstart|--json|1"]
    assert scripts("demo", "--out", "a b") == ["distillir|quickstart|--out|a b|1"]
    assert scripts("demo", "--out=x") == ["distillir|quickstart|--out=x|1"]


def test_bench_and_test_hand_their_arguments_on(scripts):
    assert scripts("bench", "mtrag", "--data", "d") == ["python|-m|benchmarks.run|mtrag|--data|d|1"]
    assert scripts("bench") == ["python|-m|benchmarks.run|1"]
    (line,) = scripts("test", "-m", "slow")
    assert line == "python|-m|pytest|-n|2|--dist|loadfile|-m|slow|11"


def test_check_runs_all_three(scripts):
    assert scripts("check") == ["python|-m|ruff|check|", "python|-m|ruff|format|--check|", "python|-m|mypy|"]
