"""The page about labels runs as it stands."""

import re
from pathlib import Path

from distillir.labels import kinds

PAGE = Path(__file__).parents[2] / "docs" / "labels.md"


def test_the_python_of_the_page_runs(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert "2 calls to make" in printed
    assert "'chat-1#2': 'rewritten: Where was he born?'" in printed
    assert "labels.db (store): 2 labels, 2 new" in printed
    assert "2 answered otherwise" in printed


def test_the_page_names_every_kind():
    assert all(f"`{kind}`" in PAGE.read_text(encoding="utf-8") for kind in kinds.SHAPES)
