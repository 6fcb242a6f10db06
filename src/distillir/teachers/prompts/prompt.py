"""A prompt: instructions, examples, and a template with named fields.

    system: …                 optional
    user: "… {question} …"    a chat's last message; without it the turns of the context follow as a chat
    shots:                    examples, laid out by the same template
      - {question: …, reply: …}

or, for a likelihood, `text: "… {document}"` (plain, no chat) and `continuation: " {query}"`, the scored part.
Only the fields of the teacher are replaced; other braces stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from distillir.errors import ConfigError
from distillir.labels import count_tokens, prompt_version
from distillir.teachers.requests import Message

REPLY = "reply"
KEYS = ("system", "user", "shots", "text", "continuation")
FIELD = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Prompt:
    """A prompt that was read and checked.

    Attributes:
        name: of the packaged file, or the path of the user's.
        system: instructions, "" for none.
        user: template of the last message, "" where the turns of the context stand in its place.
        shots: examples: field → value, and "reply".
        text: template of a plain text, in place of a chat.
        continuation: template of what is scored behind it.
    """

    name: str
    system: str = ""
    user: str = ""
    shots: tuple[Mapping[str, str], ...] = ()
    text: str = ""
    continuation: str = ""

    @cached_property
    def version(self) -> str:
        """Changes with any word of it, not with the file's name or comments: part of every label's key."""
        content = {name: getattr(self, name) for name in KEYS}
        return prompt_version(content | {"shots": [dict(shot) for shot in self.shots]})

    @property
    def tokens(self) -> int:
        """About how many tokens it adds to what is asked."""
        shots = "".join("".join(shot.values()) + self.user for shot in self.shots)
        return count_tokens(self.system + shots + self.user + self.text)

    def messages(self, fields: Mapping[str, str], turns: Sequence[Message] = ()) -> tuple[Message, ...]:
        """The chat that is sent.

        Args:
            fields: of the template.
            turns: of the context, where the prompt has no template of its own.
        """
        return (*self._head, Message("user", fill(self.user, fields))) if self.user else (*self._head, *turns)

    @cached_property
    def _head(self) -> tuple[Message, ...]:
        """What all chats begin with: one object, however many there are."""
        chat = [Message("system", self.system)] if self.system else []
        for shot in self.shots:
            chat += [Message("user", fill(self.user, shot)), Message("assistant", shot[REPLY])]
        return tuple(chat)

    def before(self, fields: Mapping[str, str], turns: Sequence[Message] = ()) -> str | tuple[Message, ...]:
        """What a continuation follows: a plain text, or a chat."""
        return fill(self.text, fields) if self.text else self.messages(fields, turns)


def fill(template: str, fields: Mapping[str, str]) -> str:
    """A template with its fields replaced, in one go: a value that holds "{question}" stays as it is."""
    return FIELD.sub(lambda match: fields.get(match[1], match[0]), template)


def builtin_prompts() -> list[str]:
    """Names of the packaged prompts."""
    folder = files("distillir.teachers") / "prompts"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def load_prompt(name: str | Path, fields: Sequence[str], scored: Sequence[str] = ()) -> Prompt:
    """A packaged prompt by its name, or a YAML file by its path.

    Args:
        name: "rewrite", …, or a path that ends in .yaml or .yml.
        fields: what the teacher fills in. Each must occur in `user` or `text`; where none is expected, neither may
            stand there.
        scored: the same of `continuation`.

    Raises:
        ConfigError: no such prompt, YAML that cannot be read, an unknown key, a field that is missing or unknown.
    """
    where, prompt = str(name), read_prompt(name)[0]
    template = f"{prompt.user} {prompt.text}".strip()
    if fields or template:
        _check_fields(where, "user or text", template, fields)
    if scored or prompt.continuation:
        _check_fields(where, "continuation", prompt.continuation, scored)
    for i, shot in enumerate(prompt.shots, 1):
        if set(shot) != {*fields, REPLY}:
            raise ConfigError(f"{where}, shot {i} has {', '.join(shot)}", f"give {', '.join([*fields, REPLY])}")
    return prompt


def prompt_texts(own: Sequence[str | Path] = ()) -> dict[str, str]:
    """Version → YAML of every packaged prompt, and of files of one's own.

    Raises:
        ConfigError: a file that holds no prompt.
    """
    return {prompt.version: text for prompt, text in map(read_prompt, [*builtin_prompts(), *own])}


def read_prompt(name: str | Path) -> tuple[Prompt, str]:
    """A prompt as `load_prompt` takes it, whatever its fields, and its YAML.

    Raises:
        ConfigError: no such prompt, YAML that cannot be read, an unknown key.
    """
    import yaml

    where = str(name)
    source = Path(name) if Path(name).suffix in (".yaml", ".yml") else _packaged(where)
    try:
        text = str(source.read_text(encoding="utf-8"))
        content = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror or error}", "give the path of a prompt file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} is no readable YAML: {' '.join(str(error).split())[:200]}", "mend it") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{where} holds no prompt", f"give a mapping with {', '.join(KEYS)}")
    return _checked(where, content), text


def _packaged(name: str) -> Any:
    known = builtin_prompts()
    if name not in known:
        raise ConfigError(f"no prompt {name!r}", f"use one of {', '.join(known)}, or the path of a .yaml file")
    return files("distillir.teachers") / "prompts" / f"{name}.yaml"


def _checked(where: str, content: Mapping[Any, Any]) -> Prompt:
    unknown = [str(key) for key in content if key not in KEYS]
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}", f"known are {', '.join(KEYS)}")
    texts = {key: value for key, value in content.items() if key != "shots"}
    shots = content.get("shots") or []
    plain = all(isinstance(text, str) for text in texts.values())
    listed = isinstance(shots, list) and all(
        isinstance(shot, dict) and all(isinstance(part, str) for part in (*shot, *shot.values())) for shot in shots
    )
    if not plain or not listed:
        raise ConfigError(f"{where}: something is no text", "quote it; shots are a list of mappings of texts")
    if texts.get("text") and (texts.get("user") or texts.get("system") or shots):
        raise ConfigError(f"{where} is a plain text and a chat", "give `text`, or `system`, `user` and `shots`")
    if shots and not texts.get("user"):
        raise ConfigError(f"{where} has shots and no template", "give `user`")
    return Prompt(where, shots=tuple(shots), **texts)


def _check_fields(where: str, part: str, template: str, fields: Sequence[str]) -> None:
    found = set(FIELD.findall(template))
    missing = [field for field in fields if field not in found]
    if missing or found - set(fields):
        odd = f"lacks {{{missing[0]}}}" if missing else f"has {{{sorted(found - set(fields))[0]}}}"
        raise ConfigError(f"{where}: {part} {odd}", f"its fields are {', '.join(fields) or 'none'}")
