"""What the Secret holds: the CA that signs, and the older ones that are still believed.

Pure values: reading, judging and succeeding, never storing (`rotation`) nor signing (`issue`).
Immutable, safe to share between threads.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from certs.errors import BadAuthority
from certs.x509 import Authority, Signer, load_bundle, load_signer, new_signer

AUTHORITY_LIFETIME = timedelta(days=365)
LEAF_LIFETIME = timedelta(days=7)
# A CA that signs no more is believed until its last leaf is over; a day more for a replica that
# couldn't reach the API server and went on with the CA it knew.
RETENTION = LEAF_LIFETIME + timedelta(days=1)
# A CA lost before its time adds one; a bundle must not grow without end.
MOST_PREVIOUS = 8

_CERTIFICATE, _KEY, _PREVIOUS = "ca.crt", "ca.key", "previous.crt"


@dataclass(frozen=True, slots=True)
class Trust:
    """The signing CA and those before it, newest first."""

    signer: Signer
    previous: tuple[Authority, ...]

    @property
    def authority(self) -> Authority:
        """The CA that signs new leaves."""
        return self.signer.authority

    def due(self, now: datetime) -> bool:
        """Whether a new CA has to take over: old, or of no use to a verifier with this clock."""
        ca = self.authority
        return renewal_due(ca.created, ca.not_after, now) or not ca.valid_at(now)

    def bundle(self, now: datetime) -> tuple[Authority, ...]:
        """The CAs that clients have to trust now, the signing one first."""
        return (self.authority, *self._retained(now))

    def successor(self, now: datetime) -> "Trust":
        """The same trust with a new signing CA; the key of the old one is gone."""
        return begin(now, self.bundle(now))

    def data(self) -> dict[str, bytes]:
        """The contents of the Secret."""
        return {
            _CERTIFICATE: self.authority.certificate,
            _KEY: self.signer.key,
            _PREVIOUS: pem(self.previous),
        }

    def _retained(self, now: datetime) -> tuple[Authority, ...]:
        # The moment of the succession is the birth of the signing CA: nothing else to remember.
        if now > self.authority.created + RETENTION:
            return ()
        return tuple(ca for ca in self.previous if ca.not_after >= now)


def begin(now: datetime, previous: Iterable[Authority] = ()) -> Trust:
    """Make a new signing CA, and go on believing the valid ones of `previous`."""
    older = sorted(
        {ca.fingerprint: ca for ca in previous if ca.valid_at(now)}.values(),
        key=lambda ca: (ca.not_before, ca.fingerprint),
        reverse=True,
    )
    return Trust(new_signer(now, AUTHORITY_LIFETIME), tuple(older[:MOST_PREVIOUS]))


def parse(data: Mapping[str, bytes]) -> Trust:
    """Read the contents of the Secret; BadAuthority for whatever can't be used as it is."""
    missing = [name for name in (_CERTIFICATE, _KEY) if not data.get(name)]
    if missing:
        raise BadAuthority(f"the Secret has no {' and no '.join(missing)}")
    signer = load_signer(data[_CERTIFICATE], data[_KEY])
    return Trust(signer, load_bundle(data.get(_PREVIOUS, b"")))


def renewal_due(created: datetime, not_after: datetime, now: datetime) -> bool:
    """Whether two thirds of a certificate's life are over."""
    return now >= created + (not_after - created) * 2 / 3


def pem(authorities: Iterable[Authority]) -> bytes:
    """The certificates one after the other, as a caBundle has them."""
    return b"".join(authority.certificate for authority in authorities)
