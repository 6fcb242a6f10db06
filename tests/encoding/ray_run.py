"""An encoder that its workers can import, and that kills the first of them to meet a document."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from distillir.errors import ModelError
from distillir.students.sparse import SparseStudent
from distillir.vectors import CSR


class Fragile(SparseStudent):
    """Its process is killed at the first share that holds `fatal`, unless the file `there` says that it happened; at
    every such share if `deadly`. A share that holds `refused` is refused."""

    fatal: str
    there: Path
    refused: str | None = None
    deadly = False

    def encode_documents(self, texts: Sequence[str], batch_size: int = 32) -> CSR:
        with self.there.with_suffix(".log").open("a") as log:
            log.write(f"{os.getpid()}\n")
        if self.fatal in texts and not self.there.exists():
            if not self.deadly:
                self.there.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        if self.refused in texts:
            raise ModelError("a vector is not finite", "load it again")
        return super().encode_documents(texts, batch_size)
