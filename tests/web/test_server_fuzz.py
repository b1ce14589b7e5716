"""No request that the description allows or forbids breaks the server."""

from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation.modes import GenerationMode
from serving import OWN, TEXT, TOKEN, running

from legible.serve.app import create_app
from legible.serve.settings import Settings


def fuzz(app, examples):
    """Send to every route what its description allows and what it does not; (route, status) of every answer."""
    seen = set()
    calm = settings(max_examples=examples, deadline=None, database=None, derandomize=True,
                    phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
    with running(app) as url:
        schema = schemathesis.openapi.from_dict(app.openapi())
        for found in schema.get_all_operations():
            operation = found.ok()
            for mode in GenerationMode:

                @calm
                @given(case=operation.as_strategy(generation_mode=mode))
                def ask(case):
                    if mode is GenerationMode.POSITIVE:  # noqa: B023 - called at once
                        case.body = aimed(case.body)
                    response = case.call(base_url=url, headers=OWN, timeout=60)
                    seen.add((case.operation.label, response.status_code))
                    allowed = response.status_code < 500 or response.status_code == 501  # steering may be absent
                    assert allowed, (case.as_curl_command(), response.text)

                with suppress(Unsatisfiable):  # nothing can be wrong with a route that takes nothing
                    ask()
    return seen


def aimed(body):
    """A body that gets past what the description cannot say: a source that is there, one prompt, a vector's width."""
    if not isinstance(body, dict):
        return body
    body = {key: value for key, value in body.items() if key not in ("source", "modelId", "nlaSourceId")}
    if "explanations" in body:
        return {"explanations": body["explanations"], "vector": [1.0] * 128}
    if "text" in body or "messages" in body:
        body = {key: value for key, value in body.items() if key != "messages"} | {"text": body.get("text") or TEXT}
    if "max_tokens" in body:
        body["max_tokens"] = min(body["max_tokens"] or 1, 16)
    if "positions" in body:
        body["positions"] = "-1" if isinstance(body["positions"], str) else [0]
    if "vectors" in body:
        body["vectors"] = [[float(index % 7 - 3)] * 127 + [1.0] for index in range(min(3, len(body["vectors"])))]
    return body


def test_no_request_the_description_allows_or_forbids_breaks_the_server(reader, caplog):
    app = create_app({"builtin": reader}, Settings(token=TOKEN))
    seen = fuzz(app, 3)
    assert not [record for record in caplog.records if record.name.startswith("legible.serve")]  # nor streams or jobs
    assert {label for label, _ in seen} == {
        f"{method.upper()} {path}" for path, on in app.openapi()["paths"].items() for method in on
    }
    assert {("POST /api/v1/read", 200), ("POST /api/v1/read", 422), ("POST /api/nla/explain", 422)} <= seen


@pytest.mark.slow
def test_many_more_requests_do_not_break_it_either(reader, caplog):
    assert fuzz(create_app({"builtin": reader}, Settings(token=TOKEN)), 100)
    assert not [record for record in caplog.records if record.name.startswith("legible.serve")]
