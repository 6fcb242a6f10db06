"""A model that workers can import: it notes each question with its process, and can kill that process."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from distillir.teachers import Failure, Generated, Usage


class Noting:
    """Answers `rewritten QUESTION`; the process that meets `fatal` first is killed, after its other answers came."""

    in_flight = 2
    name = "noting@1"

    def __init__(self, folder: Path, fatal: str = "", wrong_key: bool = False) -> None:
        self.folder, self.fatal, self.wrong_key = folder, fatal, wrong_key

    def bound(self, question):
        return Usage(100, 10, calls=1)

    async def ask(self, question, *, pause=None):
        asked = question.messages[-1].content.strip().splitlines()[-1]
        with (self.folder / "asked.log").open("a") as log:
            log.write(f"{time.time()}\t{os.getpid()}\t{asked}\n")
        await asyncio.sleep(0.02)
        if self.wrong_key:
            return Failure("not_allowed", "401 wrong key", "set the key", ends_run=True)
        if self.fatal and self.fatal in asked and not (self.folder / "killed").exists():
            (self.folder / "killed").write_text(str(os.getpid()))
            await asyncio.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)
        text = "how many young does the otter have in spring"
        return Generated((text,), Usage(7, 3, 0.5, calls=1, attempts=1), "noting-2026", ("stop",))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None
