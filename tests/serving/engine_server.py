"""The engine of `engine_scorer` behind HTTP, as far as a service asks it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from distillir.data import Corpus
from distillir.engines import ENGINES, bulk_rows, dimension_names, write_bulk
from distillir.students import SparseStudent
from distillir.students.packaged import SPLADE_TINY, locate
from distillir.vectors import SparseVectors
from engine_scorer import Server


def exported(run, folder, engine, form, by_dimension):
    """The documents of a run, sent to an engine."""
    student = SparseStudent.from_pretrained(locate(SPLADE_TINY))
    names = dimension_names if by_dimension or ENGINES[engine].forms[form].by_dimension else student.terms
    corpus = Corpus.open(run / "corpus.arrow")
    rows = bulk_rows(SparseVectors.open(run / "corpus.vectors"), names, corpus=corpus)
    written = write_bulk(folder / "docs.ndjson", rows)
    return Server(written.files, ENGINES[engine].mapping(form=form), cut=False)


class EngineServer:
    """`url`: alias of the index `name`. `auth`: header it wants; `broken`: status it answers; `hangs_up`: how often."""

    def __init__(self, engine):
        self.engine, self.name, self.auth, self.broken, self.hangs_up = engine, "docs-1", None, None, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                self.answer(None)

            def do_POST(self):
                self.answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

            def answer(self, body):
                parts = urlsplit(self.path)
                if outer.hangs_up:
                    outer.hangs_up -= 1
                    self.close_connection = True
                    return
                status, content = 200, {}
                if outer.auth is not None and self.headers.get("authorization") != outer.auth:
                    status, content = 401, {"error": {"type": "security_exception", "reason": "who are you"}}
                elif outer.broken is not None:
                    status, content = outer.broken, {"error": {"type": "broken", "reason": "a text"}}
                else:
                    content = outer.reply(parts.path.removeprefix("/docs/"), parse_qs(parts.query), body)
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/docs"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reply(self, path, options, body):
        documents = self.engine.documents
        if path == "_settings":
            return {self.name: {"settings": {"index": {"uuid": f"uuid-of-{self.name}"}}}}
        if path == "_count":
            return {"count": len(documents)}
        if path == "_search":
            hits = self.engine.search(body)
            return {"hits": {"hits": [{"_id": n, "_score": s, "_source": {"id": n}} for n, s in hits]}}
        assert path == "_mget"
        only, but = options.get("_source_includes"), options.get("_source_excludes", [])
        rows = []
        for name in body["ids"]:
            source = documents.get(name)
            kept = {f: v for f, v in (source or {}).items() if (only is None or f in only) and f not in but}
            rows.append({"_id": name, "found": source is not None} | ({"_source": kept} if source else {}))
        return {"docs": rows}

    def close(self):
        self.server.shutdown()
        self.server.server_close()
