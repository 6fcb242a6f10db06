"""The card of a bundle: who made the labels, with what, when, and what they may be used for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from distillir.labels.records import StoredLabel, canonical_json

COLUMNS = """\
| column | what |
|---|---|
| `key` | hash of teacher, model, prompt, parameters, sample and input; import recognises answered questions by it |
| `teacher`, `model`, `prompt_version`, `parameters`, `sample_index` | who was asked, and how (JSON) |
| `input_hash` | of what the model was shown; the input itself is not part of the bundle |
| `context_ids`, `context_order` | contexts this label serves; of several labels of a context the highest order counts |
| `kind`, `value` | "rewrite", "order", "scores", "response", "responses" or "conversation", and the label (JSON) |
| `raw`, `status`, `reason` | the reply as it came; "ok", "repaired" (how) or "malformed" (why; its value is null) |
| `scale` | what numbers in `value` are |
| `model_id`, `created` | what the endpoint said it was, and when (UTC) |
| `tokens_in`, `tokens_out`, `attempts`, `seconds`, `cost` | what it took |
"""


@dataclass
class _Group:
    statuses: Counter[str] = field(default_factory=Counter)
    model_ids: set[str] = field(default_factory=set)
    parameters: set[str] = field(default_factory=set)
    scales: set[str] = field(default_factory=set)
    contexts: set[str] = field(default_factory=set)
    dates: list[str] = field(default_factory=list)  # first and last


@dataclass
class Card:
    """Collects what a card says while labels pass by.

    Attributes:
        title: headline.
        licence: identifier; "" is said to be not stated.
        raw: whether raw replies are in the bundle.
    """

    title: str
    licence: str
    raw: bool
    groups: dict[tuple[str, str, str, str], _Group] = field(default_factory=dict)

    def add(self, row: StoredLabel) -> None:
        """Count one label."""
        group = self.groups.setdefault((row.teacher, row.label.kind, row.model, row.prompt_version), _Group())
        group.statuses[row.label.status] += 1
        group.contexts.update(row.context_ids)
        group.parameters.add(canonical_json(row.parameters))
        group.model_ids |= {row.label.model_id} - {""}
        group.scales |= {row.label.scale} - {""}
        seen = [*group.dates, row.label.created]
        group.dates = [min(seen), max(seen)]

    def text(self) -> str:
        """Markdown with the front matter that hubs read."""
        licence = _word(self.licence) or "unknown"
        lines = ["---", f"license: {licence}", "tags:", "- distillir", "- labels", "configs:", "- config_name: default"]
        lines += ["  data_files: labels.parquet", "---", "", f"# {_cell(self.title)}", ""]
        lines += ["Labels by large models (and people), made once for the training of small retrieval models.", ""]
        stated = f"Licence: {licence}." if self.licence else "Licence: not stated. Ask before you publish or sell."
        lines += [stated, f"Raw replies: {'included' if self.raw else 'left out'}. Inputs: hashes only.", ""]
        head = ["teacher", "kind", "model", "answered as", "prompt", "scale", "ok", "repaired", "malformed", "contexts"]
        head += ["first", "last"]
        lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for (teacher, kind, model, prompt), group in sorted(self.groups.items()):
            counts = [str(group.statuses[status]) for status in ("ok", "repaired", "malformed")]
            named = [", ".join(sorted(group.model_ids)), prompt, ", ".join(sorted(group.scales))]
            cells = [teacher, kind, model, *named, *counts, str(len(group.contexts)), *(d[:10] for d in group.dates)]
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
        lines += ["", "Parameters:", ""]
        for (teacher, kind, _, prompt), group in sorted(self.groups.items()):
            lines += [
                f"- {_cell(teacher)}, {kind}, prompt {_cell(prompt)}: `{_cell(p)}`" for p in sorted(group.parameters)
            ]
        lines += ["", COLUMNS, "Take them over with `distillir labels import STORE FOLDER`.", ""]
        return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that cannot end a table cell or a line."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")


def _word(text: str) -> str:
    """An identifier, so that no licence field can open another line of the front matter."""
    return "".join(c for c in text if c.isalnum() or c in "-._+ ").strip()
