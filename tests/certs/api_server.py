"""An API server over HTTP that knows one namespace's Secrets and one webhook configuration.

Enough of the real one's manners for a client to be wrong about: resourceVersion conflicts, 404,
AlreadyExists, the Date header, and a strategic merge patch that merges webhooks by their name while
any other patch type replaces the list.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/"
SECRETS = "/api/v1/namespaces/s3mount-system/secrets"
Object = dict[str, Any]


class ApiServer:
    """The objects, by path; `fail` makes every answer this status."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.version = 0
        self.fail: int | None = None
        self.objects: dict[str, Object] = {}
        # Beginnings of paths that aren't served, as before a CustomResourceDefinition is.
        self.unserved: set[str] = set()
        self.requests: list[str] = []
        self.url = ""

    def put(self, path: str, body: Object) -> Object:
        """Store an object at a path with a new version."""
        self.version += 1
        body.setdefault("metadata", {})["resourceVersion"] = str(self.version)
        self.objects[path] = body
        return body

    def answer(self, method: str, path: str, content_type: str, body: Object) -> tuple[int, Object]:
        """Status and body, as a real API server's."""
        with self.lock:
            self.requests.append(f"{method} {path}")
            if self.fail:
                return self.fail, {"kind": "Status", "message": "as you wished", "code": self.fail}
            if path.startswith(tuple(self.unserved)):
                return 404, {"kind": "Status", "reason": "NotFound", "code": 404}
            if method == "POST":
                return self._create(f"{path}/{body['metadata']['name']}", body)
            if path not in self.objects:
                return 404, {"kind": "Status", "reason": "NotFound", "code": 404}
            if method == "GET":
                return 200, self.objects[path]
            return self._change(path, content_type, body)

    def _create(self, path: str, body: Object) -> tuple[int, Object]:
        if path in self.objects:
            return 409, {"kind": "Status", "reason": "AlreadyExists", "code": 409}
        return 201, self.put(path, body)

    def _change(self, path: str, content_type: str, body: Object) -> tuple[int, Object]:
        before = self.objects[path]
        expected = body.get("metadata", {}).get("resourceVersion")
        if expected not in (None, before["metadata"]["resourceVersion"]):
            return 409, {"kind": "Status", "reason": "Conflict", "code": 409}
        if "patch" not in content_type:
            return 200, self.put(path, body)
        after = merge(before, body, by_name="strategic" in content_type)
        return 200, self.put(path, after)


def merge(before: Any, patch: Any, *, by_name: bool) -> Any:
    """Apply a merge patch; lists of named things are merged by name or replaced."""
    if isinstance(before, dict) and isinstance(patch, dict):
        changed = {k: merge(before.get(k), v, by_name=by_name) for k, v in patch.items()}
        return {key: value for key, value in {**before, **changed}.items() if value is not None}
    if isinstance(before, list) and isinstance(patch, list) and by_name:
        patches = {item["name"]: item for item in patch}
        return [merge(i, patches.get(i["name"], {}), by_name=by_name) for i in before]
    return patch


@contextmanager
def serving() -> Iterator[ApiServer]:
    """An API server on a free port of the loopback interface."""
    state = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length) or b"{}")
            path = self.path.partition("?")[0]
            content_type = self.headers.get("Content-Type", "")
            status, answer = state.answer(self.command, path, content_type, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = handle_any  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield state
        server.shutdown()
