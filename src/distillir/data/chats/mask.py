"""Personal data becomes placeholders: `<EMAIL_1>`, `<PHONE_2>`. Found by Presidio's recognisers (package of the extra
`privacy`), which work from patterns and check sums and need no model and no network.

What patterns cannot find stays in the text: names of people (unless a spaCy model is given), addresses, birthdays,
customer numbers, what someone tells of themselves. Nor is everything found personal: an order number of ten digits
may be a phone number of some country, and "version 10.4.1.2" is an IP address.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from distillir.errors import ConfigError, MissingDependencyError

KINDS = ("email", "phone", "credit_card", "iban", "ip", "us_ssn", "crypto")
OPTIONAL_KINDS = ("url",)
REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "IN", "BR")
LEAST_SCORE = 0.3  # below are guesses, such as any nine digits for a US social security number
PERSON_LABELS = frozenset({"PERSON", "PER"})

Finder = Callable[[str], Iterable[tuple[int, int]]]

# A recogniser is asked only where the text has what each of its finds has: most messages have none of it.
HINTS = {
    "email": re.compile("@"),
    "phone": re.compile(r"(?:\d\D{0,4}){6}\d"),
    "credit_card": re.compile(r"(?:\d\D?){12}"),
    "iban": re.compile(r"[A-Za-z]{2}[ -]?\d{2}"),
    "ip": re.compile(r"\d\.\d|:"),
    "us_ssn": re.compile(r"\d{3}\D?\d{2}\D?\d{4}"),
    "crypto": re.compile(r"[A-Za-z0-9]{25}"),
    "url": re.compile("://"),
}


class Masker:
    """Finds personal data and counts it.

    Args:
        kinds: of `KINDS` and `OPTIONAL_KINDS`.
        regions: countries whose national phone numbers are known, as two letters; international ones always are.
        names_model: spaCy pipeline (installed package or folder) that marks people; "" = names stay.

    Attributes:
        counts: kind -> places masked.

    Raises:
        MissingDependencyError: `presidio-analyzer` is not installed.
        ConfigError: an unknown kind or region, a names model that cannot be loaded or marks no people.
    """

    def __init__(self, kinds: Sequence[str] = KINDS, regions: Sequence[str] = REGIONS, names_model: str = "") -> None:
        unknown = [kind for kind in kinds if kind not in KINDS + OPTIONAL_KINDS]
        if unknown or not kinds:
            raise ConfigError(
                f"unknown kind of personal data {', '.join(unknown)!r}",
                f"known are: {', '.join(KINDS + OPTIONAL_KINDS)}",
            )
        self.counts: Counter[str] = Counter()
        self._finders = _finders(kinds, regions)
        if names_model:
            self._finders.append(("name", _people(names_model)))

    def conversation(self) -> Callable[[str], str]:
        """A function that masks the texts of one conversation: the same datum gets the same placeholder in all."""
        given: dict[tuple[str, str], str] = {}

        def mask(text: str) -> str:
            out, at = [], 0
            for start, end, kind in self._spans(text):
                key = kind, _same(kind, text[start:end])
                if key not in given:
                    number = 1 + sum(known == kind for known, _ in given)
                    given[key] = f"<{kind.upper()}_{number}>"
                out += [text[at:start], given[key]]
                at = end
                self.counts[kind] += 1
            return "".join([*out, text[at:]])

        return mask

    def _spans(self, text: str) -> list[tuple[int, int, str]]:
        """Stretches to mask. Overlapping finds are one stretch, of the kind that comes first in `_finders`."""
        found = [(*span, rank) for rank, (_, find) in enumerate(self._finders) for span in find(text)]
        merged: list[tuple[int, int, int]] = []
        for start, end, rank in sorted(found):
            if merged and start < merged[-1][1]:
                first, last, before = merged[-1]
                merged[-1] = first, max(last, end), min(before, rank)
            else:
                merged.append((start, end, rank))
        return [(start, end, self._finders[rank][0]) for start, end, rank in merged]


def _same(kind: str, text: str) -> str:
    """What two spellings of the same datum share."""
    if kind in ("phone", "credit_card", "us_ssn"):
        return re.sub(r"\D", "", text).removeprefix("00")
    return re.sub(r"\s+", "" if kind == "iban" else " ", text).casefold()


def _finders(kinds: Sequence[str], regions: Sequence[str]) -> list[tuple[str, Finder]]:
    try:
        import phonenumbers
        from presidio_analyzer import PatternRecognizer
        from presidio_analyzer import predefined_recognizers as presidio
    except ImportError:
        raise MissingDependencyError("presidio-analyzer", "privacy") from None
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)

    unknown = sorted(set(regions) - phonenumbers.SUPPORTED_REGIONS)
    if unknown:
        raise ConfigError(f"unknown phone region {unknown[0]!r}", "give two capital letters, such as US, GB or DE")

    def email() -> Any:
        # Presidio's pattern without its check of the domain, which looks up a list on the network
        # and lets addresses of inner domains through.
        return PatternRecognizer("EMAIL_ADDRESS", patterns=presidio.EmailRecognizer.PATTERNS)

    made: dict[str, Callable[[], Any]] = {
        "email": email,
        "iban": presidio.IbanRecognizer,
        "credit_card": presidio.CreditCardRecognizer,
        "crypto": presidio.CryptoRecognizer,
        "url": presidio.UrlRecognizer,
        "us_ssn": presidio.UsSsnRecognizer,
        "ip": presidio.IpRecognizer,
        "phone": lambda: presidio.PhoneRecognizer(supported_regions=tuple(regions)),
    }
    return [(kind, _finder(kind, make())) for kind, make in made.items() if kind in kinds]


def _finder(kind: str, recognizer: Any) -> Finder:
    from presidio_analyzer.pattern_recognizer import REGEX_TIMEOUT_SECONDS

    def find(text: str) -> Iterable[tuple[int, int]]:
        if not HINTS[kind].search(text):
            return
        begun = time.monotonic()
        results = recognizer.analyze(text, recognizer.supported_entities, None)
        if time.monotonic() - begun >= REGEX_TIMEOUT_SECONDS:
            yield 0, len(text)  # Presidio gave up on this text with no more than a line in its log: none of it is safe
            return
        for result in results:
            if result.score >= LEAST_SCORE and _personal(kind, text[result.start : result.end]):
                yield result.start, result.end

    return find


def _personal(kind: str, text: str) -> bool:
    """An address of the machine itself is nobody's; a URL without its scheme is as often a file (`setup.py`)."""
    if kind == "url":
        return "://" in text
    if kind != "ip":
        return True
    try:
        address = ipaddress.ip_address(text.partition("/")[0])
    except ValueError:
        return True
    return not (address.is_loopback or address.is_unspecified)


def _people(model: str) -> Finder:
    import spacy

    try:
        pipeline = spacy.load(model)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the spaCy model {model!r} cannot be loaded: {str(error).splitlines()[0]}",
            "give the name of an installed pipeline, such as en_core_web_lg, or its folder",
        ) from None

    def find(text: str) -> Iterable[tuple[int, int]]:
        yield from ((e.start_char, e.end_char) for e in pipeline(text).ents if e.label_ in PERSON_LABELS)

    return find
