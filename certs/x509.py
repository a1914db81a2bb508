"""X.509: makes authorities and signs leaves. cryptography is used here only.

Not here: storing and renewing certificates. All functions depend on their arguments and the given
time only. Values are frozen: safe to share between threads.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.errors import BadAuthority, BadName

AUTHORITY_NAME = "s3mount webhook CA"
# Clocks of nodes and API servers differ a little: certificates are valid this much earlier.
BACKDATE = timedelta(minutes=5)
# X.520 bounds the common name; longer names are alternative names only.
_COMMON_NAME_MAX = 64
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.IGNORECASE)
_HASH = hashes.SHA256()


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that verifiers trust, alone or in a caBundle. Times are aware, in UTC."""

    certificate: bytes
    fingerprint: str
    not_before: datetime
    not_after: datetime

    @property
    def created(self) -> datetime:
        """Time of creation, by its maker's clock."""
        return self.not_before + BACKDATE

    def valid_at(self, now: datetime) -> bool:
        """Return whether it is valid at this time."""
        return self.not_before <= now <= self.not_after


@dataclass(frozen=True, slots=True)
class Signer:
    """A CA with its private key; the key never shows in a repr."""

    authority: Authority
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A server certificate with its key and the CA that signed it."""

    certificate: bytes
    key: bytes = field(repr=False)
    issuer: Authority
    not_before: datetime
    not_after: datetime

    @property
    def created(self) -> datetime:
        """Time of signing, by the signer's clock."""
        return self.not_before + BACKDATE


def new_signer(now: datetime, lifetime: timedelta) -> Signer:
    """Make a self-signed CA on P-256, valid from a little before `now` for `lifetime`."""
    key = ec.generate_private_key(ec.SECP256R1())
    # Two CAs exist during a rotation: the serial number in the name lets a verifier choose the
    # right issuer.
    serial = x509.random_serial_number()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, AUTHORITY_NAME),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{serial:x}"),
        ]
    )
    certificate = (
        _builder(name, name, key.public_key(), now, now + lifetime)
        .serial_number(serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .sign(key, _HASH)
    )
    return Signer(_authority(certificate), _pem(key))


def sign_leaf(signer: Signer, names: Sequence[str], now: datetime, lifetime: timedelta) -> Leaf:
    """Sign a server certificate for DNS names and addresses; it never outlives its CA."""
    alternatives = _general_names(names)
    ca_key = _load_key(signer.key, "ca.key")
    ca = x509.load_pem_x509_certificate(signer.authority.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    until = min(now + lifetime, signer.authority.not_after)
    common = [n for n in names if len(n) <= _COMMON_NAME_MAX][:1]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common])
    certificate = (
        _builder(subject, ca.subject, key.public_key(), now, until)
        .serial_number(x509.random_serial_number())
        # Critical when the subject is empty (RFC 5280, 4.2.1.6).
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=not common)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, _HASH)
    )
    return _leaf(certificate, key, signer.authority)


def load_leaf(certificate: bytes, key: bytes, issuer: bytes) -> Leaf:
    """Read a leaf, its key and its CA from PEM; BadAuthority when they don't belong together."""
    try:
        parsed = x509.load_pem_x509_certificate(certificate)
        ca = x509.load_pem_x509_certificate(issuer)
        parsed.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise BadAuthority("tls.crt isn't signed by ca.crt") from error
    private = _load_key(key, "tls.key")
    if parsed.public_key() != private.public_key():
        raise BadAuthority("tls.key isn't the key of tls.crt")
    return _leaf(parsed, private, _authority(ca))


def check_names(names: Sequence[str]) -> None:
    """Raise BadName unless a leaf can be signed for these names."""
    _general_names(names)


def load_signer(certificate: bytes, key: bytes) -> Signer:
    """Read a CA and its key from PEM; BadAuthority names the wrong one."""
    try:
        parsed = x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise BadAuthority("ca.crt isn't a PEM certificate") from error
    if not _is_authority(parsed):
        raise BadAuthority("ca.crt isn't the certificate of a CA")
    private = _load_key(key, "ca.key")
    if parsed.public_key() != private.public_key():
        raise BadAuthority("ca.key isn't the key of ca.crt")
    return Signer(_authority(parsed), _pem(private))


def load_bundle(bundle: bytes) -> tuple[Authority, ...]:
    """Read every certificate of a bundle, each once, in its order.

    Certificates that aren't CAs are read too: a verifier would trust them all the same.
    BadAuthority if any can't be read.
    """
    if not bundle.strip():
        return ()
    try:
        certificates = x509.load_pem_x509_certificates(bundle)
        found = {a.fingerprint: a for a in map(_authority, certificates)}
    except ValueError as error:
        raise BadAuthority("the bundle isn't a list of PEM certificates") from error
    return tuple(found.values())


def is_ours(authority: Authority) -> bool:
    """Return whether it is a CA of this package, by its name."""
    certificate = x509.load_pem_x509_certificate(authority.certificate)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [name.value for name in names] == [AUTHORITY_NAME] and _is_authority(certificate)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .not_valid_before(now.astimezone(UTC) - BACKDATE)
        .not_valid_after(until.astimezone(UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    if not names:
        raise BadName("a certificate needs at least one DNS name")
    return [_general_name(name) for name in names]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    host = name.removeprefix("*.")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise BadName(
            f"{name!r} isn't a DNS name: labels of letters, digits and inner hyphens, at most 63"
            " characters each, joined by dots; for example injector.s3mount-system.svc"
        )
    return x509.DNSName(name.lower())


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        certificate.verify_directly_issued_by(certificate)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature):
        return False
    return constraints.value.ca


def _authority(certificate: x509.Certificate) -> Authority:
    return Authority(
        certificate=_certificate_pem(certificate),
        fingerprint=certificate.fingerprint(_HASH).hex(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _leaf(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, ca: Authority) -> Leaf:
    return Leaf(
        certificate=_certificate_pem(certificate),
        key=_pem(key),
        issuer=ca,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _load_key(pem: bytes, name: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadAuthority(f"{name} isn't a private key in PEM without a passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadAuthority(f"{name} isn't a key on an elliptic curve")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
