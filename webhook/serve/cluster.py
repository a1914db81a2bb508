"""Objects of the cluster, mirrored from the API server into memory: what is kept of each.

kubernetes is used here only, for its connection. For labels of namespaces and names of Secrets
requests ask for metadata alone (PartialObjectMetadata), so that no content of a Secret reaches this
process. One thread per mirror lists, watches and lists again; it alone writes, by single
assignments, and reviews read dictionaries without waiting.
"""

import contextlib
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from webhook.errors import SettingsError
from webhook.serve.log import Logger

# The API server ends a watch after this time; a bit later the connection counts as dead.
_WATCH_SECONDS = 300
_SLACK_SECONDS = 30
_CONNECT_SECONDS = 5
_SEND_SECONDS = 10
RETRY_SECONDS = 5.0

Key = tuple[str, str]
Kept = TypeVar("Kept")


class Malformed(Exception):
    """A malformed answer: the request is repeated later, as after no answer."""


class Api(Protocol):
    """The one request of a mirror; tests have an implementation of their own."""

    def get(self, path: str, accept: str, query: Mapping[str, str]) -> Iterator[bytes]:
        """Yield the lines of the answer; OSError for any failure."""


@dataclass(frozen=True)
class Form(Generic[Kept]):
    """What is asked for and kept of each object; of one that gives None nothing is kept.

    `keep` raises Malformed for what can't be such an object. `page`: objects of one answer.
    """

    list_as: str
    watch_as: str
    page: int
    keep: Callable[[dict[str, Any]], Kept | None]


