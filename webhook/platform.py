"""What the platform decides for every mount: one frozen value, read once from the environment.

Not here: how the server listens (`serving`), what a namespace may mount (`policy`). Immutable, safe
to share between threads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from webhook.errors import SettingsError
from webhook.parse import values
from webhook.parse.quantities import (
    format_bytes,
    format_millicores,
    parse_bytes,
    parse_millicores,
    parse_seconds,
)

PREFIX = "S3MOUNT_"
# Meshes whose proxy comes up inside the pod: theirs are before us, and get no mount unless named.
MESH_CONTAINERS = (
    "istio-init", "istio-validation", "istio-proxy",
    "linkerd-init", "linkerd-network-validator", "linkerd-proxy",
    "kuma-init", "kuma-validation", "kuma-sidecar",
    "consul-connect-inject-init", "consul-dataplane",
)  # fmt: skip
# Sandboxes with a kernel of their own: a mount made there is invisible to the host's kubelet.
SANDBOXES = ("gvisor", "kata*", "firecracker*", "runsc*")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Resources:
    """Requests and limits of one container: CPU in thousandths, memory in bytes; None is unset."""

    cpu_request: int | None = None
    cpu_limit: int | None = None
    memory_request: int | None = None
    memory_limit: int | None = None

    @property
    def unset(self) -> bool:
        """Whether nothing at all is asked for."""
        return self == Resources()

    @property
    def guaranteed(self) -> bool:
        """Whether both limits are there, and no request is below: the class Guaranteed."""
        cpu, memory = self.cpu_limit, self.memory_limit
        return (
            None not in (cpu, memory)
            and self.cpu_request in (None, cpu)
            and self.memory_request in (None, memory)
        )

    def rendered(self) -> dict[str, dict[str, str]]:
        """As in a container's `resources`: only what is set."""
        rows = {
            "requests": (self.cpu_request, self.memory_request),
            "limits": (self.cpu_limit, self.memory_limit),
        }
        found = {name: _quantities(cpu, memory) for name, (cpu, memory) in rows.items()}
        return {name: quantities for name, quantities in found.items() if quantities}


def _quantities(cpu: int | None, memory: int | None) -> dict[str, str]:
    found = {} if cpu is None else {"cpu": format_millicores(cpu)}
    return found if memory is None else found | {"memory": format_bytes(memory)}


@dataclass(frozen=True)
class Platform:
    """The platform team's settings for what is injected; `S3MOUNT_` + the name in capitals.

    `minimum_grace` is in seconds: writable pods get at least so long to upload what is dirty. It is
    capped at an hour, for a node that drains waits for it. `check_pod_security` is turned off where
    something exempts the keeper from the namespace's Pod Security level. Requests of CPU are near
    what an idle mount takes, 0.6 thousandths: more would keep nodes empty. `request_storage`:
    whether the cache's volume is asked for, as ephemeral-storage. `worker_metrics_port`: None for
    no metrics; the default is no common program's, and below those that nodes give out.
    """

    image: str = "s3mount:0.1.0"
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    node_selector: tuple[tuple[str, str], ...] = ()
    default_secret: str | None = None
    default_region: str | None = None
    default_endpoint: str | None = None
    minimum_grace: int = 60
    keeper: Resources = Resources(2, None, 32 * 2**20, 96 * 2**20)
    worker: Resources = Resources(20, None, 256 * 2**20, 2**30)
    request_storage: bool = True
    worker_metrics_port: int | None = 20303
    maximum: Resources = Resources(4000, 8000, 8 * 2**30, 16 * 2**30)
    default_cache_size: int = 2**30
    maximum_cache_size: int = 100 * 2**30
    maximum_mounts: int = 16
    mesh_containers: tuple[str, ...] = MESH_CONTAINERS
    denied_runtime_classes: tuple[str, ...] = SANDBOXES
    check_pod_security: bool = True


