"""What can be asked, and what cannot."""

import math
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from distillir.errors import ConfigError
from distillir.teachers import Choose, Failure, Generate, Likelihood, Message, Score, Usage, chat

HI = (Message("user", "hi"),)


def test_usages_add_up():
    total = Usage(10, 2, 0.5, 1, 2, 1) + Usage(5, 1, 0.25, 1, 1, 0)
    assert total == Usage(15, 3, 0.75, 2, 3, 1)


def test_a_likelihood_is_normalised_by_its_tokens():
    assert Likelihood(-6.0, 4).mean == -1.5
    assert math.isnan(Likelihood(0.0, 0).mean)


def test_requests_are_values():
    assert Generate(HI) == Generate((Message("user", "hi"),))
    assert len({Generate(HI), Generate(HI), Choose(HI), Score("a", "b")}) == 3
    with pytest.raises(FrozenInstanceError):
        Generate(HI).n = 2
    with pytest.raises(FrozenInstanceError):
        Failure("timeout", "x").reason = "server"


def test_a_chat_is_read_from_openai_messages():
    assert chat([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]) == (
        Message("system", "s"),
        Message("user", "u"),
    )


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda: Generate(()), "a chat without an open question"),
        (lambda: Generate((Message("assistant", "hi"),)), "a chat without an open question"),
        (lambda: Generate((Message("tool", "x"), *HI)), "role 'tool'"),
        (lambda: Generate(HI, max_tokens=0), "max_tokens 0"),
        (lambda: Generate(HI, temperature=-1), "temperature -1"),
        (lambda: Generate(HI, temperature=float("nan")), "temperature nan"),
        (lambda: Generate(HI, n=2), "2 replies at temperature 0"),
        (lambda: Generate(HI, beams=4, temperature=0.5), "4 beams with temperature 0.5"),
        (lambda: Generate(HI, beams=2, n=3), "3 replies"),
        (lambda: Generate(HI, stop=("",)), "an empty stop text"),
        (lambda: Choose(HI, ("yes",)), "a choice between"),
        (lambda: Choose(HI, ("yes", " Yes")), "a choice between"),
        (lambda: Choose(HI, ("yes", "")), "a choice between"),
        (lambda: Choose(()), "a chat without"),
        (lambda: Score("a", "  "), "an empty continuation"),
        (lambda: Score((), "a"), "a chat without"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_paid(make, cause):
    with pytest.raises(ConfigError, match=cause):
        make()


def test_the_package_and_the_http_way_load_no_model_library():
    program = (
        "import asyncio, sys\n"
        "from distillir.teachers import Endpoint, EndpointSettings\n"
        "async def main():\n"
        "    async with Endpoint(EndpointSettings('m', base_url='http://127.0.0.1:9/v1')):\n"
        "        pass\n"
        "asyncio.run(main())\n"
        "print([name for name in ('torch', 'transformers', 'xllamacpp') if name in sys.modules])\n"
        "assert 'openai' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_client_library_is_loaded_when_it_is_used():
    program = "import sys, distillir.teachers; print([n for n in ('openai', 'torch', 'httpx2') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.strip() == "[]"
