"""What is asked of an object that is to be made: its own headers and the mount's settings. Pure."""

from collections.abc import Mapping
from typing import Any

from fusefs.objects import Headers
from fusefs.s3.settings import StoreSettings

ENCRYPTION = ("ServerSideEncryption", "SSEKMSKeyId")


def new_object(settings: StoreSettings, headers: Headers) -> dict[str, Any]:
    """Return boto3's arguments: the object's headers, and what the mount's settings ask for."""
    arguments: dict[str, Any] = {"Metadata": dict(headers.metadata)}
    wanted = {
        "StorageClass": settings.storage_class,
        "ServerSideEncryption": settings.sse,
        "SSEKMSKeyId": settings.sse_kms_key,
        "ACL": settings.acl,
    }
    if "ServerSideEncryption" in headers.system:
        del wanted["SSEKMSKeyId"]  # a key of ours doesn't go with an algorithm of its own
    arguments |= {name: value for name, value in wanted.items() if value}
    return arguments | placing(settings, headers.system)


def placing(settings: StoreSettings, system: Mapping[str, str]) -> dict[str, str]:
    """Leave out how an object is encrypted where its session says it (directory buckets)."""
    left_out = ENCRYPTION if settings.directory_bucket else ()
    return {name: value for name, value in system.items() if name not in left_out}
