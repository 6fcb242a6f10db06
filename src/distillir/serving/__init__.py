"""The HTTP service: conversational search without a language model in its way."""

from distillir.serving.app import create_app
from distillir.serving.loading import Source
from distillir.serving.rewriter import Rewriter
from distillir.serving.server import app_of, open_service, serve
from distillir.serving.service import Service
from distillir.serving.settings import ServeSettings
from distillir.serving.shadow import ShadowSettings, read_shadow
from distillir.serving.agreement import ShadowReport, shadow_report

__all__ = [
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
