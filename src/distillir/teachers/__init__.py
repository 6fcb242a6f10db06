"""Teachers: large models, reached over HTTP or on this machine, asked once and paid once."""

from distillir.teachers.cross_encoder import CrossEncoderModel, CrossEncoderSettings
from distillir.teachers.endpoint import Endpoint, EndpointSettings
from distillir.teachers.jobs import Ask, Job, one_call
from distillir.teachers.likelihood import LikelihoodSettings, LikelihoodTeacher
from distillir.teachers.listwise import Listwise, ListwiseSettings
from distillir.teachers.local import LocalModel, LocalSettings
from distillir.teachers.packaged_llm import PACKAGED_LLMS
from distillir.teachers.passages import Passages
from distillir.teachers.pointwise import Pointwise, PointwiseSettings
from distillir.teachers.prices import SECONDS, Prices
from distillir.teachers.progress import Outcome, Progress
from distillir.teachers.prompts import Prompt, load_prompt
from distillir.teachers.requests import (
    Choose,
    Chosen,
    Failure,
    Generate,
    Generated,
    Likelihood,
    Message,
    Model,
    Question,
    Score,
    Scored,
    Usage,
    chat,
)
from distillir.teachers.respond import Respond, RespondSettings
from distillir.teachers.retry import Retry
from distillir.teachers.rewrite import Rewrite, RewriteSettings
from distillir.teachers.runner import RunSettings, label, label_async
from distillir.teachers.server import LlamaServer, ServerSettings
from distillir.teachers.synthesize import Synthesize, SynthesizeSettings, synthetic_contexts
from distillir.teachers.synthetic_audit import audit_synthetic
from distillir.teachers.teacher import Candidates, Teacher, estimate_teacher, made_labels, teach, teach_async

__all__ = [
    "PACKAGED_LLMS",
    "SECONDS",
    "Ask",
    "Candidates",
    "Choose",
    "Chosen",
    "CrossEncoderModel",
    "CrossEncoderSettings",
    "Endpoint",
    "EndpointSettings",
    "Failure",
    "Generate",
    "Generated",
    "Job",
    "Likelihood",
    "LikelihoodSettings",
    "LikelihoodTeacher",
    "Listwise",
    "ListwiseSettings",
    "LlamaServer",
    "LocalModel",
    "LocalSettings",
    "Message",
    "Model",
    "Outcome",
    "Passages",
    "Pointwise",
    "PointwiseSettings",
    "Prices",
    "Progress",
    "Prompt",
    "Question",
    "Respond",
    "RespondSettings",
    "Retry",
    "Rewrite",
    "RewriteSettings",
    "RunSettings",
    "Score",
    "Scored",
    "ServerSettings",
    "Synthesize",
    "SynthesizeSettings",
    "Teacher",
    "Usage",
    "audit_synthetic",
    "chat",
    "estimate_teacher",
    "label",
    "label_async",
    "load_prompt",
    "made_labels",
    "one_call",
    "synthetic_contexts",
    "teach",
    "teach_async",
]
