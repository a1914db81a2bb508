"""There is one version."""

from tests import version


def test_every_place_has_the_version() -> None:
    """`python -m tests.version` sets it everywhere."""
    assert set().union(*version.found().values()) == {version.number()}
    assert all(version.found().values())