class Environment:
    """The variables with our prefix, parsed one by one; every error names the variable."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def read(self, name: str, parse: Callable[[str], _T], default: _T) -> _T:
        """The parsed variable, or the default when it is unset; SettingsError when it is wrong."""
        text = self._environ.get(PREFIX + name)
        if text is None:
            return default
        try:
            return parse(text.strip())
        except ValueError as error:
            reason = str(error) or "not a valid value"
            raise SettingsError(f"{PREFIX}{name}={text!r}: {reason}") from error

    def resources(self, kind: str, default: Resources) -> Resources:
        """`<KIND>_CPU_REQUEST` and so on; an empty variable unsets the default."""
        prefix = kind.upper()
        found = Resources(
            self.read(f"{prefix}_CPU_REQUEST", _optional(parse_millicores), default.cpu_request),
            self.read(f"{prefix}_CPU_LIMIT", _optional(parse_millicores), default.cpu_limit),
            self.read(f"{prefix}_MEMORY_REQUEST", _optional(parse_bytes), default.memory_request),
            self.read(f"{prefix}_MEMORY_LIMIT", _optional(parse_bytes), default.memory_limit),
        )
        for name in ("cpu", "memory"):
            request, limit = getattr(found, f"{name}_request"), getattr(found, f"{name}_limit")
            if None not in (request, limit) and request > limit:
                where = f"{PREFIX}{prefix}_{name.upper()}_REQUEST"
                raise SettingsError(
                    f"{where} is above the limit, {PREFIX}{prefix}_{name.upper()}_LIMIT"
                )
        return found


def read_platform(environ: Mapping[str, str]) -> Platform:
    """The platform's settings from the environment; SettingsError names the wrong variable."""
    env = Environment(environ)
    base = Platform()
    parse_cache = values.parse_cache_size
    cache_size = env.read("DEFAULT_CACHE_SIZE", parse_cache, base.default_cache_size)
    maximum_cache_size = env.read("MAXIMUM_CACHE_SIZE", parse_cache, base.maximum_cache_size)
    return Platform(
        image=env.read("IMAGE", _text, base.image),
        image_pull_policy=env.read("IMAGE_PULL_POLICY", _pull_policy, base.image_pull_policy),
        image_pull_secrets=env.read("IMAGE_PULL_SECRETS", parse_list, base.image_pull_secrets),
        node_selector=env.read("NODE_SELECTOR", parse_labels, base.node_selector),
        default_secret=env.read("DEFAULT_SECRET", _optional(values.parse_secret), None),
        default_region=env.read("DEFAULT_REGION", _optional(values.parse_region), None),
        default_endpoint=env.read("DEFAULT_ENDPOINT", _optional(values.parse_endpoint), None),
        minimum_grace=env.read("MINIMUM_GRACE", _grace, base.minimum_grace),
        keeper=env.resources("keeper", base.keeper),
        worker=env.resources("worker", base.worker),
        request_storage=env.read("REQUEST_STORAGE", values.parse_boolean, base.request_storage),
        worker_metrics_port=env.read("WORKER_METRICS_PORT", _pod_port, base.worker_metrics_port),
        maximum=env.resources("maximum", base.maximum),
        default_cache_size=min(cache_size, maximum_cache_size),
        maximum_cache_size=maximum_cache_size,
        maximum_mounts=env.read("MAXIMUM_MOUNTS", parse_count, base.maximum_mounts),
        mesh_containers=env.read("MESH_CONTAINERS", parse_list, base.mesh_containers),
        denied_runtime_classes=env.read(
            "DENIED_RUNTIME_CLASSES", parse_list, base.denied_runtime_classes
        ),
        check_pod_security=env.read("CHECK_POD_SECURITY", values.parse_boolean, True),
    )


def parse_list(text: str) -> tuple[str, ...]:
    """Comma separated names; empty text is the empty list."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _optional(parse: Callable[[str], _T]) -> Callable[[str], _T | None]:
    return lambda text: parse(text) if text else None


def _text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _pull_policy(text: str) -> str:
    if text not in ("Always", "IfNotPresent", "Never"):
        raise ValueError("must be Always, IfNotPresent or Never")
    return text


def parse_count(text: str) -> int:
    """A number of things, at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("must be a number, at least 1")
    return int(text)


def _grace(text: str) -> int:
    seconds = parse_seconds(text)
    if seconds > 3600:
        raise ValueError("must be at most one hour: a node that drains waits for it")
    return seconds


def _pod_port(text: str) -> int | None:
    """A port that a process without rights can open; 0 and empty text are none."""
    if text in ("", "0"):
        return None
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise ValueError("must be a port, 1024 to 65535, or 0 for none")
    return int(text)


def parse_labels(text: str) -> tuple[tuple[str, str], ...]:
    """Comma separated KEY=VALUE pairs."""
    pairs = [item.partition("=") for item in parse_list(text)]
    if not all(key and separator for key, separator, _ in pairs):
        raise ValueError("must be a comma separated list of KEY=VALUE")
    return tuple((key.strip(), value.strip()) for key, _, value in pairs)
