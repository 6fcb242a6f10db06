"""Whatever the OpenAPI document allows or forbids is answered with a documented status and shape, and never a 5xx."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

PATHS = {
    "/v1/search",
    "/v1/encode",
    "/v1/rerank",
    "/v1/respond",
    "/v1/compare",
    "/v1/documents",
    "/v1/documents/delete",
    "/v1/reload",
    "/v1/about",
    "/healthz",
    "/readyz",
    "/metrics",
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_no_request_is_a_server_error(live, mode):
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    service = live()
    schema = schemathesis.openapi.from_url(f"{service.url}/v1/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {operation.path for operation in operations} == PATHS
    asked, statuses = 0, set()
    for operation in operations:
        if (mode == "negative" and operation.method.upper() == "GET") or operation.path == "/v1/reload":
            continue

        @settings(
            max_examples=25, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(operation.as_strategy(generation_mode=GenerationMode(mode)))
        def ask(case):
            nonlocal asked
            reply = case.call()
            case.validate_response(reply, checks=checks)
            asked += 1
            statuses.add(reply.status_code)

        ask()
    assert asked > 100
    assert 422 in statuses
    assert mode == "negative" or 200 in statuses
    assert service.search("otter")["hits"]
