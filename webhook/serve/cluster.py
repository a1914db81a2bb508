"""Labels of namespaces and names of Secrets, mirrored from the API server into memory.

kubernetes is used here only, for its connection: requests ask for metadata alone
(PartialObjectMetadata), so that no content of a Secret reaches this process. One thread per mirror
lists, watches and lists again; it alone writes, by single assignments, and reviews read
dictionaries without waiting.
"""

import contextlib
import json
import os
import random
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from webhook.errors import SettingsError
from webhook.serve.log import Logger

_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_WATCH = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_PAGE = 500
# The API server ends a watch after this time; a bit later the connection counts as dead.
_WATCH_SECONDS = 300
_SLACK_SECONDS = 30
_CONNECT_SECONDS = 5
RETRY_SECONDS = 5.0

Key = tuple[str, str]


class _Malformed(Exception):
    """A malformed answer: the request is repeated later, as after no answer."""


class Api(Protocol):
    """The one request of a mirror; tests have an implementation of their own."""

    def get(self, path: str, accept: str, query: Mapping[str, str]) -> Iterator[bytes]:
        """Yield the lines of the answer; OSError for any failure."""


class ClusterApi:
    """Requests through the kubernetes client, with the pod's service account or KUBECONFIG."""

    def __init__(self) -> None:
        settings = client.Configuration()
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ:
                config.load_incluster_config(settings)  # type: ignore[no-untyped-call] # no hints
            else:
                config.load_kube_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        except config.ConfigException as error:
            raise SettingsError(f"lookups need a way to the API server: {error}") from error
        self._client = client.ApiClient(settings)

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


class Mirror:
    """The metadata of all objects of one kind; `names` is None until the first list is complete."""

    def __init__(self, api: Api, path: str, log: Logger, retry: float = RETRY_SECONDS) -> None:
        self._api, self._path, self._log, self._retry = api, path, log, retry
        self._objects: dict[Key, Mapping[str, str]] | None = None
        self._stop = threading.Event()

    def start(self) -> None:
        """Start the thread of the mirror, which ends with the process."""
        threading.Thread(target=self._run, name=f"mirror {self._path}", daemon=True).start()

    def stop(self) -> None:
        """Stop at the next answer of the API server."""
        self._stop.set()

    def labels(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return an object's labels; None if it doesn't exist or isn't known yet."""
        return (self._objects or {}).get((namespace, name))

    def holds(self, namespace: str, name: str) -> bool | None:
        """Return whether an object exists; None before the first complete list."""
        return None if self._objects is None else (namespace, name) in self._objects

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._watch(self._list())
            except (OSError, _Malformed) as error:
                # The mirrored data stays: old labels are better than none.
                self._log.warning("mirror interrupted", path=self._path, reason=str(error))
                self._stop.wait(self._retry * random.uniform(0.5, 1.5))  # noqa: S311 - a jitter

    def _list(self) -> str:
        found: dict[Key, Mapping[str, str]] = {}
        query = {"limit": str(_PAGE)}
        while True:
            answer = _object(b"".join(self._api.get(self._path, _LIST, query)))
            # Go's encoder writes null for an empty list.
            found |= dict(map(_entry, _part(answer, "items", list) or ()))
            metadata = _part(answer, "metadata", dict)
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
            for line in self._api.get(self._path, _WATCH, query):
                event = _object(line)
                if event.get("type") == "ERROR":
                    return
                item = _part(event, "object", dict)
                version = _version(_part(item, "metadata", dict))
                self._apply(str(event.get("type")), item)

    def _apply(self, kind: str, item: dict[str, Any]) -> None:
        key, labels = _entry(item)
        if self._objects is None or kind == "BOOKMARK":
            return
        if kind == "DELETED":
            self._objects.pop(key, None)
        else:
            self._objects[key] = labels


def _entry(item: Any) -> tuple[Key, Mapping[str, str]]:
    if not isinstance(item, dict):
        raise _Malformed("an object in the answer is none")
    metadata = _part(item, "metadata", dict)
    namespace, name = (metadata.get(key) or "" for key in ("namespace", "name"))
    labels = {str(key): str(value) for key, value in _part(metadata, "labels", dict).items()}
    return (str(namespace), str(name)), labels


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _Malformed("the API server's answer is no JSON") from error
    if not isinstance(found, dict):
        raise _Malformed("the API server's answer is no object")
    return found


def _part(of: dict[str, Any], key: str, kind: type) -> Any:
    """Return the value at a key; null and absent are empty, another type is malformed."""
    value = of.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise _Malformed(f"{key} in the API server's answer has another type")
    return value


def _version(metadata: dict[str, Any]) -> str:
    """Return the resourceVersion; a watch without one would begin anywhere."""
    version = metadata.get("resourceVersion")
    if not isinstance(version, str) or not version:
        raise _Malformed("the API server's answer has no resourceVersion")
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
        self._namespaces = Mirror(api, "/api/v1/namespaces", log, retry) if namespaces else None
        self._secrets = Mirror(api, "/api/v1/secrets", log, retry) if secrets else None
        for mirror in (self._namespaces, self._secrets):
            if mirror is not None:
                mirror.start()

    def labels(self, namespace: str) -> Mapping[str, str] | None:
        return self._namespaces.labels("", namespace) if self._namespaces else None

    def has_secret(self, namespace: str, name: str) -> bool | None:
        return self._secrets.holds(namespace, name) if self._secrets else None

    def stop(self) -> None:
        """Stop both mirrors."""
        for mirror in (self._namespaces, self._secrets):
            if mirror is not None:
                mirror.stop()
