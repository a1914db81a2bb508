"""docs/security.md lists the right that each of our requests needs."""

import re

import pytest

from tests.sources import REPOSITORY

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
ACTIONS = {
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "complete_multipart_upload": "s3:PutObject",
    "copy_object": "s3:PutObject",
    "create_multipart_upload": "s3:PutObject",
    "create_session": "s3express:CreateSession",
    "delete_object": "s3:DeleteObject",
    "get_object": "s3:GetObject",
    "get_object_tagging": "s3:GetObjectTagging",
    "head_object": "s3:GetObject",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "list_objects_v2": "s3:ListBucket",
    "list_parts": "s3:ListMultipartUploadParts",
    "put_object": "s3:PutObject",
    "rename_object": "s3express:CreateSession",
    "upload_part": "s3:PutObject",
    "upload_part_copy": "s3:PutObject",
}
ASKED = re.compile(r'"((?:abort|complete|copy|create|delete|get|head|list|put|rename|upload)_\w+)"')
LISTED = (REPOSITORY / "docs/security.md").read_text()
SENT = {
    name
    for file in (REPOSITORY / "fusefs/s3").glob("*.py")
    for name in ASKED.findall(file.read_text())
    if name != "upload_failures"  # a count, no request
}


@pytest.mark.parametrize("operation", sorted(SENT))
def test_the_action_of_each_request_is_listed(operation: str) -> None:
    """Whoever writes the policy of a role needs all of them."""
    assert f"`{ACTIONS[operation]}`" in LISTED
