"""Requests and replies, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Role = Literal["user", "assistant", "system", "developer", "tool", "function"]
Scalar = str | int | float | bool | None
Name = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class Strict(BaseModel):
    """An option nobody knows is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class Part(BaseModel):
    """A part of a message; those of type "text" are read."""

    type: str
    text: str | None = None


class Message(BaseModel):
    """A message as OpenAI's chats have it; further fields are ignored."""

    role: Role
    content: str | list[Part] | None = None


class Rewrite(Strict):
    """What a rewriter of yours made of the question, for the shadow log to compare with."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=4000)]
    ms: float | None = Field(None, ge=0, description="how long it took")
    prompt_tokens: int = Field(0, ge=0, le=1 << 31)
    completion_tokens: int = Field(0, ge=0, le=1 << 31)


class Chat(Strict):
    """A conversation up to an open question."""

    messages: list[Message] = Field(min_length=1, description="the last one is the user's; system and tool: ignored")


class Search(Chat):
    """Find documents."""

    k: int = Field(10, ge=1, description="hits at most")
    filter: dict[str, Scalar | list[Scalar]] | None = Field(
        None, description="fields that must be equal to the value, or to one of a list"
    )
    rerank: bool = Field(False, description="order the first hits anew by the service's reranker")
    explain: bool = Field(False, description="matched terms of each hit, and the turn each query term came from")
    texts: bool = Field(True, description="whether hits carry text, title and metadata")
    rewrite: Rewrite | None = Field(None, description="compared in the shadow log, where one is kept; changes no hit")


class Encode(Chat):
    """The query as weighted terms."""

    top: int | None = Field(None, ge=1, description="keep this many terms")
    explain: bool = Field(False, description="the turn each term came from")


class Respond(Chat):
    """Find responses of the fixed set."""

    k: int = Field(1, ge=1, description="responses at most")
    filter: dict[str, Scalar | list[Scalar]] | None = None


class Candidate(Strict):
    """A document to be scored; without `text`, the service's own of that id."""

    id: Name
    text: str | None = None
    title: str = ""


class Rerank(Chat):
    """Score candidates for a conversation."""

    documents: list[Candidate] = Field(min_length=1)
    k: int | None = Field(None, ge=1, description="return this many; by default all")


class NewDocument(Strict):
    """A document to add, or to put in the place of the one of its id."""

    id: Name
    text: Annotated[str, StringConstraints(min_length=1)]
    title: str = ""
    group: str = ""
    metadata: dict[Name, Scalar | list[Scalar]] = Field({}, description="what can be filtered by")


class AddDocuments(Strict):
    """Documents to add or replace, all or none."""

    documents: list[NewDocument] = Field(min_length=1)


class DeleteDocuments(Strict):
    """Documents to delete; an id that is not there is no error."""

    ids: list[Name] = Field(min_length=1)


class Served(BaseModel):
    """What a reply was made with: the same request gets the same reply from the same versions."""

    model: str
    index: str


class Term(BaseModel):
    """A vocabulary entry and its weight; of a hit, the product of both weights."""

    term: str
    weight: float


class Origin(Term):
    """A query term and where it comes from."""

    token: str = Field(description="token of the conversation where it peaks")
    role: Literal["user", "assistant"]
    back: int = Field(description="exchanges back from the open question, 0 for the question itself")


class Hit(BaseModel):
    """A document that was found."""

    id: str
    score: float
    title: str = ""
    text: str = ""
    metadata: dict[str, Any] = {}
    terms: list[Term] | None = Field(None, description="shared terms, with `explain`")


class Reply(BaseModel):
    """In every reply: versions and milliseconds."""

    served: Served
    ms: dict[str, float] = Field(description="milliseconds by step, and `total`")


class SearchReply(Reply):
    """Hits, best first."""

    hits: list[Hit]
    active_dims: int = Field(description="terms of the query")
    answered_by: Literal["student", "rewrite"] = Field(description="`rewrite`: confidence was low, and the LLM asked")
    confidence: float | None = Field(None, description="calibrated chance that the hits are right, where calibrated")
    request: str = Field(description="names this request in the shadow log")
    query: list[Origin] | None = Field(None, description="with `explain`: query terms, largest first")


class EncodeReply(Reply):
    """Weighted terms, largest first."""

    terms: dict[str, float]
    active_dims: int
    query: list[Origin] | None = None


class FoundResponse(BaseModel):
    """A response of the set."""

    id: str
    score: float
    text: str
    metadata: dict[str, Any]


class RespondReply(Reply):
    """Responses, best first; none where no score reaches the threshold."""

    responses: list[FoundResponse]


class ScoredCandidate(BaseModel):
    """A candidate and the reranker's score."""

    id: str
    score: float


class RerankReply(Reply):
    """Candidates, best first."""

    ranking: list[ScoredCandidate]


class ChangeReply(BaseModel):
    """The index version from which on a change is seen; it survives a crash once this reply was sent."""

    served: Served
    documents: int = Field(description="documents in the index")


class ReloadReply(BaseModel):
    """Versions before and after."""

    before: Served
    served: Served


class View(BaseModel):
    """One way of reading the conversation: its hits and what it took."""

    hits: list[Hit]
    ms: float
    active_dims: int
    query: str = Field(description="what was searched with, where it is a text")


class CompareReply(BaseModel):
    """The last turn alone, the student, and the LLM's rewrite where an endpoint is set."""

    served: Served
    last_turn: View
    student: View
    rewrite: View | None
    failure: str = Field("", description="why there is no rewrite")


class About(BaseModel):
    """What this service can do."""

    served: Served
    documents: int
    engine: str
    encoder: str
    rerank: bool
    respond: bool
    rewriter: str = Field(description="model that rewrites, empty for none")
    fallback: bool
    workers: int
    note: str


class Fault(BaseModel):
    """What happened, and what to do about it."""

    cause: str
    cure: str


class ErrorReply(BaseModel):
    """Any error."""

    error: Fault
