"""Opens documents in a kept folder and kills itself on the way; for the crash tests."""

from __future__ import annotations

import os
import signal
import sys

import torch

from distillir.index import filling
from distillir.search import documents, reuse


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after(shards: int):
    seen = []

    def watch(*at: int) -> None:
        seen.append(at)
        if len(seen) == shards:
            die()

    return watch


if __name__ == "__main__":
    torch.set_num_threads(1)
    source, folder, *places = sys.argv[1:]
    reuse.GROUP = 4
    students = documents._students(None, None, None)
    documents._students = lambda *_: students  # loaded once, before the forks
    for place in places:
        child = os.fork()
        if not child:
            if place.isdigit():
                documents.open_documents(source, folder=folder, quiet=True, watch=after(int(place)))
            else:
                owner, name = {
                    "reading": (documents.KeptFolder, "generation"),
                    "index": (filling, "fill"),
                    "ready": (documents, "write_json"),
                    "saved": (documents.KeptFolder, "save"),
                    "sweep": (documents.KeptFolder, "sweep"),
                }[place]
                setattr(owner, name, die)
                documents.open_documents(source, folder=folder, quiet=True)
            os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        print(place, killed)  # noqa: T201
