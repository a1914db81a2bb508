"""What is asked of an object that is to be made: its own headers and the mount's settings. Pure."""

from collections.abc import Mapping
from typing import Any

from fusefs.objects import Headers
from fusefs.s3.settings import StoreSettings

ENCRYPTION = ("ServerSideEncryption", "SSEKMSKeyId")


class NewObjects:
    """boto3's arguments for the new objects of one mount."""

    def __init__(self, settings: StoreSettings) -> None:
        asked = {
            "StorageClass": settings.storage_class,
            "ServerSideEncryption": settings.sse,
            "SSEKMSKeyId": settings.sse_kms_key,
            "ACL": settings.acl,
        }
        self._asked = {name: value for name, value in asked.items() if value}
        # A key of ours doesn't go with an algorithm of an object's own.
        self._without_key = {n: value for n, value in self._asked.items() if n != "SSEKMSKeyId"}
        # How an object is encrypted, the sessions of directory buckets say.
        self._left_out = ENCRYPTION if settings.directory_bucket else ()

    def arguments(self, headers: Headers) -> dict[str, Any]:
        """Return the object's headers, and what the mount's settings ask for."""
        system = headers.system
        asked = self._without_key if "ServerSideEncryption" in system else self._asked
        own = self.placing(system) if self._left_out else system
        return {"Metadata": dict(headers.metadata), **asked, **own}

    def placing(self, system: Mapping[str, str]) -> dict[str, str]:
        """Leave out how an object is encrypted where its session says it."""
        return {name: value for name, value in system.items() if name not in self._left_out}
