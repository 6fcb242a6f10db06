"""What a reader of data pays for: neither torch nor transformers."""

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "sentence_transformers", "accelerate")

REPORT = f"""
import sys
print("HEAVY", *(name for name in {HEAVY!r} if name in sys.modules))
"""

# The console script calls main; an option that prints and leaves does so through SystemExit.
HELP = """
import sys
sys.argv = ["distillir", "--help"]
try:
    {call}
except SystemExit as left:
    assert not left.code, left.code
"""


def loaded(program: str) -> tuple[list[str], str]:
    """Heavy packages that a program loads, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program + REPORT],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed, _, report = done.stdout.rpartition("HEAVY")
    return report.split(), printed


@pytest.mark.parametrize(
    "module",
    [
        "distillir",
        "distillir.data",
        "distillir.data.chats",
        "distillir.engines",
        "distillir.teachers",
        "distillir.labels",
        "distillir.evaluation",
        "distillir.vectors",
        "distillir.conversation",
        "distillir.rendering",
        "distillir.sampling",
    ],
)
def test_importing_loads_no_model_library(module):
    # A folder without an __init__ imports as well, and loads nothing at all.
    assert loaded(f"import sys, {module}; assert sys.modules['{module}'].__file__")[0] == []


@pytest.mark.parametrize(
    "call",
    [
        "from distillir.cli import main; main()",
        "import runpy; runpy.run_module('distillir.cli', run_name='__main__', alter_sys=True)",
    ],
    ids=["console script", "python -m"],
)
def test_help_loads_no_model_library(call):
    heavy, printed = loaded(HELP.format(call=call))
    assert heavy == []
    assert "Usage" in printed


def test_the_report_sees_a_heavy_import():
    assert "torch" in loaded("import torch")[0]
