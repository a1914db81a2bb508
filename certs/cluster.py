"""The API server's Secret, webhook configuration and AnnouncedImages; its client is used here only.

Every call has a time limit and returns a value or raises Conflict, Missing or Unreachable. One
thread.
"""

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, cast

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from certs.errors import Conflict, Missing, Unreachable
from certs.rotation import Live, Stored

# Seconds to connect and to answer; a step makes four calls at most, well inside a heartbeat.
_TIMEOUT = (3.0, 7.0)
_MERGE = "application/merge-patch+json"
# Prefix of the annotation with the last beat of a replica.
_BEAT = "beat.s3.mount/"
# Group, version and plural of deploy/guards/images.yaml.
_ANNOUNCED = ("s3.mount", "v1", "announcedimages")
_LABELS = {
    "app.kubernetes.io/name": "s3mount",
    "app.kubernetes.io/managed-by": "s3mount-certificates",
}
_STRATEGIC_MERGE = "application/strategic-merge-patch+json"
_T = TypeVar("_T")


def connect() -> client.ApiClient:
    """Return a client for the cluster this runs in, else for the current kubeconfig."""
    settings = client.Configuration()
    # The next round retries.
    settings.retries = 0
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(settings)  # type: ignore[no-untyped-call]  # no hints
        else:
            config.load_kube_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise Unreachable(f"no way to reach an API server: {error}") from error
    return client.ApiClient(settings)


class KubernetesCluster:
    """The Secret and the webhook configuration, by their names."""

    def __init__(
        self, api: client.ApiClient, namespace: str, secret: str, configuration: str
    ) -> None:
        self._core = client.CoreV1Api(api)
        self._admission = client.AdmissionregistrationV1Api(api)
        self._namespace = namespace
        self._secret = secret
        self._configuration = configuration

    def read_bundles(self) -> Live:
        """Return each webhook's caBundle; Missing without configuration or webhooks."""
        answer = _call(
            lambda: self._admission.read_mutating_webhook_configuration_with_http_info(
                self._configuration, _request_timeout=_TIMEOUT
            )
        )
        where = f"the webhook configuration {self._configuration}"
        if answer is None:
            raise Missing(f"{where} doesn't exist; apply the manifests again")
        found, _, headers = answer
        if not found.webhooks:
            raise Missing(f"{where} has no webhooks; apply the manifests again")
        return Live(
            version=_version(found.metadata),
            bundles={w.name: _decode(w.client_config.ca_bundle) for w in found.webhooks},
            date=_date(headers),
        )

    def write_bundles(self, live: Live, bundle: bytes) -> None:
        """Patch the caBundles only, at the version that was read."""
        encoded = base64.b64encode(bundle).decode()
        patch = {
            "metadata": {"resourceVersion": live.version},
            "webhooks": [
                {"name": name, "clientConfig": {"caBundle": encoded}} for name in live.bundles
            ],
        }
        answer = _call(
            lambda: self._admission.patch_mutating_webhook_configuration(
                self._configuration,
                patch,
                field_manager="s3mount-certificates",
                _content_type=_STRATEGIC_MERGE,
                _request_timeout=_TIMEOUT,
            )
        )
        if answer is None:
            raise Conflict(f"the webhook configuration {self._configuration} was just deleted")

    def read_secret(self) -> Stored | None:
        """Return the Secret's contents; None without a Secret."""
        found = _call(
            lambda: self._core.read_namespaced_secret(
                self._secret, self._namespace, _request_timeout=_TIMEOUT
            )
        )
        if found is None:
            return None
        data = {name: _decode(value) for name, value in (found.data or {}).items()}
        return Stored(_version(found.metadata), data)

    def create_secret(self, data: Mapping[str, bytes]) -> None:
        """Create the Secret; Conflict if another replica was first."""
        body = self._body(data)
        answer = _call(
            lambda: self._core.create_namespaced_secret(
                self._namespace, body, _request_timeout=_TIMEOUT
            )
        )
        if answer is None:
            raise Unreachable(f"the namespace {self._namespace} doesn't exist")

    def replace_secret(self, stored: Stored, data: Mapping[str, bytes]) -> None:
        """Replace the contents; Conflict if the Secret has changed since it was read."""
        body = self._body(data, stored.version)
        answer = _call(
            lambda: self._core.replace_namespaced_secret(
                self._secret, self._namespace, body, _request_timeout=_TIMEOUT
            )
        )
        if answer is None:
            raise Conflict(f"the Secret {self._secret} was just deleted")

    def _body(self, data: Mapping[str, bytes], version: str | None = None) -> client.V1Secret:
        return client.V1Secret(
            metadata=client.V1ObjectMeta(
                name=self._secret,
                resource_version=version,
                labels=_LABELS,
            ),
            type="Opaque",
            data={name: base64.b64encode(value).decode() for name, value in data.items()},
        )


