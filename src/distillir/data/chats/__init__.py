"""A team's chat logs → contexts: readers of the usual formats, sessions, masking, and a report."""

from distillir.data.chats.chat import Roles
from distillir.data.chats.contexts import check_turns, parse_split
from distillir.data.chats.imports import ImportOptions, import_chats
from distillir.data.chats.mask import KINDS, OPTIONAL_KINDS, REGIONS, Masker
from distillir.data.chats.report import ImportReport
from distillir.data.chats.sniff import FORMATS
from distillir.data.chats.table import Columns
from distillir.data.chats.times import parse_gap

__all__ = [
    "FORMATS",
    "KINDS",
    "OPTIONAL_KINDS",
    "REGIONS",
    "Columns",
    "ImportOptions",
    "ImportReport",
    "Masker",
    "Roles",
    "check_turns",
    "import_chats",
    "parse_gap",
    "parse_split",
]
