"""Every threshold of the audit, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Where a figure becomes a warning; shares are of the labels a check looked at.

    Attributes:
        long_words: a rewrite is too long above this many words,
        long_ratio: and above this many times the question's.
        short_ratio: it is too short below this share of the question's words.
        length_share: too long or too short ones that are still fine.
        unchanged_share: follow-ups rewritten word for word that are still fine.
        stale_share: rewrites that repeat an earlier question instead of the open one.
        novel_share: mean share of words that neither the question nor the history has.
        drift_share: rewrites in another script or language than the conversation.
        leak_words: a rewrite leaks when so many of its words come from the coming answer alone,
        leak_part: and they are this share of it.
        leak_share: leaking rewrites that are still fine.
        statement_share: rewrites that state something where the user asked.
        twin_likeness: two texts are near-duplicates from this Jaccard similarity of character 4-grams on.
        twin_share: rewrites whose near-duplicate answers another question.
        malformed_share: malformed labels.
        repaired_share: repaired ones.
        least_overlap: mean token F1 of two rewriters below which one of them does something else.
        most_overlap: mean token F1 above which fusing them gains nothing.
        least_rank_agreement: mean Spearman correlation of two scorers.
        flat_part: a target is flat when its effective documents are this share of its candidates,
        one_hot_documents: and one-hot when they are no more than this.
        flat_share: flat targets that are still fine.
        one_hot_share: one-hot targets that are still fine.
        effective_documents: what a suggested temperature aims at.
        gold_top: a gold document should be among the teacher's best so many,
        gold_share: in this share of contexts.
        untouched_share: orders equal to the order shown.
        order_faults_share: orders with missing, repeated or invented ids.
    """

    long_words: int = 30
    long_ratio: float = 3.0
    short_ratio: float = 0.5
    length_share: float = 0.05
    unchanged_share: float = 0.5
    stale_share: float = 0.02
    novel_share: float = 0.35
    drift_share: float = 0.01
    leak_words: int = 3
    leak_part: float = 0.25
    leak_share: float = 0.03
    statement_share: float = 0.03
    twin_likeness: float = 0.8
    twin_share: float = 0.02
    malformed_share: float = 0.05
    repaired_share: float = 0.2
    least_overlap: float = 0.3
    most_overlap: float = 0.95
    least_rank_agreement: float = 0.2
    flat_part: float = 0.9
    one_hot_documents: float = 1.1
    flat_share: float = 0.1
    one_hot_share: float = 0.5
    effective_documents: float = 4.0
    gold_top: int = 10
    gold_share: float = 0.5
    untouched_share: float = 0.2
    order_faults_share: float = 0.1