class ImagesBoard:
    """The images of all replicas, in an AnnouncedImages: `announcement.Board`.

    It needs no right to read: a patch returns the whole object.
    """

    def __init__(self, api: client.ApiClient, namespace: str, name: str) -> None:
        self._objects = client.CustomObjectsApi(api)
        self._namespace = namespace
        self._name = name

    def announce(self, replica: str, image: str, beat: str) -> Mapping[str, str]:
        entry = _entries({replica: image}, {_key(replica): beat})
        found = self._patch(entry) or self._create(entry)
        replicas = {_key(name): name for name in found.get("data") or {}}
        annotations = found["metadata"].get("annotations") or {}
        return {replicas[key]: text for key, text in annotations.items() if key in replicas}

    def withdraw(self, replicas: list[str]) -> None:
        self._patch(_entries(dict.fromkeys(replicas), {_key(name): None for name in replicas}))

    def _patch(self, entries: dict[str, Any]) -> dict[str, Any] | None:
        group, version, plural = _ANNOUNCED
        return _call(
            lambda: cast(
                dict[str, Any],
                self._objects.patch_namespaced_custom_object(
                    group,
                    version,
                    self._namespace,
                    plural,
                    self._name,
                    entries,
                    field_manager="s3mount-images",
                    _content_type=_MERGE,
                    _request_timeout=_TIMEOUT,
                ),
            )
        )

    def _create(self, entries: dict[str, Any]) -> dict[str, Any]:
        """Make the object; Conflict when another replica was first, Missing without its kind."""
        group, version, plural = _ANNOUNCED
        metadata = {"name": self._name, "labels": _LABELS, **entries["metadata"]}
        kind = {"apiVersion": f"{group}/{version}", "kind": "AnnouncedImages"}
        body = {**kind, "metadata": metadata, "data": entries["data"]}
        found = _call(
            lambda: cast(
                dict[str, Any],
                self._objects.create_namespaced_custom_object(
                    group,
                    version,
                    self._namespace,
                    plural,
                    body,
                    field_manager="s3mount-images",
                    _request_timeout=_TIMEOUT,
                ),
            )
        )
        if found is None:
            # Just applied and not served yet, or deleted.
            definition = f"the CustomResourceDefinition {plural}.{group}"
            raise Missing(f"{definition} isn't served; if that stays so, apply the manifests again")
        return found


def _entries(data: Mapping[str, str | None], beats: Mapping[str, str | None]) -> dict[str, Any]:
    return {"data": data, "metadata": {"annotations": beats}}


def _key(replica: str) -> str:
    # The name in an annotation's key has at most 63 characters; a pod's unique part is at its end.
    return _BEAT + replica[-63:].lstrip("-.")


def _call(request: Callable[[], _T]) -> _T | None:
    """Run one request; None for 404. The client's errors are wrapped here, without their bodies."""
    try:
        return request()
    except client.ApiException as error:
        if error.status == 404:
            return None
        if error.status == 409:
            raise Conflict("another writer was first; reading again") from error
        raise Unreachable(_refusal(error)) from error
    except (HTTPError, OSError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise Unreachable(f"the API server doesn't answer: {reason}") from error
    except ValueError as error:
        # Its text may quote the request, the token included; so no cause either.
        raise Unreachable(f"no usable request or answer: {type(error).__name__}") from None


def _refusal(error: client.ApiException) -> str:
    hint = ""
    if error.status in (401, 403):
        hint = "; the rights that are needed are in deploy/base and deploy/guards, rbac.yaml"
    return f"the API server refused: {error.status} {error.reason}{hint}"


def _version(metadata: client.V1ObjectMeta | None) -> str:
    if metadata is None or not metadata.resource_version:
        raise Unreachable("the API server's answer has no resourceVersion")
    return metadata.resource_version


def _decode(text: str | bytes | None) -> bytes:
    # Undecodable data is no certificate; the reader reports it.
    try:
        return base64.b64decode(text or "", validate=True)
    except binascii.Error:
        return b"not base64"


def _date(headers: Mapping[str, Any]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers["Date"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        return None
