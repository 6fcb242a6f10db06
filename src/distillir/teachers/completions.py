"""Reads what an endpoint sends back, and believes none of it unchecked."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from distillir.teachers.requests import Choose, Chosen, Generate, Generated, Likelihood, Usage, plain, whole


class MalformedError(Exception):
    """An answer that is no chat completion; `again`: another attempt may bring a better one."""

    def __init__(self, detail: str, again: bool = True) -> None:
        super().__init__(detail)
        self.again = again


def body_of(text: str) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        MalformedError: an empty answer, a web page, half a JSON text, an error in the dress of a success.
    """
    start = " ".join(text[:80].split())
    if not start:
        raise MalformedError("an empty answer")
    try:
        body = json.loads(text)
    except ValueError as error:
        kind = "a web page" if start.startswith("<") else "no JSON"
        raise MalformedError(f"{kind} instead of a completion: {start}") from error
    if not isinstance(body, dict) or not isinstance(body.get("choices"), list) or not body["choices"]:
        raise MalformedError(f"an answer without choices: {start}")
    if not all(isinstance(choice, dict) for choice in body["choices"]):
        raise MalformedError(f"choices that are no objects: {start}")
    return body


def read_generated(body: Mapping[str, Any], question: Generate, bound: Usage) -> Generated:
    """Texts, why each ended, and what they used.

    Raises:
        MalformedError: too few replies, or one without a message.
    """
    choices = body["choices"][: question.n]
    if len(choices) < question.n:
        raise MalformedError(
            f"{len(choices)} of {question.n} replies: this endpoint ignores n, ask singly", again=False
        )
    texts, finish, likelihoods = [], [], []
    for choice in choices:
        message = choice.get("message")
        if not isinstance(message, Mapping):
            raise MalformedError("a choice without a message")
        content = message.get("content")
        refusal = message.get("refusal")
        said = content if isinstance(content, str) else refusal if isinstance(refusal, str) else ""
        texts.append(whole(said))
        finish.append(str(choice.get("finish_reason") or ""))
        tokens = _numbers(_tokens(choice))
        if question.logprobs and tokens:
            likelihoods.append(Likelihood(math.fsum(tokens), len(tokens)))
    told = tuple(likelihoods) if len(likelihoods) == len(texts) else ()
    return Generated(tuple(texts), usage_of(body, bound), model_of(body), tuple(finish), told)


def read_chosen(body: Mapping[str, Any], question: Choose, bound: Usage) -> Chosen:
    """Log P of each word, summed over its spellings among the tokens listed.

    Raises:
        MalformedError: no log-probabilities.
    """
    tokens = _tokens(body["choices"][0])
    listed = tokens[0].get("top_logprobs") if tokens else None
    if not isinstance(listed, list) or not listed:
        raise MalformedError("no log-probabilities: this endpoint does not give them", again=False)
    pairs = [(plain(str(one.get("token", ""))), one.get("logprob")) for one in listed if isinstance(one, Mapping)]
    known = [(token, float(value)) for token, value in pairs if _is_number(value)]
    if not known:
        raise MalformedError("log-probabilities that are no numbers", again=False)
    least = min(value for _, value in known)
    found = {word: [value for token, value in known if token == plain(word)] for word in question.words}
    values = tuple(log_sum(found[word]) if found[word] else least for word in question.words)
    bounded = tuple(word for word in question.words if not found[word])
    return Chosen(values, usage_of(body, bound), model_of(body), bounded)


def usage_of(body: Mapping[str, Any], bound: Usage) -> Usage:
    """Tokens as the endpoint counts them, the bound where it does not."""
    told = body.get("usage")
    counts = told if isinstance(told, Mapping) else {}
    prompt, reply = counts.get("prompt_tokens"), counts.get("completion_tokens")
    return Usage(
        prompt if _is_count(prompt) else bound.prompt_tokens, reply if _is_count(reply) else bound.completion_tokens
    )


def model_of(body: Mapping[str, Any]) -> str:
    """What the endpoint says it is, "" if it does not."""
    model = body.get("model")
    return model if isinstance(model, str) else ""


def log_sum(values: Iterable[float]) -> float:
    """Log Σ exp: the log-probability of any of several outcomes."""
    each = list(values)
    most = max(each)
    return most + math.log(math.fsum(math.exp(value - most) for value in each))


def _tokens(choice: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    return [token for token in content if isinstance(token, Mapping)] if isinstance(content, list) else []


def _numbers(tokens: Iterable[Mapping[str, Any]]) -> list[float]:
    values = [token.get("logprob") for token in tokens]
    return [float(value) for value in values if _is_number(value)]


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
