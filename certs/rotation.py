"""Keeps CA, caBundle and leaf in step: reads the cluster, decides, writes what is missing.

Every replica runs the same steps, and optimistic concurrency settles who comes first. What keeps a
verifying client from ever failing:

1. The webhook configuration is read before the Secret, and patched only at the version that was
   read. Whoever adds a CA writes the Secret first; so nobody can take a CA out of the caBundle
   that the Secret has, however old the Secret is that he saw.
2. A leaf changes over to a new CA only after that CA has been seen in the live caBundle for a
   while: until then the old leaf goes on, and the bundle carries both CAs.
3. CAs that sign no more stay in the bundle until their last leaf is over.

The clock that counts is the API server's (`servertime`). Nothing here touches files or threads
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

# Between writing a caBundle and every API server acting on it lies its watch: moments, usually.
SETTLE_SECONDS = 5.0
# With a leaf that is trusted there is no hurry to leave it.
HANDOVER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stored:
    """The Secret as it was read."""

    version: str
    data: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Live:
    """The webhook configuration as it was read: caBundle by webhook name, b"" where it has none.

    At least one webhook. `date` is the API server's clock when it answered, where it said.
    """

    version: str
    bundles: Mapping[str, bytes]
    date: datetime | None


class Cluster(Protocol):
    """The API server, as far as certificates are concerned.

    Reads are current, writes raise Conflict when the version isn't, everything raises Unreachable.
    """

    def read_bundles(self) -> Live:
        """The webhook configuration; Missing when there is none."""

    def write_bundles(self, live: Live, bundle: bytes) -> None:
        """Give every webhook of the configuration this caBundle."""

    def read_secret(self) -> Stored | None:
        """The Secret of the CA; None when there is none."""

    def create_secret(self, data: Mapping[str, bytes]) -> None:
        """Make the Secret; Conflict when there is one."""

    def replace_secret(self, stored: Stored, data: Mapping[str, bytes]) -> None:
        """Replace the contents of the Secret that was read."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth a line in the log, with its particulars."""

    name: str
    warning: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Status:
    """Where a step ended.

    `ready`: the live caBundle has the CA of this leaf, as last seen; None before it was ever seen.
    `renewed`: the leaf is a new one. `waiting`: a new leaf waits for its CA to settle.
    """

    leaf: Leaf | None
    renewed: bool
    ready: bool | None
    waiting: bool
    problem: CertsError | None
    events: tuple[Event, ...]


class Rotation:
    """One replica's view; call `step` again and again."""

    def __init__(
        self, cluster: Cluster, clock: Clock, names: Sequence[str], leaf: Leaf | None = None
    ) -> None:
        """`leaf` is the one in service, left by an earlier run."""
        self._cluster = cluster
        self._clock = clock
        check_names(names)
        self._names = tuple(names)
        self._time = ServerTime(clock)
        self._trust: Trust | None = None
        self._leaf = leaf
        # Fingerprint of each CA in the live bundle -> since when (monotonic) it was always there;
        # None before the first look.
        self._seen: dict[str, float] | None = None
        self._events: list[Event] = []

    def step(self) -> Status:
        """Bring everything one step on; never raises for what the cluster does or holds."""
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
        """What the Secret holds after this step; Conflict when another replica was first."""
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
        """What to put where the Secret is gone or unreadable, and the event that tells.

        What was last read goes back, so that not even a Secret deleted every second costs the CA;
        but only while the live bundle bears out that nobody has gone on from there.
        """
        last = self._trust
        if last is not None and not last.due(now):
            wanted = frozenset(authority.fingerprint for authority in last.bundle(now))
            if all(_fingerprints(bundle) == wanted for bundle in live.bundles.values()):
                return last, "authority-restored"
        return trust.begin(now, self._believed(live)), "authority-created"

    def _believed(self, live: Live) -> Iterable[Authority]:
        """The CAs that leaves in service may have, when the Secret can't say: live and our own."""
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
        """Sign a leaf where one is needed; True while its CA has to settle first."""
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
    # An unreadable bundle equals none of ours, the empty one included.
    try:
        return frozenset(authority.fingerprint for authority in load_bundle(bundle))
    except BadAuthority:
        return frozenset({"unreadable"})
