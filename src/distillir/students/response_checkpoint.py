"""Response students on disk: a folder that `sentence_transformers.SentenceTransformer` opens, with one more inside
where there are two towers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from distillir.errors import ModelError
from distillir.students.dense_checkpoint import dense_opens_plainly, fill_dense_folder, load_dense_student
from distillir.students.student_folder import student_folder

if TYPE_CHECKING:
    from distillir.students.response import ResponseStudent

RESPONSE_FILE = "response.json"
TOWER = "responses"
FORMAT = 1


def is_response_student(folder: str | Path) -> bool:
    """Whether a folder holds a saved response student."""
    return (Path(folder) / RESPONSE_FILE).is_file()


def save_response_student(student: ResponseStudent, folder: str | Path) -> None:
    """Write everything to a fresh folder beside and put it in place last.

    Raises:
        ModelError: the folder holds something else than a student, or the disk is full.
    """
    with student_folder(folder) as fresh:
        fill_dense_folder(student.contexts, fresh)
        towers = 1
        if student.responses is not None:
            (fresh / TOWER).mkdir()
            fill_dense_folder(student.responses, fresh / TOWER)
            towers = 2
        record = {"format": FORMAT, "towers": towers, "scale": student.scale}
        (fresh / RESPONSE_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (fresh / "README.md").write_text(_card(student), encoding="utf-8")


def load_response_student(folder: str | Path) -> ResponseStudent:
    """Re-open what `save_response_student` wrote.

    Raises:
        ModelError: unreadable settings, or a tower that is missing or damaged.
    """
    from distillir.students.response import ResponseStudent  # it loads this module

    folder, path = Path(folder), Path(folder) / RESPONSE_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT or record["towers"] not in (1, 2):
            raise ModelError(f"{path}: not a response student of format {FORMAT}", "open it as what it is")
        scale = float(record["scale"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: unreadable settings ({error})", "save the student again") from error
    second = load_dense_student(folder / TOWER) if record["towers"] == 2 else None
    student = ResponseStudent(load_dense_student(folder), second, scale=scale)
    student.eval()
    return student


def _card(student: ResponseStudent) -> str:
    render, sep = student.settings.render, student.contexts.tokenizer.sep_token
    plain = dense_opens_plainly(student.contexts)
    opening = "SentenceTransformer(path)" if plain else "SentenceTransformer(path, trust_remote_code=True)"
    second = (
        "responses = contexts" if student.responses is None else f'responses = SentenceTransformer(f"{{path}}/{TOWER}")'
    )
    reply = f"and when? {sep} Frank Herbert. {sep} " if render.answers else f"and when? {sep} "
    return (
        "---\nlibrary_name: sentence-transformers\ntags: [sentence-similarity, response-retrieval]\n---\n\n"
        "# Response encoder\n\n"
        f"Scores responses for a conversation by the dot product of their vectors. Conversations are one string, "
        f"newest turn first,\nseparated by `{sep}`, of {render.max_length} tokens at most; responses are plain "
        "text.\n\n"
        f"```python\nfrom sentence_transformers import SentenceTransformer\n\ncontexts = {opening}\n{second}\n"
        f'contexts.encode(["{reply}who wrote Dune?"]) @ responses.encode(["In 1965."]).T\n```\n'
    )
