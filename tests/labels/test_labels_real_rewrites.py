"""The audit on the replies of a real 1.5B model; needs the public data sets."""

import os
from pathlib import Path

import pytest

from distillir.data import load_llm_rewrites, load_mtrag
from distillir.labels import LabelStore, import_llm_rewrites, import_rewrites
from distillir.labels.audit import audit_store

pytestmark = pytest.mark.slow
MODEL = "Qwen2.5-Coder-1.5B-Instruct Q4_K_M"


def test_the_audit_says_what_a_small_model_does_wrong(tmp_path):
    folder = os.environ.get("DISTILLIR_DATA")
    if not folder:
        pytest.skip("needs DISTILLIR_DATA, the folder with mtrag/ and llm_rewrites/")
    data = Path(folder)
    mtrag = load_mtrag(data / "mtrag")
    human, synthetic = mtrag.contexts(), mtrag.synthetic()
    with LabelStore(tmp_path / "l.db") as store:
        for name, contexts in (("mtrag", human), ("mtrag_synthetic", synthetic)):
            replies = load_llm_rewrites(data / "llm_rewrites" / f"{name}.qwen2.5-coder-1.5b.jsonl")
            import_llm_rewrites(store, contexts, replies, teacher="qwen", model=MODEL)
        import_rewrites(store, human, model="mtrag")
        report = audit_store(store, [*human, *synthetic])
    found = {(check.name, check.subject): check for check in report.checks}
    qwen = found["replies", "qwen (rewrite)"].figures
    assert qwen["reason: cut off (length)"] == 22
    assert qwen["reason: refusal"] == 2
    answers = found["answers", "qwen"]
    assert 0.03 < answers.figures["statements"] < 0.06  # it answers instead of rewriting, and people do not
    assert found["answers", "human"].figures["statements"] == 0
    assert any("qwen, answers" in warning for warning in report.warnings)
    assert not any(warning.startswith("human") for warning in report.warnings)
    assert found["copied", "qwen"].figures["unchanged"] > 2 * found["copied", "human"].figures["unchanged"]
    assert found["language", "qwen"].figures["drifted"] == 0
    assert 0.55 < found["agreement", "qwen and human"].figures["token_f1"] < 0.7
