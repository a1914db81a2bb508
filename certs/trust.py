"""The contents of the Secret: the signing CA, and retired ones that are still trusted.

Pure values: parsing, expiry and succession; not storing (`rotation`) nor signing (`x509`).
Immutable, safe to share between threads.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from certs.errors import BadAuthority
from certs.x509 import Authority, Signer, load_bundle, load_signer, new_signer

AUTHORITY_LIFETIME = timedelta(days=365)
LEAF_LIFETIME = timedelta(days=7)
# A retired CA is trusted until its last leaf has expired; a day more for a replica that couldn't
# reach the API server and used the CA it knew.
RETENTION = LEAF_LIFETIME + timedelta(days=1)
# Each lost CA adds one; the bundle is bounded.
MOST_PREVIOUS = 8

_CERTIFICATE, _KEY, _PREVIOUS = "ca.crt", "ca.key", "previous.crt"


@dataclass(frozen=True, slots=True)
class Trust:
    """The signing CA and the retired ones, newest first."""

    signer: Signer
    previous: tuple[Authority, ...]

    @property
    def authority(self) -> Authority:
        """The signing CA."""
        return self.signer.authority

    def due(self, now: datetime) -> bool:
        """Return whether a new CA is due: this one is old, or invalid by this clock."""
        ca = self.authority
        return renewal_due(ca.created, ca.not_after, now) or not ca.valid_at(now)

    def bundle(self, now: datetime) -> tuple[Authority, ...]:
        """Return the CAs that clients have to trust now, the signing one first."""
        return (self.authority, *self._retained(now))

    def successor(self, now: datetime) -> "Trust":
        """Return the same trust with a new signing CA; the old one's key is dropped."""
        return begin(now, self.bundle(now))

    def data(self) -> dict[str, bytes]:
        """Return the contents of the Secret."""
        return {
            _CERTIFICATE: self.authority.certificate,
            _KEY: self.signer.key,
            _PREVIOUS: pem(self.previous),
        }

    def _retained(self, now: datetime) -> tuple[Authority, ...]:
        # The time of the succession is the creation of the signing CA: no other record is needed.
        if now > self.authority.created + RETENTION:
            return ()
        return tuple(ca for ca in self.previous if ca.not_after >= now)


def begin(now: datetime, previous: Iterable[Authority] = ()) -> Trust:
    """Make a new signing CA, and keep trusting the valid ones of `previous`."""
    older = sorted(
        {ca.fingerprint: ca for ca in previous if ca.valid_at(now)}.values(),
        key=lambda ca: (ca.not_before, ca.fingerprint),
        reverse=True,
    )
    return Trust(new_signer(now, AUTHORITY_LIFETIME), tuple(older[:MOST_PREVIOUS]))


def parse(data: Mapping[str, bytes]) -> Trust:
    """Parse the contents of the Secret; BadAuthority if they can't be used."""
    missing = [name for name in (_CERTIFICATE, _KEY) if not data.get(name)]
    if missing:
        raise BadAuthority(f"the Secret has no {' and no '.join(missing)}")
    signer = load_signer(data[_CERTIFICATE], data[_KEY])
    return Trust(signer, load_bundle(data.get(_PREVIOUS, b"")))


def renewal_due(created: datetime, not_after: datetime, now: datetime) -> bool:
    """Return whether two thirds of a certificate's lifetime are over."""
    return now >= created + (not_after - created) * 2 / 3


def pem(authorities: Iterable[Authority]) -> bytes:
    """Return the certificates as the PEM text of a caBundle."""
    return b"".join(authority.certificate for authority in authorities)
