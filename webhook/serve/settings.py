"""The settings of one replica of the server: where it listens, its limits, how it ends.

Not here: what is injected (`platform`), the server itself (`server`). Immutable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from webhook.parse import settingvalues
from webhook.parse.quantities import parse_bytes, parse_seconds
from webhook.parse.values import parse_boolean
from webhook.platform.environment import Settings, parsed, read, read_both, setting
from webhook.platform.settings import Platform
from webhook.serve.listener import EVERYWHERE

_Flag = Annotated[bool, parsed(parse_boolean, "must be true or false")]
_Port = Annotated[int, parsed(settingvalues.parse_port, "")]
_Path = Annotated[Path | None, parsed(settingvalues.parse_path, "")]
_Seconds = Annotated[int, parsed(parse_seconds, "must be a duration in s, m or h")]


@dataclass(frozen=True)
class Limits:
    """What one request may cost: bytes of its body, and seconds until the body has arrived.

    `bodies`: bytes of all bodies that are arriving at one time, a fixed share of a replica's
    memory.
    """

    body: int
    deadline: int
    bodies: int = 16 * 2**20


class Serving(Settings):
    """Where and how the server listens. Flags of `serve` win over the variables."""

    policy_file: _Path = setting(
        "", "the policy; looked at every second", shown="the shipped policy"
    )
    lookup_namespaces: _Flag = setting(
        "false",
        "mirror the labels of namespaces; needs a token and `list`, `watch` on `namespaces`",
    )
    lookup_secrets: _Flag = setting(
        "false",
        "mirror the names of Secrets, to warn of missing ones; needs `list`, `watch` on `secrets`:"
        " only names are asked for, but the right is to read them all",
    )
    node_key_file: _Path = setting(
        "",
        "file with the key, 32 characters or more, by which the plugins of [node mode](node.md)"
        " know the webhook's volumes; the first line signs, a plugin takes all. Read at the start",
    )
    tls_dir: _Path = setting(
        "",
        "directory with `tls.crt`, `tls.key`, `ca.crt`; looked at every second",
        shown="plain HTTP",
    )
    tls_wait: _Seconds = setting("120s", "how long the first certificate may take")
    require_ready_file: _Flag = setting(
        "false",
        "`true`: ready only while the TLS directory also holds `ready`, which the certificate agent"
        " writes",
    )
    host: str = setting(
        EVERYWHERE,
        "address to listen on; `::` is all addresses, IPv6 and IPv4. `0.0.0.0` where the kernel has"
        " no IPv6",
        shown="`::`",
    )
    port: _Port = setting("8443", "port of `/mutate`, `/healthz` and `/readyz`")
    metrics_port: _Port = setting("9090", "port of `/metrics`, plain HTTP")
    maximum_body: Annotated[int, parsed(parse_bytes, "must be a quantity of bytes")] = setting(
        "4Mi",
        "longer requests get 413. The API server takes 3 MiB and etcd 1.5 MiB for an object, whose"
        " form in a review is longer",
    )
    request_deadline: _Seconds = setting(
        "4s", "slower bodies get 408; the API server waits 5 s in all"
    )
    maximum_connections: Annotated[int, parsed(settingvalues.parse_count, "")] = setting(
        "256",
        "above this the connection that has been idle longest is closed, of the client that has"
        " the most",
    )
    drain_seconds: _Seconds = setting(
        "10s", 'from "not ready" to the end: until every node has heard of it'
    )
    log_level: Annotated[str, parsed(settingvalues.parse_log_level, "")] = setting(
        "INFO", "`DEBUG` also logs pods that are let through"
    )

    @property
    def limits(self) -> Limits:
        """What one request may cost."""
        return Limits(self.maximum_body, self.request_deadline)


def read_serving(environ: Mapping[str, str], **given: object) -> Serving:
    """Return the server's settings: flags over environment over defaults; else SettingsError."""
    return read(Serving, environ, **given)


def read_settings(environ: Mapping[str, str], **given: object) -> tuple[Serving, Platform]:
    """Return all settings; SettingsError names every wrong variable of either component."""
    return read_both(Serving, Platform, environ, **given)
