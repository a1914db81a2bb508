"""What clouds add to every container: paths are compared as the runtime normalises them."""

import posixpath

from hypothesis import given
from hypothesis import strategies as st

from webhook.pod.additions import normal_path


@given(st.text("/.ab\\ ", max_size=12))
def test_paths_are_those_of_the_container_runtime(path: str) -> None:
    """No spelling of a path hides where it leads."""
    assert normal_path(path) == posixpath.normpath("/" + path.lstrip("/"))
