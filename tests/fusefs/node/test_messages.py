"""The wire format is the published one, and the signature is the webhook's."""

import re
from pathlib import Path

import pytest

from fusefs.errors import SetupError
from fusefs.node import publication, token
from fusefs.node.messages import CSI, REGISTRATION, message_class
from fusefs.node.token import TokenKeys
from webhook.errors import SettingsError
from webhook.platform import nodekey
from webhook.platform.nodekey import UNSIGNED, NodeKey, bound_to, read_node_key

# Bytes by the published field numbers: csi.proto 1.9, pluginregistration/v1/api.proto.
PUBLISH = b"\x0a\x01v\x22\x02/t\x30\x01\x42\x06\x0a\x01a\x12\x01b"
EXAMPLES = [
    (
        (CSI, "NodePublishVolumeRequest"),
        {"volume_id": "v", "target_path": "/t", "readonly": True, "volume_context": {"a": "b"}},
        PUBLISH,
    ),
    (
        (CSI, "NodeUnpublishVolumeRequest"),
        {"volume_id": "v", "target_path": "/t"},
        b"\x0a\x01v\x12\x02/t",
    ),
    ((CSI, "GetPluginInfoResponse"), {"name": "n", "vendor_version": "1"}, b"\x0a\x01n\x12\x011"),
    ((CSI, "NodeGetInfoResponse"), {"node_id": "n"}, b"\x0a\x01n"),
    (
        (REGISTRATION, "PluginInfo"),
        {"type": "T", "name": "n", "endpoint": "e", "supported_versions": ["1", "2"]},
        b"\x0a\x01T\x12\x01n\x1a\x01e\x22\x011\x22\x012",
    ),
    (
        (REGISTRATION, "RegistrationStatus"),
        {"plugin_registered": True, "error": "e"},
        b"\x08\x01\x12\x01e",
    ),
]
KEYS = ("a" * 32, "b" * 40)


@pytest.mark.parametrize(("name", "fields", "data"), EXAMPLES, ids=[one[0][1] for one in EXAMPLES])
def test_a_message_has_the_published_numbers(
    name: tuple[str, str], fields: dict[str, object], data: bytes
) -> None:
    """In both directions."""
    kind = message_class(*name)
    assert kind(**fields).SerializeToString() == data
    assert kind.FromString(data) == kind(**fields)


def test_fields_that_are_not_used_are_skipped() -> None:
    """A kubelet says more: a capability (5), secrets (7)."""
    more = PUBLISH + b"\x2a\x02\x12\x00\x3a\x06\x0a\x01s\x12\x01t"
    assert message_class(CSI, "NodePublishVolumeRequest").FromString(more).target_path == "/t"


VOLUME = {
    "namespace": "team",
    "account": "default",
    "pod": "web-0",
    "nonce": "0" * 16,
    "mount": "one",
    "read_only": False,
    "cache": None,
}


def signed(key: str, **changed: object) -> str:
    """The webhook's token of a volume."""
    fields = {**VOLUME, "pod": bound_to("web-0", ""), **changed}
    return NodeKey(key).token(nodekey.SignedVolume(**fields))  # type: ignore[arg-type]


def volume(**changed: object) -> token.SignedVolume:
    """The volume as the kubelet tells the plugin of it."""
    return token.SignedVolume(**{**VOLUME, **changed})  # type: ignore[arg-type]


@pytest.fixture
def keys(tmp_path: Path) -> TokenKeys:
    """A plugin's keys."""
    file = tmp_path / "key"
    file.write_text("\n".join(KEYS) + "\n")
    return TokenKeys(file)


@pytest.mark.parametrize("cache", [None, "common"])
@pytest.mark.parametrize("key", KEYS)
def test_a_token_of_the_webhook_is_taken(keys: TokenKeys, key: str, cache: str | None) -> None:
    """With each key of the file; with any other key, or none, it isn't."""
    for read_only in (True, False):
        told = {"read_only": read_only, "cache": cache}
        assert keys.check(signed(key, **told), volume(**told))
    for other in (signed("c" * 32), NodeKey().token(nodekey.SignedVolume(**VOLUME)), "", "é"):  # type: ignore[arg-type]
        assert not keys.check(other, volume(cache=cache))
    assert signed("") == UNSIGNED == NodeKey().nonce()
    assert key not in repr(NodeKey(key))


@pytest.mark.parametrize(
    "changed",
    [
        {"namespace": "other"},
        {"account": "other"},
        {"pod": "web-1"},
        {"nonce": "1" * 16},
        {"mount": "two"},
        {"read_only": True},
        {"cache": "common"},
        {"cache": ""},
    ],
    ids=lambda changed: "-".join(f"{key}-{value}" for key, value in changed.items()),
)
def test_a_token_is_for_its_volume_alone(keys: TokenKeys, changed: dict[str, object]) -> None:
    """Whatever of it is another, in either direction."""
    assert not keys.check(signed(KEYS[0]), volume(**changed))
    if "pod" not in changed:
        assert not keys.check(signed(KEYS[0], **changed), volume())


@pytest.mark.parametrize("base", ["web-7d9-", "x" * 80])
def test_a_generated_name_is_known_but_for_its_end(keys: TokenKeys, base: str) -> None:
    """The API server cuts what is too long, and appends five characters."""
    given = signed(KEYS[0], pod=bound_to("", base))
    assert keys.check(given, volume(pod=base[:58] + "x2k4p"))
    assert not keys.check(given, volume(pod=base[:58]))
    assert not keys.check(given, volume(pod=base[:58] + "x2k4p-0"))


def test_each_pod_has_a_nonce_of_its_own() -> None:
    """It is what the plugin takes for one."""
    made = {NodeKey(KEYS[0]).nonce() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(publication.NONCE, each) for each in made)


@pytest.mark.parametrize("content", [None, "", "short\n"], ids=["missing", "empty", "short"])
def test_a_key_that_is_none_is_refused_by_both(tmp_path: Path, content: str | None) -> None:
    """At the start, with the file's name."""
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SetupError, match=str(file)):
        TokenKeys(file).keys()
    with pytest.raises(SettingsError, match=str(file)) as raised:
        read_node_key(file)
    assert str(raised.value).count(str(file)) == 1


def test_the_webhook_signs_with_the_first_key(tmp_path: Path) -> None:
    """So that a new key can be put before the old one."""
    file = tmp_path / "key"
    file.write_text("\n".join(KEYS) + "\n")
    assert read_node_key(file) == NodeKey(KEYS[0])
