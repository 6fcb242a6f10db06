"""Examine an installation: what is here, what is missing, and the line that installs it."""

from pathlib import Path

from distillir.doctor.findings import Examination, Finding
from distillir.doctor.machine import examine_machine
from distillir.doctor.packages import examine_packages
from distillir.doctor.weights import examine_weights

__all__ = ["Examination", "Finding", "examine"]


def examine(folder: Path | None = None) -> Examination:
    """Look at interpreter, packages, machine and weights; nothing is downloaded or changed.

    Args:
        folder: where runs will be written; by default the working folder.
    """
    machine = list(examine_machine(folder or Path()))
    first = [one for one in machine if one.section == "python"]
    return Examination((*first, *examine_packages(), *machine[len(first) :], *examine_weights()))
