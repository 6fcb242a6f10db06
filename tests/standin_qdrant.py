"""A server that answers Qdrant's REST API as far as an index asks, with Qdrant Edge behind it.

No Qdrant server comes as a wheel. Requests are read with the client's own models, so one that Qdrant could not read
fails here too; points, filters and scores are those of Qdrant's core, which Edge embeds.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import qdrant_edge as qe


class _Refused(Exception):
    def __init__(self, status, reason):
        self.status, self.reason = status, reason


class StandIn:
    """Use as a context; `url` is where it listens.

    Attributes:
        faults: answers to give in place of the next ones: a status, (status, headers), or a number of seconds to be
            silent as a float.
        asked: (method, path) of every request.
        key: when set, requests need it.
    """

    def __init__(self, port=0):
        self.faults, self.asked, self.key = [], [], None
        self._shards, self._aliases, self._lock = {}, {}, threading.RLock()
        self._folder = Path(tempfile.mkdtemp())
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                stand_in.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        for shard in self._shards.values():
            shard.close()
        shutil.rmtree(self._folder)

    @property
    def collections(self):
        return sorted(self._shards)

    @property
    def aliases(self):
        return dict(self._aliases)

    def handle(self, request):
        content = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        path = request.path.partition("?")[0]
        self.asked.append((request.command, path))
        status, headers, result = 200, {}, None
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, float):
            threading.Event().wait(fault)
        if fault is not None:
            status, headers = fault if isinstance(fault, tuple) else (503 if isinstance(fault, float) else fault, {})
        if self.key is not None and request.headers.get("api-key") != self.key:
            status = 401
        if status == 200:
            try:
                with self._lock:
                    result = self._route(request.command, path, json.loads(content) if content else {})
            except _Refused as refused:
                status, result = refused.status, refused.reason
            except Exception as error:  # what the stand-in cannot do fails the test that asked
                status, result = 422, repr(error)
        told = {"result": result, "status": "ok"} if status == 200 else {"status": {"error": result or "fault"}}
        data = json.dumps({**told, "time": 0.0}).encode()
        try:
            request.send_response(status)
            for name, value in {**headers, "Content-Type": "application/json", "Content-Length": len(data)}.items():
                request.send_header(name, str(value))
            request.end_headers()
            request.wfile.write(data)
        except OSError:
            pass  # the client has stopped waiting

    def _route(self, method, path, body):
        from qdrant_client import models

        if (method, path) == ("GET", "/collections"):
            return {"collections": [{"name": name} for name in self._shards]}
        if (method, path) == ("GET", "/aliases"):
            return {"aliases": [{"alias_name": a, "collection_name": c} for a, c in self._aliases.items()]}
        if (method, path) == ("POST", "/collections/aliases"):
            return self._change_aliases(models.ChangeAliasesOperation.model_validate(body).actions)
        match = re.fullmatch(r"/collections/([^/]+)(/.*)?", path)
        if match is None:
            raise _Refused(404, f"no such route: {path}")
        name, rest = match[1], match[2] or ""
        if (method, rest) == ("PUT", ""):
            return self._create(name, models.CreateCollection.model_validate(body))
        if (method, rest) == ("DELETE", ""):
            gone = self._shards.pop(name, None)
            self._aliases = {a: c for a, c in self._aliases.items() if c != name}
            if gone is not None:
                gone.close()
            return gone is not None
        shard = self._shards.get(self._aliases.get(name, name))
        if shard is None:
            raise _Refused(404, f"Not found: Collection `{name}` doesn't exist!")
        if (method, rest) == ("PUT", "/index"):
            asked = models.CreateFieldIndex.model_validate(body)
            assert asked.field_schema == "keyword"
            shard.update(qe.UpdateOperation.create_field_index(asked.field_name, qe.PayloadSchemaType.Keyword))
        elif (method, rest) == ("PUT", "/points"):
            points = models.PointsList.model_validate(body).points
            shard.update(qe.UpdateOperation.upsert_points([_point(point) for point in points]))
        elif (method, rest) == ("POST", "/points/delete"):
            ids = models.PointIdsList.model_validate(body).points
            shard.update(qe.UpdateOperation.delete_points([uuid.UUID(i) for i in ids]))
        elif (method, rest) == ("POST", "/points/count"):
            return {"count": shard.count(qe.CountRequest(exact=models.CountRequest.model_validate(body).exact))}
        elif (method, rest) == ("POST", "/points"):
            return _retrieve(shard, models.PointRequest.model_validate(body))
        elif (method, rest) == ("POST", "/points/query/batch"):
            searches = models.QueryRequestBatch.model_validate(body).searches
            answers = shard.query_batch(qe.QueryBatchRequest([_query(search) for search in searches]))
            return [{"points": [_scored(point) for point in points]} for points in answers]
        else:
            raise _Refused(404, f"no such route: {method} {path}")
        return {"operation_id": 0, "status": "completed"}

    def _create(self, name, asked):
        if name in self._shards or name in self._aliases:
            raise _Refused(409, f"Wrong input: Collection `{name}` already exists!")
        folder = self._folder / uuid.uuid4().hex
        folder.mkdir()
        assert asked.vectors == {}
        sparse = {vector: qe.EdgeSparseVectorParams() for vector in asked.sparse_vectors}
        self._shards[name] = qe.EdgeShard.create(str(folder), qe.EdgeConfig(sparse_vectors=sparse))
        return True

    def _change_aliases(self, actions):
        changed = dict(self._aliases)
        for action in actions:
            if hasattr(action, "create_alias"):
                if action.create_alias.collection_name not in self._shards:
                    raise _Refused(404, f"Not found: Collection `{action.create_alias.collection_name}` doesn't exist!")
                changed[action.create_alias.alias_name] = action.create_alias.collection_name
            else:
                changed.pop(action.delete_alias.alias_name)
        self._aliases = changed
        return True


def _vector(given):
    return qe.SparseVector(list(given.indices), list(given.values))


def _point(point):
    return qe.Point(uuid.UUID(point.id), {n: _vector(v) for n, v in point.vector.items()}, point.payload)


def _query(search):
    given = search.prefetch or []
    prefetches = [qe.Prefetch(**_asked(one)) for one in (given if isinstance(given, list) else [given])]
    return qe.QueryRequest(**_asked(search), with_payload=search.with_payload, prefetches=prefetches)


def _asked(part):
    """What a search and its prefetches have in common."""
    nearest = qe.Query.Nearest(_vector(getattr(part.query, "nearest", part.query)), using=part.using)
    conditions = part.filter.must if part.filter else []
    matches = [qe.FieldCondition(key=c.key, match=qe.MatchAny(c.match.any)) for c in conditions]
    return {"query": nearest, "limit": part.limit, **({"filter": qe.Filter(must=matches)} if matches else {})}


def _scored(point):
    return {"id": str(point.id), "version": 0, "score": point.score, "payload": point.payload}


def _retrieve(shard, asked):
    names = asked.with_vector if isinstance(asked.with_vector, list) else []
    ids = [uuid.UUID(i) for i in asked.ids]
    found = shard.retrieve(ids, with_payload=asked.with_payload, with_vector=bool(names))
    rows = []
    for record in found:
        row = {"id": str(record.id), "payload": record.payload}
        if names:
            held = {name: record.vector.get(name) for name in names}
            row["vector"] = {n: {"indices": v.indices, "values": v.values} for n, v in held.items() if v is not None}
        rows.append(row)
    return rows
