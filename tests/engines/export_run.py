"""Writes bulk files slowly and for ever, to be killed: `python export_run.py VECTORS OUT MAX_BYTES`."""

import itertools
import sys

from distillir.engines import bulk_rows, dimension_names, write_bulk
from distillir.vectors import SparseVectors


def rows(vectors):
    for i in itertools.count():
        if i == 3:
            sys.stdout.write("writing\n")
            sys.stdout.flush()
        yield from bulk_rows(vectors, dimension_names)


if __name__ == "__main__":
    source, out, max_bytes = sys.argv[1:]
    write_bulk(out, rows(SparseVectors.open(source)), max_bytes=int(max_bytes) or None)
