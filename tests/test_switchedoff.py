"""docs/testing.md, "With optimisations switched off"."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusefs.cli import command
from fusefs.mount.settings import SAVINGS
from tests.mounts import switchedoff

ROOT = Path(__file__).parent.parent


def test_all_that_can_be_named_is_an_option_of_the_mount() -> None:
    """Each alone, and all; what a test itself switches off stays off."""
    for name in ("all", *switchedoff.ALL):
        words = switchedoff.switched(["--without", "walks"], switchedoff.named(name))
        settings = command._settings_of(["mount", *words, "bucket", "/mnt"])
        assert settings.without == switchedoff.without(switchedoff.named(name)) | {"walks"}
        assert settings.store.direct is not (name in ("all", "fast-path"))
        assert (settings.background_fill == 0) is (name in ("all", "background-fill"))


def test_a_test_of_passthrough_keeps_it() -> None:
    """Its mount asks for what `all` switches off; the two contradict each other."""
    words = switchedoff.switched(["--passthrough"], switchedoff.named("all"))
    settings = command._settings_of(["mount", *words, "bucket", "/mnt"])
    assert settings.passthrough
    assert settings.without == set(SAVINGS) - {"passthrough"}


def test_nothing_is_switched_off_unless_it_is_named() -> None:
    """The options stay as they are."""
    assert switchedoff.switched(["-o", "ro"], switchedoff.named("")) == ["-o", "ro"]


def test_what_is_no_optimisation_is_an_error() -> None:
    """It names the variable and the choice."""
    with pytest.raises(pytest.UsageError, match=r"S3MOUNT_TEST_WITHOUT: 'haeds' .* heads"):
        switchedoff.named("lists,haeds")


def test_the_docs_name_them_all() -> None:
    """With the variable."""
    text = (ROOT / "docs" / "testing.md").read_text()
    assert switchedoff.VARIABLE in text
    assert [name for name in switchedoff.ALL if f"`{name}`" not in text] == []
