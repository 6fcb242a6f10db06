"""The command line, called in this process."""

import sys

import pytest

from distillir.cli import main


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs `distillir ARGUMENTS` in this process: exit code, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["distillir", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as left:
            code = left.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run
