"""The HTTP application: `POST /mutate`, `/healthz` and `/readyz`.

fastapi is used here only, for all but the reviews themselves, which are `endpoint`'s. Runs on one
event loop.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Response
from starlette.routing import Route

from webhook.serve.endpoint import PATH, Endpoint
from webhook.serve.health import Health

Application = Callable[[Any, Any, Any], Awaitable[None]]


def make_app(endpoint: Endpoint, health: Health, lifespan: Any) -> Application:
    """Return the ASGI application; it has no state of its own.

    `lifespan`: an asynchronous context manager around the time it serves, or None.
    """
    app = FastAPI(title="s3mount webhook", openapi_url=None, lifespan=lifespan)
    # For other methods: it answers them with 405.
    app.router.routes.append(Route(PATH, endpoint, methods=["POST"]))

    @app.get("/healthz")
    async def healthz() -> Response:
        return _json(200, {"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> Response:
        body = {"reasons": health.reasons(), "troubles": health.troubles()}
        return _json(200 if health.ready else 503, body)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST":
            await endpoint(scope, receive, send)
        else:
            await app(scope, receive, send)

    return application


def _json(status: int, content: object) -> Response:
    return Response(json.dumps(content), status, media_type="application/json")
