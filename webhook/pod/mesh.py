"""Pods whose mesh redirects the network before any container starts: the mount can't reach S3.

A mesh that redirects by a CNI plugin does so for the whole pod from its beginning. A proxy that is
a native sidecar is up before the mount; a classic one, among `containers`, starts after all init
containers, so the mount, which is one of them, would wait for S3 and the pod for the mount. Each
mesh documents an annotation that excludes ports from the redirection; it takes traffic out of the
mesh, so its user has to set it. With an init container of the mesh that redirects (no CNI) the
mount has reached S3 before, and an ambient mesh has no proxy in the pod. Pure functions.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from webhook.pods import Pod, annotations, items
from webhook.problems import Problem
from webhook.spec.mountspec import MountSpec, Wanted


@dataclass(frozen=True)
class Mesh:
    """The containers of a mesh in a pod, and its annotations that exclude traffic.

    `validator`: its init container that checks the CNI plugin. `elsewhere`: annotations that, with
    any value, choose the redirected traffic by address or port.
    """

    name: str
    proxy: str
    validator: str
    ports: str
    native: str
    elsewhere: tuple[str, ...] = ()


_ISTIO = "traffic.sidecar.istio.io/"
# Sources: Istio, "Resource Annotations" and "Install the Istio CNI node agent" (application init
# containers); Linkerd, "Protocol Detection", "Linkerd CNI Plugin" and "Proxy Configuration".
MESHES = (
    Mesh(
        "Istio",
        "istio-proxy",
        "istio-validation",
        _ISTIO + "excludeOutboundPorts",
        'sidecar.istio.io/nativeSidecar: "true"',
        (
            _ISTIO + "excludeOutboundIPRanges",
            _ISTIO + "includeOutboundIPRanges",
            _ISTIO + "includeOutboundPorts",
        ),
    ),
    Mesh(
        "Linkerd",
        "linkerd-proxy",
        "linkerd-network-validator",
        "config.linkerd.io/skip-outbound-ports",
        'config.beta.linkerd.io/proxy-enable-native-sidecar: "true"',
        ("config.linkerd.io/skip-subnets",),
    ),
)
_HTTPS, _HTTP = 443, 80
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)


def mesh_problems(pod: Pod, wanted: Wanted) -> Iterator[Problem]:
    """Return problems of proxies that start too late for the mount."""
    spec, given = pod["spec"], annotations(pod)
    containers, inits = (
        {item["name"] for item in items(spec, field)} for field in ("containers", "initContainers")
    )
    for mesh in MESHES:
        if mesh.proxy not in containers or mesh.validator not in inits:
            continue
        if any(given.get(key) for key in mesh.elsewhere):
            continue
        closed = {port for port in _ports(wanted.mounts) if not _leaves_out(given, mesh, port)}
        if closed:
            yield _problem(mesh, sorted(closed), given.get(mesh.ports))


def _problem(mesh: Mesh, ports: list[int], given: str | None) -> Problem:
    needed = ",".join(map(str, ports))
    rule = (
        f"{mesh.name}'s CNI plugin redirects the mount's traffic to a proxy that starts after all "
        "init containers: the mount would wait for S3 and the pod for the mount"
    )
    excluded = f"{given},{needed}" if given else needed
    remedy = f'Make the proxy a native sidecar ({mesh.native}), or set {mesh.ports}: "{excluded}"'
    return Problem(f"container {mesh.proxy}", None, rule, remedy)


def _ports(mounts: tuple[MountSpec, ...]) -> set[int]:
    """Return the ports that mounts connect to; tokens of cloud identities need HTTPS."""
    found = {_port(mount.endpoint) for mount in mounts}
    return found | ({_HTTPS} if any(mount.secret is None for mount in mounts) else set())


def _port(endpoint: str | None) -> int:
    if endpoint is None:
        return _HTTPS
    parts = urlsplit(endpoint)
    return parts.port or (_HTTP if parts.scheme == "http" else _HTTPS)


def _leaves_out(given: Mapping[str, str], mesh: Mesh, port: int) -> bool:
    """Return whether a mesh's list of ports (single ones, ranges, all) has this one."""
    parts = [part.strip() for part in (given.get(mesh.ports) or "").split(",")]
    ranges = [match.groups() for match in map(_RANGE.fullmatch, parts) if match]
    return "*" in parts or any(int(a) <= port <= int(b or a) for a, b in ranges)
