"""The platform team's settings for every mount: one frozen model.

Not here: how the server listens (`serve.settings`), what a namespace may mount (`policy`).
Immutable, safe to share between threads.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Self

from webhook.parse import settingvalues, values
from webhook.parse.quantities import parse_bytes, parse_millicores
from webhook.parse.settingvalues import optional
from webhook.platform.environment import Settings, lowered_to, not_below, parsed, read, setting
from webhook.platform.resources import Resources

# Containers of service meshes: Istio, Linkerd, Kuma, Consul.
MESH_CONTAINERS = (
    "istio-init", "istio-validation", "istio-proxy",
    "linkerd-init", "linkerd-network-validator", "linkerd-proxy",
    "kuma-init", "kuma-validation", "kuma-sidecar",
    "consul-connect-inject-init", "consul-dataplane",
)  # fmt: skip
_PARTS = ("cpu_request", "cpu_limit", "memory_request", "memory_limit")

_Flag = Annotated[bool, parsed(values.parse_boolean, "must be true or false")]
_Names = Annotated[tuple[str, ...], parsed(settingvalues.parse_list, "must be a comma list")]
_Cpu = Annotated[
    int | None, parsed(optional(parse_millicores), "must be a CPU quantity, like 250m or 2")
]
_Memory = Annotated[
    int | None, parsed(optional(parse_bytes), "must be a memory quantity, like 256Mi or 1Gi")
]
_CacheSize = Annotated[int, parsed(values.parse_cache_size, "must be a quantity, at least 64Mi")]


class Platform(Settings):
    """What is injected, its defaults and the most that a pod may ask for."""

    image: Annotated[str, parsed(settingvalues.parse_text, "")] = setting(
        "s3mount:0.1.0", "image of the injected containers; set by `deploy/image`"
    )
    image_pull_policy: Annotated[str, parsed(settingvalues.parse_pull_policy, "")] = setting(
        "IfNotPresent", "`Always`, `IfNotPresent` or `Never`"
    )
    image_pull_secrets: _Names = setting(
        "", "comma list, added to the pod; the Secrets have to be in its namespace"
    )
    node_selector: Annotated[
        tuple[tuple[str, str], ...], parsed(settingvalues.parse_labels, "")
    ] = setting("", "`KEY=VALUE,…`, added to the pod; a pod with another value for a key is denied")
    default_secret: Annotated[
        str | None, parsed(optional(values.parse_secret), "must be the name of a Secret, or none")
    ] = setting("", "Secret of mounts that name none")
    default_region: Annotated[
        str | None, parsed(optional(values.parse_region), "must be the name of a region")
    ] = setting("", "region of mounts that name none", shown="the SDK's")
    default_endpoint: Annotated[
        str | None, parsed(optional(values.parse_endpoint), "must be the URL of an S3 endpoint")
    ] = setting("", "URL of the store of mounts that name none", shown="AWS")
    minimum_grace: Annotated[
        int, parsed(settingvalues.parse_grace, "must be a duration in s, m or h, at most 1h")
    ] = setting(
        "60s",
        "`terminationGracePeriodSeconds` of pods with a writable mount is raised to this, for the"
        " upload of dirty files; at most `1h`, for the drain of a node waits for it",
    )
    keeper: Annotated[str, parsed(settingvalues.parse_keeper, "")] = setting(
        "pod",
        "who makes the mounts: `pod`, a privileged sidecar in each pod; `node`, the"
        " [plugin of each node](node.md), which `deploy/overlays/node` brings. A policy rule may"
        " say otherwise for its namespaces",
    )
    cache: Annotated[str, parsed(settingvalues.parse_keeper, "")] = setting(
        "pod",
        "whose the cache of content is: `pod`, each pod's own alone; `node`, in node mode pods also"
        " [share one](node.md#one-cache-for-the-pods-of-a-node). A policy rule may say otherwise"
        " for its namespaces",
    )
    keeper_cpu_request: _Cpu = setting(
        "2m", "CPU that the keeper requests; empty is none. An idle one uses less than this"
    )
    keeper_cpu_limit: Annotated[_Cpu, not_below("keeper_cpu_request")] = setting(
        "", "CPU limit of the keeper; empty is none"
    )
    keeper_memory_request: _Memory = setting("32Mi", "memory that the keeper requests")
    keeper_memory_limit: Annotated[_Memory, not_below("keeper_memory_request")] = setting(
        "96Mi", "memory limit of the keeper"
    )
    worker_cpu_request: _Cpu = setting(
        "20m",
        "CPU that the worker requests; empty is none. An idle mount uses 0.6m: a higher request"
        " keeps nodes empty",
    )
    worker_cpu_limit: Annotated[_Cpu, not_below("worker_cpu_request")] = setting(
        "", "CPU limit of the worker; empty is none"
    )
    worker_memory_request: _Memory = setting(
        "256Mi", "memory that the worker requests; empty is none"
    )
    worker_memory_limit: Annotated[_Memory, not_below("worker_memory_request")] = setting(
        "1Gi", "memory limit of the worker; empty is none. Its buffers are sized to fit"
    )
    request_storage: _Flag = setting(
        "true", "whether the worker requests its cache's volume as `ephemeral-storage`"
    )
    worker_metrics_port: Annotated[
        int | None, parsed(settingvalues.parse_unprivileged_port, "")
    ] = setting(
        "20303",
        "port of a pod on which its worker serves [metrics](policy.md#metrics-of-the-mounts); `0`"
        " or empty is none. The default is no common program's, and below the ports that nodes"
        " assign",
    )
    maximum_cpu_request: _Cpu = setting("4", "the most that `s3.mount/cpu-request` may say")
    maximum_cpu_limit: Annotated[_Cpu, not_below("maximum_cpu_request")] = setting(
        "8", "the most that `s3.mount/cpu-limit` may say"
    )
    maximum_memory_request: _Memory = setting(
        "8Gi", "the most that `s3.mount/memory-request` may say"
    )
    maximum_memory_limit: Annotated[_Memory, not_below("maximum_memory_request")] = setting(
        "16Gi", "the most that `s3.mount/memory-limit` may say"
    )
    maximum_cache_size: _CacheSize = setting("100Gi", "the most that `s3.mount/cache-size` may say")
    default_cache_size: Annotated[_CacheSize, lowered_to("maximum_cache_size")] = setting(
        "1Gi", "disk cache of mounts that name none; never more than the maximum"
    )
    maximum_mounts: Annotated[int, parsed(settingvalues.parse_count, "")] = setting(
        "16", "mounts per pod: one worker serves them all"
    )
    mesh_containers: _Names = setting(
        ",".join(MESH_CONTAINERS),
        "containers of service meshes: native sidecars stay before the mount, and none gets it"
        " unless named",
        shown="those of Istio, Linkerd, Kuma, Consul",
    )
    denied_runtime_classes: _Names = setting(
        "gvisor,kata*,firecracker*,runsc*",
        "globs of runtime classes with a kernel of their own, which can't share a mount",
    )
    check_pod_security: _Flag = setting(
        "true",
        "deny where the namespace's Pod Security level will refuse the mount (needs"
        " `S3MOUNT_LOOKUP_NAMESPACES`); `false` where an exemption lets the keeper pass",
    )

    @property
    def by_node(self) -> bool:
        """Whether the plugin of the node makes the mounts."""
        return self.keeper == settingvalues.NODE

    @property
    def caches_by_node(self) -> bool:
        """Whether pods share a cache of their node, where that has a plugin."""
        return self.cache == settingvalues.NODE

    # Looked at several times in each review, so they are made once.
    @cached_property
    def keeper_resources(self) -> Resources:
        """The keeper's requests and limits."""
        return self._resources("keeper")

    @cached_property
    def worker(self) -> Resources:
        """The worker's requests and limits, where a pod asks for none."""
        return self._resources("worker")

    @cached_property
    def maximum(self) -> Resources:
        """The most that a pod may ask for, for its worker."""
        return self._resources("maximum")

    def _resources(self, kind: str) -> Resources:
        return Resources(*(getattr(self, f"{kind}_{part}") for part in _PARTS))

    def replaced(self, **changes: object) -> Self:
        """Return a copy with other values; Resources for `keeper`, `worker` and `maximum`."""
        fields: dict[str, object] = {}
        for name, value in changes.items():
            if isinstance(value, Resources):
                fields |= {f"{name}_{part}": getattr(value, part) for part in _PARTS}
            else:
                fields[name] = value
        changed = self.model_copy(update=fields)
        for name in ("keeper_resources", "worker", "maximum"):
            changed.__dict__.pop(name, None)  # a copy has what was made of the old values
        return changed


def read_platform(environ: Mapping[str, str]) -> Platform:
    """Return the platform's settings; SettingsError names every wrong variable."""
    return read(Platform, environ)
