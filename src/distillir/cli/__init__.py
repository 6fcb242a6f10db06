"""The command line: it parses and calls."""

from distillir.cli.app import main

__all__ = ["main"]
