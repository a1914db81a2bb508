"""How the server listens and how it ends: the settings of one replica, read from the environment.

Not here: what is injected (`settings`), the server itself (`server`). Immutable.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from webhook.parse.quantities import parse_bytes, parse_seconds
from webhook.parse.values import parse_boolean
from webhook.platform import Environment, parse_count
from webhook.serve.door import EVERYWHERE


@dataclass(frozen=True)
class Limits:
    """What one request may cost.

    `body`: bytes; the API server takes 3 MiB in a request and etcd 1.5 MiB for an object, whose
    form in a review is longer. `deadline`: seconds for the body to arrive; the API server waits 5 s
    in all. `bodies`: bytes of all that are arriving at one time.
    """

    body: int = 4 * 2**20
    deadline: int = 4
    bodies: int = 16 * 2**20


@dataclass(frozen=True)
class Serving:
    """Where and how to listen; `S3MOUNT_` + the name in capitals, or a flag of `serve`.

    `host`: `::` is all addresses of both families. `need_ready`: whether the TLS directory has to
    hold `ready`, which the certificate agent writes. `policy_file`: without one the shipped policy
    holds. `lookup_...`: mirror labels of namespaces and names of Secrets from the API server, which
    takes rights and a token. `drain`: seconds between "not ready" and the end, for endpoints to be
    taken out everywhere. `tls_wait`: seconds a first certificate may take. `connections`: above
    this idle ones go.
    """

    host: str = EVERYWHERE
    port: int = 8443
    metrics_port: int = 9090
    tls_dir: Path | None = None
    policy_file: Path | None = None
    lookup_namespaces: bool = False
    lookup_secrets: bool = False
    need_ready: bool = False
    drain: int = 10
    tls_wait: int = 120
    connections: int = 256
    log_level: str = "INFO"
    limits: Limits = field(default_factory=Limits)


def read_serving(environ: Mapping[str, str], **given: object) -> Serving:
    """The server's settings: flags over environment over defaults; else SettingsError."""
    env = Environment(environ)
    base = Serving()
    limits = Limits(
        body=env.read("MAXIMUM_BODY", parse_bytes, base.limits.body),
        deadline=env.read("REQUEST_DEADLINE", parse_seconds, base.limits.deadline),
    )
    read = {
        "host": env.read("HOST", str, base.host),
        "port": env.read("PORT", parse_port, base.port),
        "metrics_port": env.read("METRICS_PORT", parse_port, base.metrics_port),
        "tls_dir": env.read("TLS_DIR", _path, base.tls_dir),
        "policy_file": env.read("POLICY_FILE", _path, base.policy_file),
        "lookup_namespaces": env.read("LOOKUP_NAMESPACES", parse_boolean, False),
        "lookup_secrets": env.read("LOOKUP_SECRETS", parse_boolean, False),
        "need_ready": env.read("REQUIRE_READY_FILE", parse_boolean, base.need_ready),
        "drain": env.read("DRAIN_SECONDS", parse_seconds, base.drain),
        "tls_wait": env.read("TLS_WAIT", parse_seconds, base.tls_wait),
        "connections": env.read("MAXIMUM_CONNECTIONS", parse_count, base.connections),
        "log_level": env.read("LOG_LEVEL", _level, base.log_level),
    }
    chosen = read | {name: value for name, value in given.items() if value is not None}
    return Serving(**chosen, limits=limits)  # type: ignore[arg-type] # the names are those above


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def parse_port(text: str) -> int:
    """A TCP port; 0 lets the system choose."""
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError("must be a port, 0 to 65535")
    return int(text)


def _level(text: str) -> str:
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
    return text.upper()
