"""The CSI driver `s3.mount` and its registration at the kubelet: what each gRPC method answers.

Volumes exist inline in pods only, so the driver has no capabilities and no controller. Not here:
gRPC (`pluginserver`), how a volume is mounted (`nodemounts`).

Threading: methods are called by the server's threads, several at a time.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fusefs.errors import SetupError
from fusefs.keeper.keptmount import log
from fusefs.node.messages import CSI, REGISTRATION, message_class
from fusefs.node.nodemounts import NodeMounts
from fusefs.node.publication import PublishError, publication, target_of
from fusefs.node.settings import NAME
from fusefs.node.token import TokenKeys

CSI_VERSIONS = ("1.0.0",)  # of the interface; a kubelet asks for this major version


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service, its messages and the function that answers it."""

    service: str
    name: str
    request: Any
    answer: Callable[[Any], Any]


class CsiDriver:
    """Answers the kubelet, for one node."""

    def __init__(
        self, version: str, node: str, pods: str, mounts: NodeMounts, keys: TokenKeys
    ) -> None:
        """`version` is ours, `node` the node's name, `pods` the kubelet's directory of pods."""
        self._version = version
        self._node = node
        self._pods = pods
        self._mounts = mounts
        self._keys = keys

    def methods(self) -> Iterator[Method]:
        """Return the methods of the services Identity and Node of the CSI."""
        plugin = message_class(CSI, "GetPluginInfoResponse")(
            name=NAME, vendor_version=self._version
        )
        node = message_class(CSI, "NodeGetInfoResponse")(node_id=self._node)
        for service, method, answer in (
            ("Identity", "GetPluginInfo", lambda _: plugin),
            ("Identity", "GetPluginCapabilities", _nothing("GetPluginCapabilities")),
            ("Identity", "Probe", _nothing("Probe")),
            ("Node", "NodeGetCapabilities", _nothing("NodeGetCapabilities")),
            ("Node", "NodeGetInfo", lambda _: node),
            ("Node", "NodePublishVolume", self._publish),
            ("Node", "NodeUnpublishVolume", self._unpublish),
        ):
            request = message_class(CSI, f"{method}Request")
            yield Method(f"{CSI}.{service}", method, request, answer)

    def _publish(self, request: Any) -> Any:
        began = time.monotonic()
        path, context = request.target_path, dict(request.volume_context)
        try:
            asked = publication(
                path, context, read_only=request.readonly, pods=self._pods, keys=self._keys
            )
            self._mounts.publish(asked)
        except (PublishError, SetupError) as error:
            log("error", "a volume is not published", target=path, error=str(error))
            if isinstance(error, PublishError):
                raise
            raise PublishError("FAILED_PRECONDITION", str(error)) from error
        took = round(1000 * (time.monotonic() - began))
        pod = f"{asked.namespace}/{asked.pod_name}"
        log("info", "published", pod=pod, mount=asked.target.name, ms=took)
        return message_class(CSI, "NodePublishVolumeResponse")()

    def _unpublish(self, request: Any) -> Any:
        target = target_of(request.target_path, self._pods)
        if target is None:
            text = f"{request.target_path!r} is no place of a volume of {NAME}"
            raise PublishError("INVALID_ARGUMENT", text)
        self._mounts.unpublish(target)
        log("info", "unpublished", pod=target.pod, mount=target.name)
        return message_class(CSI, "NodeUnpublishVolumeResponse")()


def _nothing(method: str) -> Callable[[Any], Any]:
    """Return a function that answers a method with nothing: there are no capabilities."""
    response = message_class(CSI, f"{method}Response")()
    return lambda _: response


def registration(endpoint: str) -> Iterator[Method]:
    """Return the methods by which a kubelet learns of the driver; `endpoint` is its socket."""
    service = f"{REGISTRATION}.Registration"
    plugin = message_class(REGISTRATION, "PluginInfo")(
        type="CSIPlugin", name=NAME, endpoint=endpoint, supported_versions=CSI_VERSIONS
    )
    heard = message_class(REGISTRATION, "RegistrationStatusResponse")()

    def notified(status: Any) -> Any:
        if status.plugin_registered:
            log("info", "registered at the kubelet", driver=NAME)
        else:
            log("error", "the kubelet refuses the driver", driver=NAME, error=status.error)
        return heard

    yield Method(service, "GetInfo", message_class(REGISTRATION, "InfoRequest"), lambda _: plugin)
    request = message_class(REGISTRATION, "RegistrationStatus")
    yield Method(service, "NotifyRegistrationStatus", request, notified)