class ClusterApi:
    """Requests through the kubernetes client, with the pod's service account or KUBECONFIG."""

    def __init__(self, settings: client.Configuration | None = None) -> None:
        self._client = client.ApiClient(settings or _found_settings())

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> int:
        """Send an object, or a merge patch of one; return the status. OSError for no answer."""
        kind = "merge-patch+json" if method == "PATCH" else "json"
        request = self._client.param_serialize(
            method=method,
            resource_path=path,
            body=body,
            header_params={"Accept": "application/json", "Content-Type": f"application/{kind}"},
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._client.call_api(*request, _request_timeout=_SEND_SECONDS).response
            with contextlib.closing(answer):
                answer.read()  # so that the connection can be used again
                return int(answer.status)
        except (HTTPError, client.ApiException) as error:
            raise OSError(f"no answer from the API server for {path}: {error}") from error

    def get(self, path: str, accept: str, query: Mapping[str, str]) -> Iterator[bytes]:
        request = self._client.param_serialize(
            method="GET",
            resource_path=path,
            query_params=list(query.items()),
            header_params={"Accept": accept},
            auth_settings=["BearerToken"],
        )
        timeout = (_CONNECT_SECONDS, _WATCH_SECONDS + _SLACK_SECONDS)
        try:
            answer = self._client.call_api(*request, _request_timeout=timeout).response
            with contextlib.closing(answer):
                if answer.status != 200:
                    raise OSError(f"the API server answered {answer.status} for {path}")
                yield from answer
        except (HTTPError, client.ApiException) as error:
            raise OSError(f"no answer from the API server for {path}: {error}") from error


def _found_settings() -> client.Configuration:
    settings = client.Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(settings)  # type: ignore[no-untyped-call] # no hints
        else:
            config.load_kube_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise SettingsError(f"lookups and events need the API server: {error}") from error
    return settings


class Mirror(Generic[Kept]):
    """What is kept of all objects of one kind, by namespace and name."""

    def __init__(
        self, api: Api, path: str, form: Form[Kept], log: Logger, retry: float = RETRY_SECONDS
    ) -> None:
        self._api, self._path, self._form, self._log, self._retry = api, path, form, log, retry
        self._objects: dict[Key, Kept] | None = None
        self._stop = threading.Event()

    def start(self) -> None:
        """Start the thread of the mirror, which ends with the process."""
        threading.Thread(target=self._run, name=f"mirror {self._path}", daemon=True).start()

    def stop(self) -> None:
        """Stop at the next answer of the API server."""
        self._stop.set()

    def get(self, namespace: str, name: str) -> Kept | None:
        """Return what is kept of an object; None if it doesn't exist or isn't known yet."""
        return (self._objects or {}).get((namespace, name))

    def all(self) -> list[Kept] | None:
        """Return what is kept of all; None before the first complete list."""
        return None if self._objects is None else list(self._objects.copy().values())

    def holds(self, namespace: str, name: str) -> bool | None:
        """Return whether an object exists; None before the first complete list."""
        return None if self._objects is None else (namespace, name) in self._objects

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._watch(self._list())
                # The version was forgotten. Of a server that forgets at once, lists make a storm.
                self._stop.wait(max(0.0, began + self._retry - time.monotonic()))
            except (OSError, Malformed) as error:
                # The mirrored data stays: old labels are better than none.
                self._log.warning("mirror interrupted", path=self._path, reason=str(error))
                self._stop.wait(self._retry * random.uniform(0.5, 1.5))  # noqa: S311 - a jitter

    def _list(self) -> str:
        found: dict[Key, Kept] = {}
        query = {"limit": str(self._form.page)}
        while True:
            answer = _object(b"".join(self._api.get(self._path, self._form.list_as, query)))
            # Go's encoder writes null for an empty list.
            for item in part(answer, "items", list) or ():
                key, kept = self._entry(item)
                if kept is not None:
                    found[key] = kept
            metadata = part(answer, "metadata", dict)
            if not metadata.get("continue"):
                break
            query["continue"] = str(metadata["continue"])
        self._objects = found
        self._log.info("mirror complete", path=self._path, objects=len(found))
        return _version(metadata)

    def _watch(self, version: str) -> None:
        """Follow changes, watch after watch, until the version is too old for the API server."""
        while not self._stop.is_set():
            query = {
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                "timeoutSeconds": str(_WATCH_SECONDS),
            }
            for line in self._api.get(self._path, self._form.watch_as, query):
                event = _object(line)
                if event.get("type") == "ERROR":
                    return
                item = part(event, "object", dict)
                version = _version(part(item, "metadata", dict))
                self._apply(str(event.get("type")), item)

    def _apply(self, kind: str, item: dict[str, Any]) -> None:
        if self._objects is None or kind == "BOOKMARK":
            return
        key, kept = self._entry(item)
        if kind == "DELETED" or kept is None:
            self._objects.pop(key, None)
        else:
            self._objects[key] = kept

    def _entry(self, item: Any) -> tuple[Key, Kept | None]:
        if not isinstance(item, dict):
            raise Malformed("an object in the answer is none")
        metadata = part(item, "metadata", dict)
        namespace, name = (metadata.get(key) or "" for key in ("namespace", "name"))
        return (str(namespace), str(name)), self._form.keep(item)


def _labels(item: dict[str, Any]) -> Mapping[str, str]:
    metadata = part(item, "metadata", dict)
    return {str(key): str(value) for key, value in part(metadata, "labels", dict).items()}


_METADATA = Form(
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    500,
    _labels,
)


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Malformed("the API server's answer is no JSON") from error
    if not isinstance(found, dict):
        raise Malformed("the API server's answer is no object")
    return found


def part(of: dict[str, Any], key: str, kind: type) -> Any:
    """Return the value at a key; null and absent are empty, another type is malformed."""
    value = of.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise Malformed(f"{key} in the API server's answer has another type")
    return value


def _version(metadata: dict[str, Any]) -> str:
    """Return the resourceVersion; a watch without one would begin anywhere."""
    version = metadata.get("resourceVersion")
    if not isinstance(version, str) or not version:
        raise Malformed("the API server's answer has no resourceVersion")
    return version


class ClusterLookup:
    """A `Lookup` from mirrors; without a mirror its facts are unknown."""

    def __init__(
        self,
        api: Api,
        log: Logger,
        *,
        namespaces: bool,
        secrets: bool,
        retry: float = RETRY_SECONDS,
    ) -> None:
        def mirror(path: str) -> Mirror[Mapping[str, str]]:
            return Mirror(api, path, _METADATA, log, retry)

        self._namespaces = mirror("/api/v1/namespaces") if namespaces else None
        self._secrets = mirror("/api/v1/secrets") if secrets else None
        for each in (self._namespaces, self._secrets):
            if each is not None:
                each.start()

    def labels(self, namespace: str) -> Mapping[str, str] | None:
        return self._namespaces.get("", namespace) if self._namespaces else None

    def has_secret(self, namespace: str, name: str) -> bool | None:
        return self._secrets.holds(namespace, name) if self._secrets else None

    def stop(self) -> None:
        """Stop both mirrors."""
        for mirror in (self._namespaces, self._secrets):
            if mirror is not None:
                mirror.stop()
