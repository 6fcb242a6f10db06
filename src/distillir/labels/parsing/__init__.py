"""Replies into labels: parse, repair, say how, and leave the reply as it came to the store."""

from distillir.labels.parsing.order import ParsedOrder, parse_order
from distillir.labels.parsing.reasons import count_reasons, join_reasons
from distillir.labels.parsing.rewrite import ParsedRewrite, parse_rewrite
from distillir.labels.parsing.score import ParsedScore, parse_score

__all__ = [
    "ParsedOrder",
    "ParsedRewrite",
    "ParsedScore",
    "count_reasons",
    "join_reasons",
    "parse_order",
    "parse_rewrite",
    "parse_score",
]
