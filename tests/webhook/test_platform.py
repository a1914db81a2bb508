"""docs/policy.md, "Platform settings": what the environment may say, and what comes of it."""

import pytest

from webhook.errors import SettingsError
from webhook.platform import Platform, Resources, read_platform
from webhook.serve.settings import read_serving

MIB = 2**20


def test_nothing_set_is_the_default() -> None:
    """The documented defaults, and nothing of the machine's."""
    assert read_platform({"HOME": "/root", "IMAGE": "other"}) == Platform()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("IMAGE", ""),
        ("IMAGE_PULL_POLICY", "always"),
        ("NODE_SELECTOR", "disk"),
        ("DEFAULT_SECRET", "My_Secret"),
        ("DEFAULT_ENDPOINT", "minio:9000"),
        ("MINIMUM_GRACE", "61m"),
        ("MINIMUM_GRACE", "-1"),
        ("WORKER_CPU_REQUEST", "much"),
        ("KEEPER_MEMORY_REQUEST", "1Gi"),
        ("MAXIMUM_MOUNTS", "0"),
        ("MAXIMUM_CACHE_SIZE", "1Ki"),
        ("DEFAULT_CACHE_SIZE", "1Ki"),
        ("CHECK_POD_SECURITY", "yes"),
    ],
)
def test_wrong_value_is_refused_by_name(name: str, text: str) -> None:
    """The server doesn't start on a guess."""
    with pytest.raises(SettingsError, match=f"S3MOUNT_{name}"):
        read_platform({f"S3MOUNT_{name}": text})


@pytest.mark.parametrize("name", ["PORT", "METRICS_PORT"])
@pytest.mark.parametrize("text", ["-1", "65536", "http", ""])
def test_wrong_port_is_refused_by_name(name: str, text: str) -> None:
    """Of the server's own settings too."""
    with pytest.raises(SettingsError, match=f"S3MOUNT_{name}"):
        read_serving({f"S3MOUNT_{name}": text})


def test_flags_win_over_the_environment() -> None:
    """As everywhere."""
    found = read_serving({"S3MOUNT_PORT": "1000", "S3MOUNT_METRICS_PORT": "2000"}, port=3000)
    assert (found.port, found.metrics_port) == (3000, 2000)


def test_grace_is_capped_at_an_hour() -> None:
    """A node that drains waits for it."""
    assert read_platform({"S3MOUNT_MINIMUM_GRACE": "1h"}).minimum_grace == 3600


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(), False),
        (Resources(100, 100, MIB, MIB), True),
        (Resources(None, 100, None, MIB), True),
        (Resources(50, 100, MIB, MIB), False),
        (Resources(100, None, MIB, MIB), False),
    ],
)
def test_guaranteed_is_what_kubernetes_calls_so(resources: Resources, expected: bool) -> None:
    """Limits on both, and requests equal to them or left out."""
    assert resources.guaranteed is expected
