"""Rotation of CA, caBundle and leaf: it reads the cluster, decides, and writes what is missing.

Every replica runs the same steps, with optimistic concurrency between them. Verification by a
client never fails, because:

1. The webhook configuration is read before the Secret, and patched only at the version that was
   read. A new CA is written to the Secret first; so no replica can remove a CA of the Secret from
   the caBundle, however old the Secret is that it read.
2. A leaf of a new CA is used only after that CA has been in the live caBundle for a while: until
   then the old leaf stays in use, and the bundle has both CAs.
3. A retired CA stays in the bundle until its last leaf has expired.

The API server's clock is used (`servertime`). Nothing here touches files or threads
(`agent` does); a `Rotation` belongs to one thread.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from certs import trust
from certs.errors import BadAuthority, CertsError, Conflict, Missing, Unreachable
from certs.servertime import Clock, ServerTime
from certs.trust import LEAF_LIFETIME, Trust, renewal_due
from certs.x509 import Authority, Leaf, check_names, is_ours, load_bundle, sign_leaf

# Seconds for the watch of every API server to receive a caBundle; usually it takes moments.
SETTLE_SECONDS = 5.0
# Seconds; a trusted leaf isn't urgent to replace.
HANDOVER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stored:
    """The Secret as it was read."""

    version: str
    data: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Live:
    """The webhook configuration as it was read: caBundle by webhook name, b"" where it has none.

    At least one webhook. `date` is the API server's clock at its answer, if it was sent.
    """

    version: str
    bundles: Mapping[str, bytes]
    date: datetime | None


class Cluster(Protocol):
    """The API server's objects with certificates.

    Reads are current, writes raise Conflict at an old version, all methods raise Unreachable.
    """

    def read_bundles(self) -> Live:
        """Return the webhook configuration; Missing if there is none."""

    def write_bundles(self, live: Live, bundle: bytes) -> None:
        """Give every webhook of the configuration this caBundle."""

    def read_secret(self) -> Stored | None:
        """Return the Secret of the CA; None if there is none."""

    def create_secret(self, data: Mapping[str, bytes]) -> None:
        """Create the Secret; Conflict if it exists."""

    def replace_secret(self, stored: Stored, data: Mapping[str, bytes]) -> None:
        """Replace the contents of the Secret that was read."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event for the log, with its fields."""

    name: str
    warning: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Status:
    """The result of a step.

    `ready`: the live caBundle had the CA of this leaf when last read; None before the first read.
    `renewed`: the leaf is a new one. `waiting`: a new leaf waits until its CA is trusted.
    """

    leaf: Leaf | None
    renewed: bool
    ready: bool | None
    waiting: bool
    problem: CertsError | None
    events: tuple[Event, ...]


