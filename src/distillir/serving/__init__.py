"""The HTTP service: conversational search without a language model in its way.

Names are loaded when they are used: reading a shadow log needs neither a server nor a model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distillir.serving.agreement import ShadowReport, shadow_report
    from distillir.serving.app import create_app
    from distillir.serving.cluster import Cluster
    from distillir.serving.loading import Source
    from distillir.serving.rewriter import Rewriter
    from distillir.serving.server import app_of, open_service, serve
    from distillir.serving.service import Service
    from distillir.serving.settings import ServeSettings
    from distillir.serving.shadow import ShadowSettings, read_shadow

__all__ = [
    "Cluster",
    "Rewriter",
    "ServeSettings",
    "Service",
    "ShadowReport",
    "ShadowSettings",
    "Source",
    "app_of",
    "create_app",
    "open_service",
    "read_shadow",
    "serve",
    "shadow_report",
]

_LAZY = {
    "Cluster": "distillir.serving.cluster",
    "Rewriter": "distillir.serving.rewriter",
    "ServeSettings": "distillir.serving.settings",
    "Service": "distillir.serving.service",
    "ShadowReport": "distillir.serving.agreement",
    "ShadowSettings": "distillir.serving.shadow",
    "Source": "distillir.serving.loading",
    "app_of": "distillir.serving.server",
    "create_app": "distillir.serving.app",
    "open_service": "distillir.serving.server",
    "read_shadow": "distillir.serving.shadow",
    "serve": "distillir.serving.server",
    "shadow_report": "distillir.serving.agreement",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
