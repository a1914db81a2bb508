"""The server's certificate: loaded from a directory, replaced while connections stay open.

The directory holds `tls.crt` (leaf and chain), `tls.key`, `ca.crt` and, where an agent keeps the
webhook configuration in step, `ready` and `heartbeat`. Nothing is issued or written here. A new
pair gets a context of its own, which new connections get only if the pair is valid; an incomplete
or invalid pair never affects the one in use. `refresh` runs on the event loop's thread
only.

Clocks: the API server verifies; the agent follows its clock and removes `ready` when the leaf has
expired. Our own clock counts only without a living agent, and never for what is loaded.
"""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from webhook.errors import CertificateError
from webhook.serve.health import Health
from webhook.serve.log import Logger
from webhook.serve.metrics import Metrics

CONDITION = "certificate"
READY_CONDITION = "caBundle"
_EXPIRED = "the certificate in use has expired"
# X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h; the ssl module has no name for it.
_WITHOUT_TIME = ssl.VerifyFlags(0x200000)
# Seconds without a heartbeat after which the agent counts as dead; its rounds take 5.
_SILENCE = 600.0
_FILES = ("tls.crt", "tls.key", "ca.crt")


@dataclass(frozen=True)
class Chain:
    """A verified certificate: its context and its expiry (Unix time)."""

    context: ssl.SSLContext
    not_after: float


class LiveCertificate:
    """The certificate of new connections, reloaded from the directory."""

    def __init__(
        self,
        directory: Path,
        health: Health,
        metrics: Metrics,
        log: Logger,
        *,
        need_ready: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._directory = directory
        self._health = health
        self._metrics = metrics
        self._log = log
        self._need_ready = need_ready
        self._loaded: tuple[object, ...] = ()
        self._refused: tuple[object, ...] = ()
        self._chain: Chain | None = None
        self.context = _server_context()
        self.context.sni_callback = self._choose
        health.fail(CONDITION, f"no certificate in {directory} yet")

    @property
    def loaded(self) -> bool:
        return self._chain is not None

    @property
    def reason(self) -> str:
        """The reason why there is no certificate yet."""
        return self._health.reasons().get(CONDITION, "")

    def refresh(self) -> None:
        """Check the directory: load a new pair, keep the old one if the new is invalid."""
        self._check_ready()
        found = _signature(self._directory)
        if found != self._loaded:
            self._load(found)
        self._check_expiry()

    def _load(self, found: tuple[object, ...]) -> None:
        try:
            chain = load(self._directory)
        except CertificateError as error:
            self._refuse(found, str(error))
        else:
            self._accept(found, chain)

    def _accept(self, found: tuple[object, ...], chain: Chain) -> None:
        self._chain, self._loaded, self._refused = chain, found, ()
        self._health.pass_(CONDITION)
        self._metrics.certificate_loaded(chain.not_after)
        self._log.info(
            "certificate loaded", directory=str(self._directory), expires=chain.not_after
        )

    def _refuse(self, found: tuple[object, ...], reason: str) -> None:
        """Report once per state of the directory, and check again: it may be half replaced."""
        if found == self._refused:
            return
        self._refused = found
        if self._chain is None:
            self._health.fail(CONDITION, reason)
            self._log.info("waiting for a certificate", reason=reason)
        else:
            self._metrics.certificate_refused()
            self._log.error("new certificate refused, the old one stays in use", reason=reason)

    def _check_expiry(self) -> None:
        """Report an expired certificate, which the API server refuses."""
        if self._chain is None:
            return
        if self._clock() >= self._chain.not_after and not self._agent_lives():
            self._health.fail(CONDITION, _EXPIRED)
        elif self._health.reasons().get(CONDITION) == _EXPIRED:
            self._health.pass_(CONDITION)

    def _agent_lives(self) -> bool:
        if not self._need_ready:
            return False
        try:
            beat = (self._directory / "heartbeat").stat().st_mtime
        except OSError:
            return False
        return self._clock() - beat < _SILENCE

    def _check_ready(self) -> None:
        if not self._need_ready:
            return
        if (self._directory / "ready").exists():
            self._health.pass_(READY_CONDITION)
        else:
            reason = (
                f"{self._directory}/ready is missing: the webhook configuration doesn't trust us"
            )
            self._health.fail(READY_CONDITION, reason)

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        if self._chain is not None:
            connection.context = self._chain.context


def load(directory: Path) -> Chain:
    """Return a directory's verified chain; CertificateError has the reason if it is invalid."""
    context = _server_context()
    try:
        # Without a password OpenSSL would ask on the terminal for an encrypted key's.
        context.load_cert_chain(directory / "tls.crt", directory / "tls.key", password=str)
    except FileNotFoundError as error:
        raise CertificateError(f"tls.crt or tls.key is missing in {directory}") from error
    except (ssl.SSLError, OSError) as error:
        reason = "no PEM, not of one pair, or the key has a password"
        message = f"tls.crt and tls.key in {directory} don't work: {error} ({reason})"
        raise CertificateError(message) from error
    return Chain(context, _expiry(context, directory / "ca.crt"))


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _expiry(server: ssl.SSLContext, authority: Path) -> float:
    """Return the leaf's expiry, after a handshake in memory that verifies it against `ca.crt`.

    Its validity in time is checked by the client's clock. Infinity without `ca.crt`, as with
    issuers that don't publish theirs.
    """
    try:
        pem = authority.read_text()
    except OSError:
        pem = ""
    if not pem.strip():
        return float("inf")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _WITHOUT_TIME
    try:
        client.load_verify_locations(cadata=pem)
        certificate = _handshake(client, server).getpeercert() or {}
    except ssl.SSLError as error:
        raise CertificateError(f"tls.crt doesn't verify against {authority}: {error}") from error
    return ssl.cert_time_to_seconds(str(certificate["notAfter"]))


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLObject:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    # A flight each way and one for the end: TLS 1.3 needs two rounds, 1.2 three.
    for _ in range(4):
        for side in (near, far):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return near


def _signature(directory: Path) -> tuple[object, ...]:
    """Return a value that differs for each state of the directory, symbolic links followed."""
    return tuple(_stamp(directory / name) for name in _FILES)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
