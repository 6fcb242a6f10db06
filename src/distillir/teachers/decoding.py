"""Replies, likelihoods and choices of a local model, a batch at a time.

B rows of a batch, V entries of the vocabulary.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from distillir.errors import ModelError
from distillir.teachers.causal import CausalLM
from distillir.teachers.requests import (
    Choose,
    Chosen,
    Failure,
    Generate,
    Generated,
    Likelihood,
    Score,
    Scored,
    Usage,
    plain,
)

WASTE = 64  # tokens computed again before a batch is cut in two for the sake of a longer prefix


@dataclass
class _Row:
    """One reply on its way."""

    prompt: list[int]
    draw: torch.Generator | None
    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0
    finish: str = ""
    text: str = ""


def generate(lm: CausalLM, questions: Sequence[Generate], rows: int) -> list[Generated | Failure]:
    """Replies to questions that differ in messages and seed alone, `rows` at a time.

    A reply is a function of its own question and seed, not of the batch it fell into (to the last digits of a float).
    """
    answers: list[Generated | Failure] = []
    wanted: list[list[_Row]] = []
    for question in questions:
        prompt = _prompt(lm, question)
        if isinstance(prompt, Failure):
            wanted.append([])
            answers.append(prompt)
            continue
        seed = secrets.randbits(62) if question.seed is None else question.seed
        draws = [_generator(seed, i) if question.temperature else None for i in range(question.n)]
        wanted.append([_Row(prompt, draw) for draw in draws])
        answers.append(Generated((), Usage()))
    flat = [row for group in wanted for row in group]
    if questions[0].beams > 1:
        for question, group in zip(questions, wanted, strict=True):
            if group:
                _beams(lm, question, group)
    else:
        for first in range(0, len(flat), rows):
            _decode(lm, questions[0], flat[first : first + rows])
    for i, group in enumerate(wanted):
        if group:
            told = tuple(Likelihood(row.logprob, _told(lm, row)) for row in group)
            answers[i] = Generated(
                tuple(row.text for row in group),
                Usage(len(group[0].prompt), sum(len(row.tokens) for row in group)),
                finish=tuple(row.finish for row in group),
                likelihoods=told if questions[i].logprobs else (),
            )
    return answers


def choose(lm: CausalLM, questions: Sequence[Choose], rows: int) -> list[Chosen | Failure]:
    """Log P of each word as the next one.

    Raises:
        ModelError: a word that no single token spells.
    """
    answers: list[Chosen | Failure] = []
    for first in range(0, len(questions), rows):
        answers += _choose(lm, questions[first : first + rows])
    return answers


def _choose(lm: CausalLM, questions: Sequence[Choose]) -> list[Chosen | Failure]:
    prompts = [_prompt(lm, question) for question in questions]
    fitting = [prompt for prompt in prompts if not isinstance(prompt, Failure)]
    told = iter(lm.run(fitting, [1] * len(fitting)).logits[:, -1].log_softmax(-1).cpu() if fitting else ())
    answers: list[Chosen | Failure] = []
    for question, prompt in zip(questions, prompts, strict=True):
        if isinstance(prompt, Failure):
            answers.append(prompt)
            continue
        row = next(told)
        values = tuple(float(row[spellings(lm, word)].logsumexp(0)) for word in question.words)
        answers.append(Chosen(values, Usage(len(prompt), 1)))
    return answers


def score(lm: CausalLM, questions: Sequence[Score], rows: int) -> list[Scored | Failure]:
    """Log P of each continuation; questions with one prompt share its computation."""
    answers: dict[int, Scored | Failure] = {}
    encoded: list[tuple[list[int], int, int]] = []  # tokens, how many of them are scored, number of the question
    for i, question in enumerate(questions):
        before = _start(lm, question)
        scored = lm.encode(question.continuation)
        if isinstance(before, Failure) or len(before) + len(scored) > lm.context:
            answers[i] = before if isinstance(before, Failure) else _too_long(lm, len(before) + len(scored))
        else:
            encoded.append((before + scored, len(scored), i))
    for chunk in _chunks(sorted(encoded), rows):
        step = lm.run([tokens[:-1] for tokens, _, _ in chunk], [count for _, count, _ in chunk])
        for row, (tokens, count, i) in enumerate(chunk):
            logprobs = step.logits[row, -count:].log_softmax(-1)  # (count, V)
            target = torch.tensor(tokens[-count:], device=logprobs.device)
            total = float(logprobs.gather(1, target[:, None]).double().sum())
            answers[i] = Scored(Likelihood(total, count), Usage(len(tokens), 0))
    return [answers[i] for i in range(len(questions))]


def spellings(lm: CausalLM, word: str) -> Tensor:
    """Ids of the tokens that spell a word in any capitals, with or without a blank before it.

    Raises:
        ModelError: there is none.
    """
    bare = word.strip()
    forms = {form for text in (bare, bare.lower(), bare.upper(), bare.capitalize()) for form in (text, f" {text}")}
    single = {ids[0] for form in sorted(forms) if len(ids := lm.encode(form)) == 1}
    found = [token for token in single if plain(_text(lm, [token])) == plain(word)]
    if not found:
        raise ModelError(f"no single token spells {word!r}", "choose shorter words, such as yes and no")
    return torch.tensor(sorted(found))


def _decode(lm: CausalLM, how: Generate, rows: list[_Row]) -> None:
    """Fill in tokens, text and ending of each row, one token a step."""
    step = lm.run([row.prompt for row in rows], [1] * len(rows))
    for left in reversed(range(how.max_tokens)):
        logits = step.logits[:, -1].cpu()  # (B, V)
        tokens = _pick(logits, how.temperature, rows)
        told = logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0].tolist()
        for row, token, logprob in zip(rows, tokens.tolist(), told, strict=True):
            _take(lm, how, row, token, logprob, left)
        if all(row.finish for row in rows):
            return
        step = lm.advance(step, tokens)


def _pick(logits: Tensor, temperature: float, rows: list[_Row]) -> Tensor:
    """The next token (B,) of each row: the best, or drawn with the row's own numbers."""
    if not temperature:
        return logits.argmax(-1)
    summed = (logits.double() / temperature).softmax(-1).cumsum(-1)  # (B, V)
    drawn = [torch.rand(1, generator=row.draw, dtype=torch.float64) for row in rows]
    at = torch.stack(drawn) * summed[:, -1:]
    return torch.searchsorted(summed, at, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


def _take(lm: CausalLM, how: Generate, row: _Row, token: int, logprob: float, left: int) -> None:
    if row.finish:
        return
    row.tokens.append(token)
    ended = token in lm.endings
    row.logprob += 0.0 if ended else logprob
    if ended or how.stop or not left:
        row.text = _text(lm, row.tokens)
    cuts = [at for text in how.stop if (at := row.text.find(text)) >= 0]
    if cuts:
        row.text, row.finish = row.text[: min(cuts)], "stop"
    elif ended or not left:
        row.finish = "stop" if ended else "length"


def _beams(lm: CausalLM, how: Generate, rows: list[_Row]) -> None:
    """The n best of a beam search, by transformers; their likelihoods are those `score` gives."""
    from transformers import GenerationConfig

    prompt = torch.tensor([rows[0].prompt], device=lm.model.device)
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=how.max_tokens, num_beams=how.beams, num_return_sequences=how.n, do_sample=False,
        repetition_penalty=1.0, pad_token_id=lm.pad, eos_token_id=sorted(lm.endings) or None,
    )  # fmt: skip
    with torch.inference_mode():
        found = cast(Any, lm.model).generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=config)
    for row, tokens in zip(rows, found[:, prompt.shape[1] :].tolist(), strict=True):
        for left, token in zip(reversed(range(len(tokens))), tokens, strict=True):
            _take(lm, how, row, token, 0.0, left)
        count = _told(lm, row)
        if how.logprobs and count:
            scored = row.prompt + row.tokens[:count]
            logprobs = lm.run([scored[:-1]], [count]).logits[0, -count:].log_softmax(-1)
            row.logprob = float(logprobs.gather(1, torch.tensor(scored[-count:])[:, None].to(logprobs.device)).sum())


