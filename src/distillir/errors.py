"""Every error DistillIR raises on purpose.

DistillirError
├── ConversationError    messages that cannot be read as a conversation
├── DataError            a file or row that cannot be read: file, line, reason
├── VectorsError         stored vectors that are missing, truncated or of another shape
├── LabelError           the label store: schema, lease, duplicate, place
├── ModelError           a checkpoint that cannot serve as what was asked
├── ObjectiveError       an objective paired with outputs or targets it cannot read
├── SamplingError        no candidates to draw from
├── TrainingError        a run that cannot go on
│   └── CollapseError    all dimensions on, all off, or a loss that is not a number
├── SearchIndexError     an index that is missing, locked or of another vocabulary
├── EvaluationError      runs and qrels that do not fit together
├── ConfigError          an option that is unknown or contradicts another
├── ServiceError         a request that the service does not answer: its HTTP status
└── MissingDependencyError  an optional package that is not installed

Each carries a cause (what happened, with names and numbers) and a cure (what to do next).
"""

from __future__ import annotations

from pathlib import Path


class DistillirError(Exception):
    """Base of every deliberate error.

    Args:
        cause: what happened, naming the file, value or model.
        cure: what the reader can do about it; printed behind an arrow.
    """

    def __init__(self, cause: str, cure: str = "") -> None:
        self.cause = cause
        self.cure = cure
        super().__init__(f"{cause} → {cure}" if cure else cause)


class ConversationError(DistillirError):
    """Messages that cannot be read as a conversation."""


class DataError(DistillirError):
    """A file or row that cannot be read.

    Args:
        path: the file.
        reason: what is wrong with it.
        line: 1-based line of the offending row, when there is one.
        cure: what to do about it.
    """

    def __init__(self, path: str | Path, reason: str, *, line: int | None = None, cure: str = "") -> None:
        self.path = Path(path)
        self.line = line
        self.reason = reason
        place = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{place}: {reason}", cure)


class VectorsError(DistillirError):
    """Stored vectors that are missing, truncated or of another shape."""


class LabelError(DistillirError):
    """The label store refused: schema, lease, duplicate or place."""


class ModelError(DistillirError):
    """A checkpoint that cannot serve as what was asked of it."""


class ObjectiveError(DistillirError):
    """An objective paired with outputs or targets it cannot read."""


class SamplingError(DistillirError):
    """There are no candidates to draw from, or not enough."""


class TrainingError(DistillirError):
    """A training run that cannot go on."""


class CollapseError(TrainingError):
    """All dimensions on, all off, or a loss that is not a number."""


class SearchIndexError(DistillirError):
    """An index that is missing, locked or built for another vocabulary."""


class EvaluationError(DistillirError):
    """Runs and judgements that do not fit together."""


class ConfigError(DistillirError):
    """An option that is unknown or contradicts another."""


class ServiceError(DistillirError):
    """A request that the service does not answer.

    Args:
        status: of HTTP: 4xx where the request is at fault, 503 or 504 where the service is.
        cause, cure: as every error's.
        wait: seconds after which another attempt is worth it; sent as Retry-After.
    """

    def __init__(self, status: int, cause: str, cure: str = "", *, wait: int | None = None) -> None:
        self.status = status
        self.wait = wait
        super().__init__(cause, cure)


class MissingDependencyError(DistillirError):
    """An optional package is not installed.

    Args:
        package: distribution name as pip knows it.
        extra: the extra of distillir that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"the package {package!r} is not installed", f'pip install "distillir[{extra}]"')
