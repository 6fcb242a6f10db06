"""Corpora, judgements, runs, conversations, and one loader per public data set."""

from distillir.data.canard import Loaded, load_canard
from distillir.data.cast import CAsT, load_cast
from distillir.data.chitchat import Chitchat, load_chitchat
from distillir.data.conversations import HUMAN, Context, read_contexts, write_contexts
from distillir.data.corpus import Corpus, open_or_build
from distillir.data.documents import Document, read_documents
from distillir.data.dstc11 import DSTC11, load_dstc11
from distillir.data.llm_rewrites import LLMReply, LLMRewrites, Repair, load_llm_rewrites, repair_rewrite
from distillir.data.mtrag import MTRAG, load_mtrag
from distillir.data.published import PUBLISHED, write_documents, write_published
from distillir.data.qrecc import load_qrecc
from distillir.data.qrels import Qrels, read_qrels, write_qrels
from distillir.data.queries import cropped_sentences, read_queries, written_questions
from distillir.data.response_join import JoinedResponses, join_responses
from distillir.data.response_rules import ResponseRules, read_words
from distillir.data.responses import GOLD, Response, ResponseSet, read_responses, write_responses
from distillir.data.rows import Counts
from distillir.data.runs import Run, ranked, read_run, write_run

__all__ = [
    "DSTC11",
    "GOLD",
    "HUMAN",
    "MTRAG",
    "PUBLISHED",
    "CAsT",
    "Chitchat",
    "Context",
    "Corpus",
    "Counts",
    "Document",
    "JoinedResponses",
    "LLMReply",
    "LLMRewrites",
    "Loaded",
    "Qrels",
    "Repair",
    "Response",
    "ResponseRules",
    "ResponseSet",
    "Run",
    "cropped_sentences",
    "join_responses",
    "load_canard",
    "load_cast",
    "load_chitchat",
    "load_dstc11",
    "load_llm_rewrites",
    "load_mtrag",
    "load_qrecc",
    "open_or_build",
    "ranked",
    "read_contexts",
    "read_documents",
    "read_qrels",
    "read_queries",
    "read_responses",
    "read_run",
    "read_words",
    "repair_rewrite",
    "write_contexts",
    "write_documents",
    "write_published",
    "write_qrels",
    "write_responses",
    "write_run",
    "written_questions",
]