class Rotation:
    """One replica's rotation; call `step` repeatedly."""

    def __init__(
        self, cluster: Cluster, clock: Clock, names: Sequence[str], leaf: Leaf | None = None
    ) -> None:
        """`leaf` is the one in use, from an earlier run."""
        self._cluster = cluster
        self._clock = clock
        check_names(names)
        self._names = tuple(names)
        self._time = ServerTime(clock)
        self._trust: Trust | None = None
        self._leaf = leaf
        # Fingerprint of each CA in the live bundle -> since when (monotonic) it has been there;
        # None before the first read.
        self._seen: dict[str, float] | None = None
        self._events: list[Event] = []

    def step(self) -> Status:
        """Run one step; no state or answer of the cluster makes it raise."""
        problem: CertsError | None = None
        try:
            self._synchronise()
        except (Conflict, Missing, Unreachable) as error:
            problem = error
        now = self._time.now()
        leaf = self._leaf
        waiting = self._renew_leaf(now)
        events, self._events = tuple(self._events), []
        return Status(
            leaf=self._leaf,
            renewed=self._leaf is not leaf,
            ready=self._ready(now),
            waiting=waiting,
            problem=problem,
            events=events,
        )

    def _synchronise(self) -> None:
        try:
            live = self._cluster.read_bundles()
        except Missing:
            self._seen = {}
            raise
        self._observe(live)
        now = self._time.now()
        stored = self._cluster.read_secret()
        self._trust = self._agree(stored, live, now)
        self._publish(live, self._trust.bundle(now))

    def _observe(self, live: Live) -> None:
        since = self._clock.monotonic()
        if live.date is not None and (skew := self._time.observe(live.date)) is not None:
            self._note("clock-skew", warning=True, seconds=f"{skew.total_seconds():.0f}")
        bundles = [_fingerprints(bundle) for bundle in live.bundles.values()]
        everywhere = frozenset.intersection(*bundles)
        before = self._seen or {}
        self._seen = {fingerprint: before.get(fingerprint, since) for fingerprint in everywhere}

    def _agree(self, stored: Stored | None, live: Live, now: datetime) -> Trust:
        """Return the Secret's contents after this step; Conflict if another replica was first."""
        if stored is None:
            made, name = self._restored(live, now)
            self._cluster.create_secret(made.data())
            self._note_authority(name, made)
            return made
        try:
            found = trust.parse(stored.data)
        except BadAuthority as error:
            made, name = self._restored(live, now)
            self._cluster.replace_secret(stored, made.data())
            self._note_authority(name, made, warning=True, reason=str(error))
            return made
        if not found.due(now):
            return found
        made = found.successor(now)
        self._cluster.replace_secret(stored, made.data())
        self._note_authority("authority-rotated", made)
        return made

    def _restored(self, live: Live, now: datetime) -> tuple[Trust, str]:
        """Return new contents for a missing or unreadable Secret, and the event to log.

        The contents last read are restored, so that the CA survives repeated deletions; but only
        while the live bundle shows that no replica has made a newer CA.
        """
        last = self._trust
        if last is not None and not last.due(now):
            wanted = frozenset(authority.fingerprint for authority in last.bundle(now))
            if all(_fingerprints(bundle) == wanted for bundle in live.bundles.values()):
                return last, "authority-restored"
        return trust.begin(now, self._believed(live)), "authority-created"

    def _believed(self, live: Live) -> Iterable[Authority]:
        """Return the CAs that leaves in use may have, without the Secret: live ones and our own."""
        for bundle in live.bundles.values():
            yield from filter(is_ours, _load(bundle))
        if self._leaf is not None:
            yield self._leaf.issuer

    def _publish(self, live: Live, authorities: Sequence[Authority]) -> None:
        wanted = frozenset(authority.fingerprint for authority in authorities)
        if all(_fingerprints(bundle) == wanted for bundle in live.bundles.values()):
            return
        self._cluster.write_bundles(live, trust.pem(authorities))
        self._note("bundle-written", authorities=str(len(authorities)))

    def _renew_leaf(self, now: datetime) -> bool:
        """Sign a leaf if one is needed; return True while its CA isn't trusted long enough."""
        if self._trust is None or not self._needs_leaf(self._trust.authority, now):
            return False
        authority = self._trust.authority
        patience = HANDOVER_SECONDS if self._ready(now) else SETTLE_SECONDS
        since = (self._seen or {}).get(authority.fingerprint)
        if since is None or self._clock.monotonic() - since < patience:
            return True
        if not authority.valid_at(now):
            return True
        self._leaf = sign_leaf(self._trust.signer, self._names, now, LEAF_LIFETIME)
        self._note("leaf-signed", until=self._leaf.not_after.isoformat())
        return False

    def _needs_leaf(self, authority: Authority, now: datetime) -> bool:
        leaf = self._leaf
        return (
            leaf is None
            or leaf.issuer.fingerprint != authority.fingerprint
            or renewal_due(leaf.created, leaf.not_after, now)
            or leaf.not_before > now
        )

    def _ready(self, now: datetime) -> bool | None:
        leaf = self._leaf
        if leaf is not None and not leaf.not_before <= now <= leaf.not_after:
            return False
        if self._seen is None:
            return None
        return leaf is not None and leaf.issuer.fingerprint in self._seen

    def _note_authority(
        self, name: str, made: Trust, *, warning: bool = False, **more: str
    ) -> None:
        ca = made.authority
        until = ca.not_after.isoformat()
        self._note(name, warning=warning, fingerprint=ca.fingerprint[:16], until=until, **more)

    def _note(self, name: str, *, warning: bool = False, **fields: str) -> None:
        self._events.append(Event(name, warning, fields))


def _load(bundle: bytes) -> tuple[Authority, ...]:
    try:
        return load_bundle(bundle)
    except BadAuthority:
        return ()


def _fingerprints(bundle: bytes) -> frozenset[str]:
    # An unreadable bundle never equals ours, not even an empty one.
    try:
        return frozenset(authority.fingerprint for authority in load_bundle(bundle))
    except BadAuthority:
        return frozenset({"unreadable"})
