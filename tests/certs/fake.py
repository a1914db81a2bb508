"""An API server in memory: one Secret, one webhook configuration, versions that conflict.

`between` is called before every request: what a test does there happens between two requests of
whoever is being tested. `history` remembers every caBundle with the time it became live.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from certs.errors import Conflict, Missing, Unreachable
from certs.rotation import Live, Rotation, Stored
from certs.x509 import Leaf, load_bundle

START = datetime(2031, 5, 17, 12, 0, tzinfo=UTC)
NAMES = ["s3mount-webhook.s3mount-system.svc"]


class TestClock:
    """Time that passes when told to; `shift` is how far this machine's wall clock is off."""

    __test__ = False

    def __init__(self, source: "TestClock | None" = None, shift: timedelta = timedelta(0)) -> None:
        self._source = source
        self._elapsed = 0.0
        self.shift = shift

    def monotonic(self) -> float:
        """Seconds since the test began."""
        return self._source.monotonic() if self._source else self._elapsed

    def now(self) -> datetime:
        """The wall clock of this machine."""
        return START + timedelta(seconds=self.monotonic()) + self.shift

    def advance(self, seconds: float = 0, **more: float) -> None:
        """Let time pass for everybody."""
        self._elapsed += seconds + timedelta(**more).total_seconds()


# The same few bundles are looked at every simulated second.
parsed = lru_cache(32)(load_bundle)


class FakeCluster:
    """What replicas share."""

    def __init__(self, clock: TestClock) -> None:
        self.clock = clock
        self.between: Callable[[], None] = lambda: None
        self.down = False
        self.webhooks: dict[str, bytes] | None = {"inject.s3.mount": b""}
        self.secret: Stored | None = None
        self.writes: list[str] = []
        self.history: list[tuple[float, bytes]] = [(0.0, b"")]
        self._version = 0
        self._live_version = "v0"

    def read_bundles(self) -> Live:
        self._request()
        if not self.webhooks:
            raise Missing("no webhook configuration")
        return Live(self._live_version, dict(self.webhooks), self.clock.now())

    def write_bundles(self, live: Live, bundle: bytes) -> None:
        self._request()
        if live.version != self._live_version or self.webhooks is None:
            raise Conflict("the configuration changed")
        self.writes.append("bundle")
        self.overwrite_bundle(bundle)

    def read_secret(self) -> Stored | None:
        self._request()
        return self.secret

    def create_secret(self, data: Mapping[str, bytes]) -> None:
        self._request()
        if self.secret is not None:
            raise Conflict("it exists")
        self.writes.append("create")
        self.secret = Stored(self._next(), dict(data))

    def replace_secret(self, stored: Stored, data: Mapping[str, bytes]) -> None:
        self._request()
        if self.secret is None or self.secret.version != stored.version:
            raise Conflict("the Secret changed")
        self.writes.append("replace")
        self.secret = Stored(self._next(), dict(data))

    def overwrite_bundle(self, bundle: bytes) -> None:
        """What anybody with the right to may do."""
        self.webhooks = dict.fromkeys(self.webhooks or {"inject.s3.mount": b""}, bundle)
        self._live_version = self._next()
        self.history.append((self.clock.monotonic(), bundle))

    def overwrite_secret(self, **data: bytes) -> None:
        """Likewise, for single keys, with `_` for the dot."""
        changed = {name.replace("_", "."): value for name, value in data.items()}
        before = self.secret.data if self.secret else {}
        self.secret = Stored(self._next(), {**before, **changed})

    def trusts(self, leaf: Leaf, lag: float = 0) -> bool:
        """Whether API servers that act up to `lag` seconds late all accept this leaf now."""
        now = self.clock.now()
        horizon = self.clock.monotonic() - lag
        old = [i for i, (since, _) in enumerate(self.history) if since <= horizon]
        acted_on = [bundle for _, bundle in self.history[old[-1] if old else 0 :]]
        return leaf.not_before <= now <= leaf.not_after and all(
            leaf.issuer.fingerprint in {ca.fingerprint for ca in parsed(b) if ca.valid_at(now)}
            for b in acted_on
        )

    def _request(self) -> None:
        between, self.between = self.between, lambda: None
        between()
        self.between = between
        if self.down:
            raise Unreachable("connection refused")

    def _next(self) -> str:
        self._version += 1
        return f"v{self._version}"


def replica(cluster: FakeCluster, clock: TestClock | None = None) -> Rotation:
    """A replica on a machine whose clock may be off."""
    return Rotation(cluster, clock or cluster.clock, NAMES)


def settle(*replicas: Rotation, clock: TestClock, seconds: float = 90) -> None:
    """Let replicas go round every second for a while."""
    for _ in range(int(seconds)):
        for one in replicas:
            one.step()
        clock.advance(1)
