"""The mount and the webhook each have a list of s3fs's options; one may not promise too much."""

from fusefs.cli.s3fsoptions import ACCEPTED, BY_NAME, REFUSED, SET
from webhook.parse.s3fsoptions import ANNOTATED, KNOWN
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
