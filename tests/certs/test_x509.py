"""Authorities and leaves, judged by the TLS stack that will verify them."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given
from hypothesis import strategies as st

from certs.errors import BadAuthority, BadName
from certs.x509 import BACKDATE, is_ours, load_bundle, load_signer, new_signer, sign_leaf
from tests.certs.handshake import handshake

NOW = datetime(2031, 5, 17, 12, 0, tzinfo=UTC)
WEEK = timedelta(days=7)
YEAR = timedelta(days=365)
NAMES = ["s3mount-webhook.s3mount-system.svc", "localhost"]


def verify(leaf: bytes, ca: bytes, at: datetime, name: str = NAMES[0]) -> None:
    """Check a chain the way RFC 5280 asks, at a given time."""
    store = Store([x509.load_pem_x509_certificate(ca)])
    policy = PolicyBuilder().store(store).time(at)
    verifier = policy.build_server_verifier(x509.DNSName(name))
    verifier.verify(x509.load_pem_x509_certificate(leaf), [])


def test_a_client_that_trusts_the_ca_accepts_the_leaf_for_each_name():
    """OpenSSL completes a handshake for every name the leaf was signed for."""
    now = datetime.now(UTC)
    signer = new_signer(now, YEAR)
    leaf = sign_leaf(signer, NAMES, now, WEEK)
    for name in NAMES:
        assert handshake(leaf, signer.authority.certificate, name) == "TLSv1.3"


def test_a_client_refuses_the_leaf_for_another_name():
    """The leaf is good for its own names alone."""
    now = datetime.now(UTC)
    signer = new_signer(now, YEAR)
    leaf = sign_leaf(signer, NAMES, now, WEEK)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(leaf, signer.authority.certificate, "other.example")


def test_a_client_with_both_cas_of_a_rotation_accepts_leaves_of_either():
    """Two CAs of the same common name in one bundle don't confuse a verifier."""
    now = datetime.now(UTC)
    signers = [new_signer(now, YEAR) for _ in range(3)]
    bundle = b"".join(s.authority.certificate for s in signers)
    for signer in signers:
        leaf = sign_leaf(signer, NAMES, now, WEEK)
        assert handshake(leaf, bundle, NAMES[0]) == "TLSv1.3"


def test_leaves_verify_strictly_from_a_little_before_now_to_their_end():
    """Clocks may differ by minutes; after the end nobody accepts the leaf."""
    signer = new_signer(NOW, YEAR)
    leaf = sign_leaf(signer, NAMES, NOW, WEEK)
    for moment in (NOW - BACKDATE, NOW, NOW + WEEK):
        verify(leaf.certificate, signer.authority.certificate, moment)
    for moment in (NOW - BACKDATE - timedelta(seconds=1), NOW + WEEK + timedelta(seconds=1)):
        with pytest.raises(VerificationError):
            verify(leaf.certificate, signer.authority.certificate, moment)


def test_a_leaf_never_outlives_its_ca():
    """A leaf signed late in the CA's life ends with the CA."""
    signer = new_signer(NOW, YEAR)
    late = NOW + YEAR - timedelta(days=1)
    assert sign_leaf(signer, NAMES, late, WEEK).not_after == signer.authority.not_after


def test_keys_are_on_p256_and_stay_out_of_reprs():
    """Signer and leaf print without their private halves."""
    signer = new_signer(NOW, YEAR)
    leaf = sign_leaf(signer, NAMES, NOW, WEEK)
    assert "PRIVATE KEY" not in repr(signer) + repr(leaf)
    public = x509.load_pem_x509_certificate(leaf.certificate).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(public.curve, ec.SECP256R1)


def test_a_name_too_long_for_a_common_name_is_carried_as_alternative_name():
    """The subject is then empty and the alternative names are critical."""
    name = ".".join(["x" * 40, "y" * 40, "svc"])
    signer = new_signer(NOW, YEAR)
    leaf = sign_leaf(signer, [name], NOW, WEEK)
    parsed = x509.load_pem_x509_certificate(leaf.certificate)
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (parsed.subject.rdns, names.critical) == ([], True)
    verify(leaf.certificate, signer.authority.certificate, NOW, name)


@pytest.mark.parametrize(
    "name", ["", "a_b", "-a", "a-", "a..b", "x" * 64, "é.example", "a b", "*", "a.*.b", "a." * 140]
)
def test_a_bad_name_is_refused_with_the_rule(name):
    """Whatever isn't a DNS name is refused by name, before anything is signed."""
    with pytest.raises(BadName, match="isn't a DNS name"):
        sign_leaf(new_signer(NOW, YEAR), [name], NOW, WEEK)


def test_no_names_at_all_are_refused():
    """A certificate for nobody is of no use."""
    with pytest.raises(BadName, match="at least one"):
        sign_leaf(new_signer(NOW, YEAR), [], NOW, WEEK)


def test_a_signer_survives_its_pem_form():
    """What is stored is what is loaded, times and fingerprint included."""
    signer = new_signer(NOW, YEAR)
    assert load_signer(signer.authority.certificate, signer.key) == signer
    assert signer.authority.created == NOW
    assert is_ours(signer.authority)


def test_a_stored_ca_with_the_key_of_another_is_refused():
    """Signing with a key that isn't the certificate's would make leaves nobody accepts."""
    one, two = new_signer(NOW, YEAR), new_signer(NOW, YEAR)
    with pytest.raises(BadAuthority, match=r"isn't the key of ca\.crt"):
        load_signer(one.authority.certificate, two.key)


def test_a_leaf_in_place_of_the_ca_is_refused():
    """A server certificate can't sign others."""
    signer = new_signer(NOW, YEAR)
    leaf = sign_leaf(signer, NAMES, NOW, WEEK)
    with pytest.raises(BadAuthority, match="isn't the certificate of a CA"):
        load_signer(leaf.certificate, leaf.key)


@given(st.binary(max_size=200), st.booleans())
def test_garbage_is_refused_not_crashed_on(noise, framed):
    """Any bytes at all end in BadAuthority."""
    if framed:
        noise = b"-----BEGIN CERTIFICATE-----\n" + noise + b"\n-----END CERTIFICATE-----\n"
    signer = new_signer(NOW, YEAR)
    with pytest.raises(BadAuthority):
        load_signer(noise, signer.key)
    with pytest.raises(BadAuthority):
        load_signer(signer.authority.certificate, noise)


def test_a_bundle_is_read_once_per_certificate_in_order():
    """Repeated CAs count once; a leaf counts too, for verifiers trust it, but it isn't ours."""
    one, two = new_signer(NOW, YEAR).authority, new_signer(NOW, YEAR).authority
    leaf = sign_leaf(new_signer(NOW, YEAR), NAMES, NOW, WEEK)
    bundle = one.certificate + two.certificate + one.certificate + leaf.certificate
    found = load_bundle(bundle)
    assert found[:2] == (one, two)
    assert [is_ours(authority) for authority in found] == [True, True, False]
    assert load_bundle(b"\n") == ()
