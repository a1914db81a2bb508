"""docs/settings.md: what the environment may say, and what comes of it."""

import pytest

from webhook.errors import SettingsError
from webhook.platform.resources import Resources
from webhook.platform.settings import Platform, read_platform
from webhook.serve.settings import read_serving, read_settings

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


def test_all_wrong_values_are_named_at_once() -> None:
    """Of both components, so that nobody repairs a Deployment one restart at a time."""
    texts = {"PORT": "http", "MAXIMUM_MOUNTS": "0", "WORKER_CPU_REQUEST": "much", "HOST": "::1"}
    with pytest.raises(SettingsError) as caught:
        read_settings({f"S3MOUNT_{name}": text for name, text in texts.items()})
    assert str(caught.value).splitlines() == [
        "3 settings are wrong:",
        '- S3MOUNT_PORT="http": must be a port, 0 to 65535',
        '- S3MOUNT_WORKER_CPU_REQUEST="much": must be a CPU quantity, like 250m or 2',
        '- S3MOUNT_MAXIMUM_MOUNTS="0": must be a number, at least 1',
    ]


def test_a_password_in_a_url_is_not_repeated() -> None:
    """An error is logged; what stands before the `@` is a credential."""
    with pytest.raises(SettingsError, match="must not contain credentials") as caught:
        read_platform({"S3MOUNT_DEFAULT_ENDPOINT": "https://me:hunter2@minio.example.com"})
    assert "hunter2" not in str(caught.value)


def test_a_request_above_its_limit_is_refused() -> None:
    """The error has both variables, for the limit may be a default."""
    with pytest.raises(SettingsError) as caught:
        read_platform({"S3MOUNT_WORKER_MEMORY_REQUEST": "2Gi"})
    (problem,) = caught.value.problems
    assert problem.startswith("S3MOUNT_WORKER_MEMORY_LIMIT")
    assert problem.endswith("must not be below S3MOUNT_WORKER_MEMORY_REQUEST")


def test_an_empty_variable_unsets_a_resource() -> None:
    """Not the same as a variable that isn't there."""
    found = read_platform({"S3MOUNT_WORKER_MEMORY_LIMIT": ""})
    assert found.worker == Resources(20, None, 256 * MIB, None)


def test_settings_cannot_be_changed() -> None:
    """They are shared between threads."""
    with pytest.raises(ValueError, match="frozen"):
        Platform().image = "other"  # type: ignore[misc]


def test_the_environment_of_the_process_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the mapping that is given: a Platform in a test is the defaults."""
    monkeypatch.setenv("S3MOUNT_IMAGE", "other")
    assert Platform() == read_platform({})


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


def test_a_copy_has_resources_of_its_own() -> None:
    """What was asked of the original before is not what the copy answers."""
    platform = read_platform({"S3MOUNT_WORKER_CPU_REQUEST": "100m"})
    assert platform.worker.cpu_request == 100
    changed = platform.replaced(worker=Resources(7, 8, MIB, MIB), keeper_cpu_request=9)
    assert changed.worker == Resources(7, 8, MIB, MIB)
    assert changed.keeper_resources.cpu_request == 9
    assert platform.worker.cpu_request == 100
