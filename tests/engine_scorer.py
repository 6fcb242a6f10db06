"""An engine in a page: reads a bulk file, answers search requests by the documented scoring, and by nothing of ours.

Scoring: a term of `neural_sparse`, `sparse_vector` or `rank_feature` with `linear` scores weight × stored feature
(Lucene's FeatureField.newLinearQuery), a bool query the sum of its `must` and `should` clauses, `filter` clauses score
nothing and must hold, `boost` multiplies. `rescore` adds a second query's score to the best documents of the first, and
the processor `neural_sparse_two_phase_processor` makes one of a `neural_sparse` query's light terms. Features keep 9
significant bits when `nine_bits` is on. Refuses what the engines refuse: features that are not positive normal floats,
dotted names, weights of neural_sparse outside (0, 64], windows that are too large.
"""

import gzip
import json
import math
import struct
from pathlib import Path

TINY = 2.0**-126


def nine_bits(value):
    """Float.intBitsToFloat((Float.floatToIntBits(value) >>> 15) << 15)"""
    (bits,) = struct.unpack(">I", struct.pack(">f", value))
    return struct.unpack(">f", struct.pack(">I", bits >> 15 << 15))[0]


def float32(value):
    return struct.unpack(">f", struct.pack(">f", value))[0]


def best_first(hits):
    return sorted(hits, key=lambda hit: (-hit[1], hit[0]))


def two_phase(request, size, *, enabled, two_phase_parameter):
    """What the processor makes of a request; one whose query it does not find at the top or in `should` stays."""
    ratio, rate, most = (two_phase_parameter[name] for name in ("prune_ratio", "expansion_rate", "max_window_size"))
    assert 0 <= ratio < 1 <= rate
    assert most >= 50
    if not enabled or ratio == 0:
        return request
    assert "rescore" not in request
    query = json.loads(json.dumps(request["query"]))
    light = [part for part in (lighten(body, ratio) for body in asked_in(query)) if part]
    if not light:
        return request
    window = int(float32(size * float32(rate)))
    assert window <= most
    rescore = {"window_size": window, "query": {"rescore_query": {"bool": {"should": light}}}}
    return {**request, "query": query, "rescore": rescore}


def asked_in(query):
    ((kind, body),) = query.items()
    if kind == "bool":
        return [found for clause in body.get("should", []) for found in asked_in(clause)]
    return [body] if kind == "neural_sparse" else []


def lighten(body, ratio):
    """Take the light terms out of a query; a query of them."""
    ((field, asked),) = body.items()
    least = float32(float32(ratio) * max(map(float32, asked["query_tokens"].values())))
    light = {name: weight for name, weight in asked["query_tokens"].items() if float32(weight) < least}
    for name in light:
        del asked["query_tokens"][name]
    return {"neural_sparse": {field: {**asked, "query_tokens": light}}} if light else None


class Server:
    def __init__(self, files, mapping, *, cut):
        self.properties = mapping["mappings"]["properties"]
        self.cut = cut
        self.documents = {}
        for file in map(Path, files):
            lines = (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8")
            with lines:
                for action in lines:
                    name = json.loads(action)["index"]["_id"]
                    assert len(name.encode()) <= 512
                    self.documents[name] = self.indexed(json.loads(next(lines)))

    def indexed(self, source):
        for field, kind in self.properties.items():
            if kind["type"] in ("rank_features", "sparse_vector"):
                vector = source.setdefault(field, {})
                assert isinstance(vector, dict)
                for feature, weight in vector.items():
                    assert "." not in feature
                    assert weight >= TINY
                    assert math.isfinite(weight)
                    vector[feature] = nine_bits(weight) if self.cut else float32(weight)
        return source

    def search(self, request):
        size = request.get("size", 10)
        for processor in request.get("search_pipeline", {"request_processors": []})["request_processors"]:
            ((kind, options),) = processor.items()
            assert kind == "neural_sparse_two_phase_processor"
            request = two_phase(request, size, **options)
        scored = [(name, self.score(request["query"], source)) for name, source in self.documents.items()]
        hits = best_first((n, s) for n, s in scored if s is not None)
        if "rescore" in request:
            window, query = request["rescore"]["window_size"], request["rescore"]["query"]["rescore_query"]
            assert size <= window <= 10_000  # index.max_rescore_window
            more = {name: self.score(query, self.documents[name]) or 0.0 for name, _ in hits[:window]}
            hits = best_first((name, score + more[name]) for name, score in hits[:window]) + hits[window:]
        return hits[:size]

    def score(self, query, source):
        """None where the document does not match."""
        ((kind, body),) = query.items()
        return getattr(self, f"score_{kind}")(body, source)

    def score_bool(self, body, source):
        def clauses(occur):
            found = body.get(occur, [])
            return found if isinstance(found, list) else [found]

        must = [self.score(q, source) for q in clauses("must")]
        should = [self.score(q, source) for q in clauses("should")]
        if None in must or any(self.score(q, source) is None for q in clauses("filter")):
            return None
        matched = [s for s in should if s is not None]
        if len(matched) < body.get("minimum_should_match", 0 if must or clauses("filter") else 1):
            return None
        return sum(must) + sum(matched)

    def score_rank_feature(self, body, source):
        assert body["linear"] == {}
        field, _, feature = body["field"].rpartition(".")
        assert self.properties[field]["type"] == "rank_features"
        weight = source[field].get(feature)
        return None if weight is None else body.get("boost", 1.0) * weight

    def score_neural_sparse(self, body, source):
        ((field, asked),) = body.items()
        assert asked["query_tokens"]
        assert all(0 < weight <= 64 for weight in asked["query_tokens"].values())
        if self.properties[field]["type"] == "sparse_vector":
            assert all(feature.isdigit() for feature in asked["query_tokens"])
            keep = asked["method_parameters"].get("filter")
            if keep is not None and self.score(keep, source) is None:
                return None
        else:
            assert self.properties[field]["type"] == "rank_features"
        return self.dot(asked["query_tokens"], source[field], asked.get("boost", 1.0))

    def score_sparse_vector(self, body, source):
        assert self.properties[body["field"]]["type"] == "sparse_vector"
        assert body["prune"] is False
        return self.dot(body["query_vector"], source[body["field"]], body.get("boost", 1.0))

    def score_term(self, body, source):
        ((field, asked),) = body.items()
        return self.score_terms({field: [asked["value"]]}, source)

    def score_terms(self, body, source):
        ((field, wanted),) = body.items()
        held = source.get(field, [])
        held = held if isinstance(held, list) else [held]
        boolean = self.properties[field]["type"] == "boolean"
        assert all(isinstance(value, bool) == boolean for value in wanted)
        return 0.0 if any(value in wanted for value in held) else None

    @staticmethod
    def dot(query, vector, boost):
        shared = [weight * vector[feature] for feature, weight in query.items() if feature in vector]
        return boost * math.fsum(shared) if shared else None
