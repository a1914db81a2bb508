"""The HTTP application: `POST /mutate`, `/healthz` and `/readyz`.

fastapi is used here only. Checks type, size and time of the body; `reviewer` makes the answer. Runs
on one event loop.
"""

import json
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from webhook.errors import EnvelopeError
from webhook.serve.bodies import Bodies
from webhook.serve.health import Health
from webhook.serve.metrics import Metrics
from webhook.serve.reviewer import Reviewer
from webhook.serve.settings import Limits


def make_app(
    reviewer: Reviewer, health: Health, metrics: Metrics, limits: Limits, lifespan: Any
) -> FastAPI:
    """Return the application; it has no state of its own.

    `lifespan`: an asynchronous context manager around the time it serves, or None.
    """
    bodies = Bodies(limits)
    app = FastAPI(title="s3mount webhook", openapi_url=None, lifespan=lifespan)

    async def mutate(request: Request) -> Response:
        try:
            answer = reviewer.review(await _body(request, limits, bodies))
        except EnvelopeError as error:
            metrics.rejected(error.status)
            return _json(error.status, {"error": str(error)}, close=True)
        headers = {"connection": "close"} if health.draining else None
        return Response(answer, media_type="application/json", headers=headers)

    # A plain route: FastAPI has no parameters to resolve on each request.
    app.add_route("/mutate", mutate, methods=["POST"])

    @app.get("/healthz")
    async def healthz() -> Response:
        return _json(200, {"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> Response:
        body = {"reasons": health.reasons(), "troubles": health.troubles()}
        return _json(200 if health.ready else 503, body)

    return app


def _json(status: int, content: object, *, close: bool = False) -> Response:
    headers = {"connection": "close"} if close else None
    return Response(json.dumps(content), status, headers, media_type="application/json")


async def _body(request: Request, limits: Limits, bodies: Bodies) -> bytes:
    """Return the request's body; EnvelopeError if its type, size or time is wrong."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise EnvelopeError("the content type is not application/json", 415)
    declared = request.headers.get("content-length", "")
    # Python refuses to parse integers of many digits.
    if declared.isdecimal() and int(declared[:18]) > limits.body:
        raise EnvelopeError(f"the body is longer than {limits.body} bytes", 413)
    try:
        return await bodies.receive(request.stream())
    except ClientDisconnect as error:
        raise EnvelopeError("the client closed the connection within the body") from error
