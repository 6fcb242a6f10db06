"""Script and language of a short text, without a model.

The script is counted letter by letter. Within the Latin and Cyrillic scripts a handful of function words tells the
language, or nothing does: for drift only two clear and different answers count. (Trained identifiers know more
languages, but ship their tables as pickles or as hundreds of megabytes, and are unsure of six words as well.)
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache

from distillir.labels.words import words

FUNCTION_WORDS = {
    "en": "the of and to in is are was were what how who where when which does do did can for on with it that be this "
    "a an as at by i you or if has have from not my me any there no so",
    "de": "der die das und ist sind war wie wer wo wann welche nicht ein eine den dem mit für von zu auf kann es was",
    "fr": "le la les des et est sont était que qui quoi comment où quand quel quelle un une du dans pour avec sur ne",
    "es": "el la los las y es son era qué que quién cómo dónde cuándo cuál un una del en para con por no se cuáles",
    "it": "il lo la gli le e è sono era che chi come dove quando quale un una del della nel per con di non cosa",
    "pt": "o a os as e é são era que quem como onde quando qual um uma do da no na para com não por quais",
    "nl": "de het en is zijn was wat hoe wie waar wanneer welke een van in op voor met niet dat kan kun er te",
    "sv": "och är var vad hur vem när vilken en ett det den som i på för med inte av till kan om att",
    "pl": "i jest są był co jak kto gdzie kiedy który która w na do z nie się to czy jaki jakie od dla",
    "tr": "ve bir bu ne nasıl kim nerede hangi mi mı mu için ile da de var değil olarak neden kaç olan",
    "id": "yang dan di ke dari apa siapa bagaimana kapan mana ini itu untuk dengan adalah tidak ada pada dalam bisa",
    "ru": "и в не на что как кто где когда какой какая это с по из для он она они был была ли чем",
    "uk": "і в не на що як хто де коли який яка це з по із для він вона вони був була чи чим та",
}
LANGUAGES = {language: frozenset(line.split()) for language, line in FUNCTION_WORDS.items()}
KNOWN = Counter(word for line in LANGUAGES.values() for word in line)
SURE = 1.5  # function words' worth, and twice the second language's


def script(text: str, least: float = 0.6) -> str | None:
    """Script of at least that share of a text's letters ("LATIN", "CYRILLIC", "THAI", …), None if there is none.

    Han characters and kana are one script here, as Japanese mixes them.
    """
    counts = Counter(_script(c) for c in text if c.isalpha())
    if not counts:
        return None
    name, number = counts.most_common(1)[0]
    return name if number >= least * counts.total() else None


def language(text: str) -> str | None:
    """Language by its function words, each shared by the languages that have it; None if that is not clear."""
    found = Counter(words(text))
    worth = {
        name: sum(number / KNOWN[word] for word, number in found.items() if word in known)
        for name, known in LANGUAGES.items()
    }
    (best, first), (_, second) = Counter(worth).most_common(2)
    return best if first >= SURE and first >= 2 * second else None


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    name = unicodedata.name(character, "UNKNOWN").split()[0].split("-")[0]
    return "HAN" if name in ("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC") else name
