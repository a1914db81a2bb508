"""The mount and the webhook each have a list of s3fs's options; one may not promise too much."""

import pytest

from fusefs.cli import optionlist
from fusefs.cli.s3fsoptions import ACCEPTED, BY_NAME, REFUSED, SET
from webhook.parse.s3fsoptions import ANNOTATED, KNOWN, parse_options
from webhook.parse.s3fsoptions import REFUSED as DENIED


def test_what_passes_at_admission_is_what_the_mount_takes() -> None:
    """A pod that is admitted starts; nothing the mount takes is kept from pods without a reason."""
    assert {option.name for option in (*SET, *ACCEPTED)} - set(ANNOTATED) == KNOWN


def test_what_the_mount_refuses_is_denied_at_admission() -> None:
    """The person who writes it is told, not a container that won't start."""
    assert {option.name for option in REFUSED} - set(ANNOTATED) == DENIED


def test_what_has_an_annotation_is_an_option_of_the_mount() -> None:
    """The hint to an annotation is for options people know."""
    assert set(ANNOTATED) - set(BY_NAME) == set()


VALUES = [
    *("", "=", "=0", "=1", "=2", "=3", "=4", "=5", "=49", "=50", "=100", "=101", "=256", "=257"),
    *("=3600", "=3601", "=5120", "=5121", "=100000001", "=1000000001", "=4294967295", "=-1", "=+1"),
    *("=1.5", "=5s", "=00", "=\u0665", "=" + "9" * 21, "=" + "9" * 500, "=a", "=a b", "=/tmp/x"),
    *("=standard", "=STANDARD_IA", "=private", "=PUBLIC-READ", "=debug", "=Info", "=silent"),
    *("=kmsid", "=kmsid:arn:aws:kms:x:y", "=kmsid:a b", "=custom:/key", "=k", "=a=b"),
]


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_values_that_pass_at_admission_are_those_the_mount_takes(name: str) -> None:
    """A wrong value is told to whoever writes it; none is refused that would work."""
    told = {value: not optionlist.read([name + value]).problems for value in VALUES}
    assert {value: passes(name + value) for value in VALUES} == told


def passes(option: str) -> bool:
    """Say whether admission lets an option through."""
    try:
        return parse_options(option) == option
    except ValueError:
        return False
