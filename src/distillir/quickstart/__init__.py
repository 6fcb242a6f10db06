"""Chat with Python's standard library: corpus, conversations and the run over them."""

from distillir.quickstart.chats import QuickstartTurn, Split, quickstart_turns, require_entries
from distillir.quickstart.corpus import Passage, standard_library

__all__ = ["Passage", "QuickstartTurn", "Split", "quickstart_turns", "require_entries", "standard_library"]
