"""YAML as people write it: `1e-4` is a number, and a key given twice is an error."""

from __future__ import annotations

import json
import re
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from distillir.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """SafeLoader reads YAML 1.1, in which `1e-4` is a text and the last of two equal keys wins unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(path: Path | Traversable) -> Any:
    """What a YAML file holds.

    Raises:
        ConfigError: missing, unreadable, or not YAML, naming the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8", "convert the file to UTF-8") from error
    return parse_yaml(text, path)


def parse_yaml(text: str, name: object) -> Any:
    """What a text in YAML holds; `name` tells where it is from.

    Raises:
        ConfigError: not YAML, naming the line.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else str(name)
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{place}: not YAML: {reason}", "correct that line") from error


def quoted(value: str) -> str:
    """A text as YAML reads it back; only quoted where it must be."""
    try:
        plain = yaml.load(f"key: {value}", _Loader) == {"key": value}  # noqa: S506 - a SafeLoader
    except yaml.YAMLError:
        plain = False
    return value if plain or value in ("true", "false") else json.dumps(value, ensure_ascii=False)
