import json

from distillir.doctor import Examination, Finding


def test_doctor_prints_sections_and_ends_well(call):
    code, out, _ = call("doctor")
    assert code == 0
    assert "packages" in out
    assert "everything needed is here" in out


def test_what_is_wrong_ends_with_status_1(call, monkeypatch, tmp_path):
    bad = Examination((Finding("packages", "torch", "wrong", "not installed", "pip install torch"),))
    monkeypatch.setattr("distillir.doctor.examine", lambda folder: bad)
    code, out, _ = call("doctor", "--json", "--folder", tmp_path)
    assert code == 1
    assert json.loads(out)["findings"][0]["cure"] == "pip install torch"
