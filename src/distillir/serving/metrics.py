"""What a service counts, for Prometheus."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED = "PROMETHEUS_MULTIPROC_DIR"  # folder in which several workers count together

SECONDS = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 30.0)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """Counters of one service; nothing of a request's text is among their labels."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("distillir_requests", "Requests answered", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "distillir_request_seconds", "Time of a request", ["route"], registry=registry, buckets=SECONDS
        )
        self.step = Histogram(
            "distillir_step_seconds", "Time of a search's steps", ["step"], registry=registry, buckets=SECONDS
        )
        self.batch = Histogram(
            "distillir_encode_batch", "Conversations encoded together", registry=registry, buckets=(1, 2, 4, 8, 16, 32)
        )
        self.cached = Counter("distillir_cache_hits", "Conversations whose vector was remembered", registry=registry)
        self.in_flight = Gauge(
            "distillir_in_flight", "Requests worked on or waiting", registry=registry, multiprocess_mode="livesum"
        )
        self.documents = Gauge(
            "distillir_documents", "Documents in the index", registry=registry, multiprocess_mode="max"
        )
        self.changes = Gauge(
            "distillir_changes", "Number of the last change applied", registry=registry, multiprocess_mode="max"
        )
        self.reloads = Counter("distillir_reloads", "Swaps of model or index", registry=registry)
        self.fallbacks = Counter(
            "distillir_fallbacks", "Searches of low confidence, by what became of them", ["outcome"], registry=registry
        )
        self.shadowed = Counter(
            "distillir_shadow", "Searches of the shadow log, by what became of them", ["outcome"], registry=registry
        )
        self.overlap = Histogram(
            "distillir_shadow_overlap", "Overlap with the rewrite's hits", registry=registry, buckets=SHARES
        )

    def text(self) -> bytes:
        """In Prometheus' own format; of all workers where there are several."""
        registry = self.registry
        if SHARED in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
