"""The wire format is the published one, and the signature is the webhook's."""

from pathlib import Path

import pytest

from fusefs.errors import SetupError
from fusefs.node.messages import CSI, REGISTRATION, message_class
from fusefs.node.token import TokenKeys
from webhook.errors import SettingsError
from webhook.platform.nodekey import UNSIGNED, NodeKey, read_node_key

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


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("key", KEYS)
def test_the_token_covers_what_a_mount_shares(tmp_path: Path, key: str, read_only: bool) -> None:
    """It can be neither changed nor added nor taken away."""
    file = tmp_path / "key"
    file.write_text("\n".join(KEYS) + "\n")
    given, keys = ("team", "default", "one"), TokenKeys(file)
    token = NodeKey(key).token(*given, read_only=read_only, cache="common")
    assert keys.check(token, *given, read_only=read_only, cache="common")
    for other in ("other", "", None):
        assert not keys.check(token, *given, read_only=read_only, cache=other)
    alone = NodeKey(key).token(*given, read_only=read_only)
    assert not keys.check(alone, *given, read_only=read_only, cache="common")


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("key", KEYS)
def test_a_token_of_the_webhook_is_taken(tmp_path: Path, key: str, read_only: bool) -> None:
    """With each key of the file; with any other value it isn't."""
    file = tmp_path / "key"
    file.write_text("\n".join(KEYS) + "\n")
    given = ("team", "default", "one")
    token = NodeKey(key).token(*given, read_only=read_only)
    keys = TokenKeys(file)
    assert keys.check(token, *given, read_only=read_only)
    assert not keys.check(token, *given, read_only=not read_only)
    assert not keys.check(token, "team", "default", "two", read_only=read_only)
    assert not keys.check(
        NodeKey("c" * 32).token(*given, read_only=read_only), *given, read_only=read_only
    )
    assert not keys.check(NodeKey().token(*given, read_only=read_only), *given, read_only=read_only)
    assert not keys.check("", *given, read_only=read_only)
    assert NodeKey().token(*given, read_only=read_only) == UNSIGNED
    assert key not in repr(NodeKey(key))


@pytest.mark.parametrize("content", [None, "", "short\n"], ids=["missing", "empty", "short"])
def test_a_key_that_is_none_is_refused_by_both(tmp_path: Path, content: str | None) -> None:
    """At the start, with the file's name."""
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SetupError, match=str(file)):
        TokenKeys(file).keys()
    with pytest.raises(SettingsError, match=str(file)):
        read_node_key(file)


def test_the_webhook_signs_with_the_first_key(tmp_path: Path) -> None:
    """So that a new key can be put before the old one."""
    file = tmp_path / "key"
    file.write_text("\n".join(KEYS) + "\n")
    assert read_node_key(file) == NodeKey(KEYS[0])