def _text(lm: CausalLM, tokens: list[int]) -> str:
    return str(lm.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _told(lm: CausalLM, row: _Row) -> int:
    """Tokens of a reply without the one that ended it."""
    return len(row.tokens) - bool(row.tokens and row.tokens[-1] in lm.endings)


def _prompt(lm: CausalLM, question: Generate | Choose) -> list[int] | Failure:
    try:
        tokens = lm.encode_chat(question.messages)
    except ModelError as error:
        return Failure("refused", error.cause, error.cure)
    reply = question.max_tokens if isinstance(question, Generate) else 1
    return _too_long(lm, len(tokens) + reply) if len(tokens) + reply > lm.context else tokens


def _start(lm: CausalLM, question: Score) -> list[int] | Failure:
    if isinstance(question.prompt, str):
        return lm.encode(question.prompt) or lm.start()
    try:
        return lm.encode_chat(question.prompt)
    except ModelError as error:
        return Failure("refused", error.cause, error.cure)


def _too_long(lm: CausalLM, tokens: int) -> Failure:
    return Failure("too_long", f"{tokens} tokens with the reply, the model holds {lm.context}", "shorten the input")


def _generator(seed: int, i: int) -> torch.Generator:
    """Numbers of reply i: neighbouring seeds have nothing in common."""
    digest = hashlib.blake2b(f"{seed}/{i}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def _chunks(encoded: list[tuple[list[int], int, int]], rows: int) -> Iterator[list[tuple[list[int], int, int]]]:
    """Batches of neighbours; cut early where a further row would cost the others a long prefix."""
    chunk: list[tuple[list[int], int, int]] = []
    for one in encoded:
        if chunk and (len(chunk) == rows or _waste(chunk, one) > WASTE):
            yield chunk
            chunk = []
        chunk.append(one)
    if chunk:
        yield chunk


def _waste(chunk: list[tuple[list[int], int, int]], one: tuple[list[int], int, int]) -> int:
    """Tokens of the chunk that its rows would no longer share."""
    before, after = _shared(chunk), _shared([*chunk, one])
    return (before - after) * len(chunk) if len(chunk) > 1 else 0


def _shared(chunk: list[tuple[list[int], int, int]]) -> int:
    first, last = chunk[0][0], chunk[-1][0]
    alike = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return min(alike, *(len(tokens) - count - 1 for tokens, count, _ in chunk))
