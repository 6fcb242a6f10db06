"""A causal language model of transformers on this machine: a folder, a model id, or a GGUF file.

Questions asked at the same time are answered in batches; what their prompts begin with alike is computed once.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from distillir.errors import ConfigError
from distillir.teachers.batching import Batcher
from distillir.teachers.in_process import InProcess, name_of
from distillir.teachers.packaged_llm import PACKAGED_LLMS, cache_folder, gguf_of, sha256_of, written_whole
from distillir.teachers.requests import A, Answer, Choose, Failure, Generate, Pause, Question, Score, Usage, pause

if TYPE_CHECKING:
    from distillir.teachers.causal import CausalLM

MESSAGE_TOKENS = 16  # role and separators of one message, more than any template writes
KEPT = "smollm2-135m"  # small enough to be kept as safetensors, which load twenty times as fast


@dataclass(frozen=True)
class LocalSettings:
    """Which model, and how it runs.

    Attributes:
        model: a folder, a model id, a GGUF file, or a packaged model ("smollm2-135m", "qwen2.5-coder-1.5b").
        batch: rows that go through the model at once.
        dtype: number format of the weights: "float32", "bfloat16", "float16".
        device: of torch: "cpu", "cuda", "mps".
    """

    model: str
    batch: int = 8
    dtype: str = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.model or self.batch < 1:
            raise ConfigError(f"model {self.model!r}, batch {self.batch}", "name a model and a batch of 1 or more")


class LocalModel(InProcess[Question[Any], Answer | Failure]):
    """A model on this machine; see `Model`. Weights are read on entering, once, and stay until the object goes.

    Raises:
        ModelError: on entering: no such model, or none that generates text.
        MissingDependencyError: on entering: a GGUF file without the package that reads it.
    """

    def __init__(self, settings: LocalSettings | str) -> None:
        self.settings = settings if isinstance(settings, LocalSettings) else LocalSettings(settings)
        self._lm: CausalLM | None = None
        super().__init__(self.settings.batch)

    def bound(self, question: Question[Answer]) -> Usage:
        """No tokenizer makes more tokens than there are bytes."""
        if isinstance(question, Score):
            prompt = question.prompt
            size = (
                _bytes(prompt) if isinstance(prompt, str) else sum(_bytes(m.content) + MESSAGE_TOKENS for m in prompt)
            )
            return Usage(prompt_tokens=size + _bytes(question.continuation) + 1, calls=1)
        chat = cast("Generate | Choose", question)
        size = sum(_bytes(message.content) + MESSAGE_TOKENS for message in chat.messages)
        return Usage(size + 4 * MESSAGE_TOKENS, chat.n * chat.max_tokens if isinstance(chat, Generate) else 1, calls=1)

    async def ask(self, question: Question[A], *, pause: Pause = pause) -> A | Failure:
        """The answer, when its batch is done. Nothing is tried twice: the same question gives the same answer.

        Raises:
            ModelError: words of a `Choose` that no single token spells.
        """
        del pause
        self._need_read()
        return cast("A | Failure", await self._batches.ask(question))

    def _is_read(self) -> bool:
        return self._lm is not None

    def _batcher(self) -> Batcher[Question[Any], Answer | Failure]:
        return Batcher(self.settings.batch, _kind, self._answer)

    def _answer(self, questions: Sequence[Question[Any]]) -> Sequence[Answer | Failure]:
        from distillir.teachers import decoding

        lm, rows = cast("CausalLM", self._lm), self.settings.batch
        started = time.monotonic()
        answers: Sequence[Answer | Failure]
        if isinstance(questions[0], Generate):
            answers = decoding.generate(lm, cast("list[Generate]", questions), rows)
        elif isinstance(questions[0], Choose):
            answers = decoding.choose(lm, cast("list[Choose]", questions), rows)
        else:
            answers = decoding.score(lm, cast("list[Score]", questions), rows)
        share = Usage(seconds=(time.monotonic() - started) / len(questions), calls=1, attempts=1)
        return [_signed(answer, share, self._name) for answer in answers]

    def _load(self) -> None:
        from distillir.teachers.causal import CausalLM

        asked, how = self.settings.model, (self.settings.dtype, self.settings.device)
        if asked in PACKAGED_LLMS or asked.endswith(".gguf"):
            path = gguf_of(asked)
            digest = PACKAGED_LLMS[asked].sha256[:8] if asked in PACKAGED_LLMS else sha256_of(path)[:8]
            if asked == KEPT:
                lm = CausalLM.load(_safetensors_of(path, digest), None, *how)
            else:
                lm = CausalLM.load(path.parent, path.name, *how)
            self._name = f"{asked if asked in PACKAGED_LLMS else path.stem}@{digest}"
        else:
            lm = CausalLM.load(asked, None, *how)
            self._name = name_of(asked, lm.model.config)
        self._lm = lm


def _signed(answer: Answer | Failure, share: Usage, model_id: str) -> Answer | Failure:
    usage = answer.usage + share
    return (
        replace(answer, usage=usage) if isinstance(answer, Failure) else replace(answer, usage=usage, model_id=model_id)
    )


def _kind(question: Question[Any]) -> Hashable:
    """What must agree within a batch."""
    if isinstance(question, Generate):
        how = (question.max_tokens, question.temperature, question.n, question.stop, question.logprobs, question.beams)
        return "Generate", *how
    return type(question).__name__


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _safetensors_of(path: Path, digest: str) -> Path:
    """The folder that a GGUF file was written to as safetensors, in float32, the first time it was needed."""
    folder = cache_folder() / f"{path.stem}-{digest}"

    def write(target: Path) -> None:
        from safetensors.torch import save_model

        from distillir.teachers.causal import CausalLM

        lm = CausalLM.load(path.parent, path.name)
        target.mkdir()
        save_model(lm.model, str(target / "model.safetensors"), metadata={"format": "pt"})
        config = lm.model.config
        del config.quantization_config  # the weights are float32 now, and not to be read as GGUF again
        config.save_pretrained(target)
        if lm.model.generation_config is not None:
            lm.model.generation_config.save_pretrained(target)
        lm.tokenizer.save_pretrained(target)

    if not (folder / "model.safetensors").is_file():
        written_whole(folder, write)
    return folder
