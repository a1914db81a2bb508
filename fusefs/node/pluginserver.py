"""gRPC over unix sockets: the plugin's two servers, one for CSI and one for its registration.

grpcio is imported here only. Not here: what is answered (`csidriver`).
Threading: methods are called by the threads of a pool, one per request.
"""

import os
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from fusefs.errors import SetupError
from fusefs.keeper.keptmount import log
from fusefs.node.csidriver import Method
from fusefs.node.publication import PublishError

# A publication waits for its pod's volume, so there are as many as pods may start at once.
THREADS = 32
STOP_SECONDS = 5.0


class PluginServer:
    """Serves methods on one socket."""

    def __init__(self, path: str, methods: Iterable[Method], threads: int = THREADS) -> None:
        """Bind and serve; SetupError where that fails. A socket that is there is replaced."""
        self._path = path
        pool = ThreadPoolExecutor(threads, thread_name_prefix="grpc")
        self._server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers(_handlers(methods))
        try:
            os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)  # noqa: PTH103, PTH120
            self._server.add_insecure_port(f"unix:{path}")
            os.chmod(path, 0o600)  # noqa: PTH101 - a text, like all paths here
        except (OSError, RuntimeError) as error:
            raise SetupError(f"no socket can be made at {path}: {error}") from error
        self._server.start()

    def stop(self) -> None:
        """Answer what was asked, and no more."""
        self._server.stop(STOP_SECONDS).wait()


def _handlers(methods: Iterable[Method]) -> list[Any]:
    services: dict[str, dict[str, Any]] = defaultdict(dict)
    for method in methods:
        services[method.service][method.name] = grpc.unary_unary_rpc_method_handler(
            _answering(method.answer),
            request_deserializer=method.request.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
    return [grpc.method_handlers_generic_handler(name, each) for name, each in services.items()]


def _answering(answer: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the method for gRPC: errors of ours have a code, others are bugs."""

    def method(request: Any, context: Any) -> Any:
        try:
            return answer(request)
        except PublishError as error:
            context.abort(grpc.StatusCode[error.code], str(error))
        except Exception as error:  # noqa: BLE001 - the kubelet shows it, and tries again
            log("error", "a bug: a request failed", traceback=traceback.format_exc())
            context.abort(grpc.StatusCode.INTERNAL, f"a bug of s3mount's plugin: {error!r}")

    return method
