"""Weights: those that come in packages, and those in the hub's cache, with their licences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distillir.doctor.findings import Finding
from distillir.errors import ModelError

NON_COMMERCIAL = ("cc-by-nc", "non-commercial")


def examine_weights() -> Iterator[Finding]:
    """A finding a packaged model, checked by hash, and one a model in the hub's cache."""
    from distillir.students.packaged import PACKAGED, locate

    for name, weights in PACKAGED.items():
        try:
            locate(weights)
        except ModelError as error:
            yield Finding("weights", name, "optional", error.cause, weights.install)
        else:
            fact = f"{weights.package} {weights.version}, hash as pinned, licence stated: {weights.licence}"
            yield Finding("weights", name, "ok", fact)
    yield from _cached()


def _cached() -> Iterator[Finding]:
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        cached = scan_cache_dir()
    except CacheNotFound:
        return
    for repo in sorted(cached.repos, key=lambda r: r.repo_id):
        if repo.repo_type == "model":
            licence = _licence([file.file_path for revision in repo.revisions for file in revision.files])
            restricted = any(word in licence.lower() for word in NON_COMMERCIAL)
            fact = f"in the hub's cache, {repo.size_on_disk_str}, licence stated: {licence}"
            yield Finding("weights", repo.repo_id, "ok", fact + (", not for commercial use" if restricted else ""))


def _licence(files: list[Path]) -> str:
    from huggingface_hub import ModelCard

    card = next((file for file in files if file.name == "README.md"), None)
    if card is None:
        return "none found"
    try:
        return str(ModelCard.load(card, ignore_metadata_errors=True).data.license or "none found")
    except (OSError, ValueError):
        return "unreadable"
