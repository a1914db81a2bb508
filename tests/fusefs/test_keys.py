"""Which names can be keys, and which keys can be names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs import keys
from fusefs.errors import BadName, FsError, NameTooLong


@pytest.mark.parametrize("name", ["a", "ä b'\"\n\t", "\N{SNOWMAN}", "-", "...", "a" * 255, "~"])
def test_a_name_may_have_anything_but_a_slash(name: str) -> None:
    """Spaces, quotes, line breaks and any Unicode."""
    keys.check(name, "prefix/" + name)
    assert keys.findable(name, name)
    assert keys.shown(name)


def test_a_name_that_is_not_utf8_is_refused() -> None:
    """EILSEQ: S3 keys are UTF-8. A lookup of one just finds nothing."""
    with pytest.raises(BadName):
        keys.check("\udcff", "p/\udcff")
    assert not keys.findable("\udcff", "p/\udcff")


def test_a_name_has_at_most_255_bytes() -> None:
    """Bytes, not characters: what statfs tells and applications count on."""
    keys.check("ä" * 127 + "b", "ä" * 127 + "b")
    with pytest.raises(NameTooLong):
        keys.check("ä" * 128, "ä" * 128)


def test_a_key_has_at_most_1024_bytes() -> None:
    """The prefix and all directories count."""
    keys.check("a", "d" * 1023 + "a")
    with pytest.raises(NameTooLong):
        keys.check("a", "d" * 1024 + "a")


@pytest.mark.parametrize("name", ["", ".", "..", "a\0b", "a/b"])
def test_a_segment_that_is_no_name_is_not_shown(name: str) -> None:
    """Keys of other tools like `a//b`, `a/./b`, `a/../b`."""
    assert not keys.shown(name)


@pytest.mark.parametrize(
    ("name", "directory"),
    [("logs_$folder$", "logs"), ("_$folder$", None), ("logs", None), ("a_$folder$b", None)],
)
def test_a_folder_marker_of_old_tools_is_a_directory(name: str, directory: str | None) -> None:
    """Hadoop and old S3 tools mark directories so."""
    assert keys.as_directory(name) == directory


@given(st.text(), st.text())
def test_any_text_is_taken_or_refused_as_a_name(name: str, prefix: str) -> None:
    """What is refused can't be found either, but for long names that others made; nothing else."""
    try:
        keys.check(name, prefix + name)
    except FsError:
        long = len(name.encode("utf-8", "surrogateescape")) > keys.MAX_NAME
        assert long or not keys.findable(name, prefix + name)
    else:
        assert keys.findable(name, prefix + name)
