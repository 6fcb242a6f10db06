"""The `engine:` line of a recipe: an engine by name, or its name with options."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, ClassVar
from urllib.parse import urlsplit

from distillir.errors import ConfigError
from distillir.vectors.two_phase import TwoPhase

EngineLine = str | Mapping[str, Any]
"""An engine by name, or a mapping of its `name` and options."""


@dataclass(frozen=True)
class NoOptions:
    """Of engines that have none."""


@dataclass(frozen=True)
class RemoteOptions:
    """Where an engine runs that is not in this process.

    Attributes:
        collection: name under which others find the documents once all are there. Required: it is the one thing in the
            engine that belongs to this index.
        url: of the engine; empty = the environment variable `URL_ENV`, so that a recipe may move between machines.
        key_env: environment variable with the API key or token. The key itself is neither stored nor logged.
        timeout: seconds for one request, at least 1.
        retries: further attempts of a request that met a failure which may pass; each may be repeated without harm.
        shards, replicas: of a new collection; None = as the engine is set up.
    """

    collection: str = ""
    url: str = ""
    key_env: str = ""
    timeout: float = 30.0
    retries: int = 4
    shards: int | None = None
    replicas: int | None = None

    NAME: ClassVar[str] = ""
    OF_REQUESTS: ClassVar[frozenset[str]] = frozenset({"key_env", "timeout", "retries"})
    """Options that say how an index is asked. They may change while the documents stay where they are."""
    URL_ENV: ClassVar[str] = ""
    KEY_ENV: ClassVar[str] = ""
    EXAMPLE_URL: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,99}", str(self.collection)) or "__" in self.collection:
            given = f"{self.collection!r} is no name of a collection" if self.collection else "no collection is named"
            raise ConfigError(
                f"engine {self.NAME}: {given}",
                f"engine: {{name: {self.NAME}, url: {self.EXAMPLE_URL}, collection: docs}}; no __ in it",
            )
        if not isinstance(self.timeout, int | float) or not 1 <= self.timeout <= 3600:
            raise ConfigError(f"engine {self.NAME}: timeout is {self.timeout!r}", "give 1 to 3600 seconds")
        for name, least in (("retries", 0), ("shards", 1), ("replicas", 1)):
            value = getattr(self, name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 99
            ):
                raise ConfigError(f"engine {self.NAME}: {name} is {value!r}", f"give {least} to 99")
        if self.url:
            self._check_address(self.url, "url")

    def address(self) -> str:
        """The engine's address.

        Raises:
            ConfigError: none is given.
        """
        found = self.url or os.environ.get(self.URL_ENV, "").strip()
        if not found:
            raise ConfigError(
                f"engine {self.NAME}: no address", f"give url: {self.EXAMPLE_URL}, or export {self.URL_ENV}"
            )
        self._check_address(found, "url" if self.url else self.URL_ENV)
        return found

    def key(self) -> str:
        """The key from the environment, empty where there is none."""
        return os.environ.get(self.key_env or self.KEY_ENV, "").strip()

    def _check_address(self, url: str, where: str) -> None:
        """The message never repeats the address: it may hold a password."""
        try:
            parts = urlsplit(url)
            fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fine = False
        if not fine:
            raise ConfigError(f"engine {self.NAME}: {where} is no address", f"give it like {self.EXAMPLE_URL}")
        if parts.username or parts.password or parts.query:
            raise ConfigError(
                f"engine {self.NAME}: {where} carries a user, a password or a query",
                f"give the address alone, and export the key as {self.key_env or self.KEY_ENV}",
            )


@dataclass(frozen=True)
class QdrantOptions(RemoteOptions):
    """Of a Qdrant server or cluster; see `RemoteOptions`.

    Attributes:
        two_phase: how a search is split, a mapping in a recipe; None = all of a query's terms search.
    """

    two_phase: TwoPhase | None = None

    NAME: ClassVar[str] = "qdrant"
    OF_REQUESTS: ClassVar[frozenset[str]] = RemoteOptions.OF_REQUESTS | {"two_phase"}
    URL_ENV: ClassVar[str] = "DISTILLIR_QDRANT_URL"
    KEY_ENV: ClassVar[str] = "DISTILLIR_QDRANT_API_KEY"
    EXAMPLE_URL: ClassVar[str] = "http://127.0.0.1:6333"

    def __post_init__(self) -> None:
        super().__post_init__()
        given: Any = self.two_phase
        if isinstance(given, Mapping):
            known = [field.name for field in fields(TwoPhase)]
            for option in given:
                if option not in known:
                    raise ConfigError(
                        f"engine {self.NAME}: two_phase has no option {option!r}", f"it takes {', '.join(known)}"
                    )
            object.__setattr__(self, "two_phase", TwoPhase(**given))
        elif given is not None and not isinstance(given, TwoPhase):
            raise ConfigError(
                f"engine {self.NAME}: two_phase is {given!r}", "give its options, such as two_phase: {prune_ratio: 0.4}"
            )


@dataclass(frozen=True)
class MilvusOptions(RemoteOptions):
    """Of a Milvus server or cluster; see `RemoteOptions`."""

    NAME: ClassVar[str] = "milvus"
    URL_ENV: ClassVar[str] = "DISTILLIR_MILVUS_URL"
    KEY_ENV: ClassVar[str] = "DISTILLIR_MILVUS_TOKEN"
    EXAMPLE_URL: ClassVar[str] = "http://127.0.0.1:19530"


@dataclass(frozen=True)
class SeismicOptions:
    """How an index of Seismic is built and searched.

    Attributes:
        postings: of a term, on average, that are kept; more cost time and memory and find more.
        summary_energy: share of a block's weight that its summary keeps.
        query_terms: heaviest terms of a query whose lists are read; all count in the scores.
        heap_factor: blocks are skipped whose summary promises less than the k-th best over this. Lower = faster,
            higher = more is found.
    """

    postings: int = 3500
    summary_energy: float = 0.4
    query_terms: int = 32
    heap_factor: float = 0.9

    def __post_init__(self) -> None:
        for name, kind, least, most in (
            ("postings", int, 1, 10**9),
            ("summary_energy", int | float, 0.01, 1),
            ("query_terms", int, 1, 10**6),
            ("heap_factor", int | float, 0.01, 1),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
                raise ConfigError(f"engine seismic: {name} is {value!r}", f"give {least} to {most}")


Options = NoOptions | RemoteOptions | SeismicOptions


def checked_options(engine: str, kind: type[Options], given: Mapping[str, Any]) -> Options:
    """Options of an engine.

    Raises:
        ConfigError: an unknown option, or a value that cannot be.
    """
    known = [field.name for field in fields(kind)]
    for option in given:
        if option in ("api_key", "token", "password"):
            raise ConfigError(
                f"engine {engine}: a key has no place in a file", "export it, and name the variable under key_env"
            )
        if option not in known:
            raise ConfigError(
                f"engine {engine}: unknown option {option!r}", f"it takes {', '.join(known) or 'no options'}"
            )
    return kind(**given)


def dump_options(options: Options) -> dict[str, Any]:
    """What differs from the defaults; `read_engine` reads it back."""
    defaults = {field.name: field.default for field in fields(options) if field.default is not MISSING}
    return {name: value for name, value in asdict(options).items() if value != defaults.get(name)}
