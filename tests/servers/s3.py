"""What tests see of a store: its endpoint and buckets, through boto3 and not through our code.

The only module of the tests that knows boto3. Thread-safe, as boto3's clients are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

REGION = "us-east-1"
# What a caller of this module has to be ready for while a server starts or is gone.
StoreError = (BotoCoreError, ClientError)


@dataclass(frozen=True)
class Credentials:
    """A key pair a server accepts."""

    access_key: str
    secret_key: str
    session_token: str | None = None

    def environment(self) -> dict[str, str]:
        """Return the variables in which the SDKs look for them."""
        env = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return env | ({"AWS_SESSION_TOKEN": self.session_token} if self.session_token else {})


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens and who may use it."""

    url: str
    credentials: Credentials

    def client(self) -> Any:
        """Return a new boto3 client: path style, few retries, so that tests see errors soon."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self.credentials.access_key,
            aws_secret_access_key=self.credentials.secret_key,
            aws_session_token=self.credentials.session_token,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 2, "mode": "standard"},
                connect_timeout=5,
                read_timeout=60,
                max_pool_connections=32,
            ),
        )

    def create_bucket(self, name: str) -> Bucket:
        """Create a bucket and return it."""
        client = self.client()
        client.create_bucket(Bucket=name)
        return Bucket(name, self, client)


@dataclass(frozen=True)
class Bucket:
    """A bucket, or the part of it under `prefix`; keys are relative to that."""

    name: str
    endpoint: Endpoint
    client: Any  # what boto3 makes at run time has no class to name
    prefix: str = ""

    def under(self, prefix: str) -> Bucket:
        """Return the view of the keys that start with `prefix`."""
        return replace(self, prefix=self.prefix + prefix)

    def put(
        self,
        key: str,
        body: bytes = b"",
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> str:
        """Store an object and return its ETag."""
        kind = {} if content_type is None else {"ContentType": content_type}
        answer = self.client.put_object(
            Bucket=self.name,
            Key=self.prefix + key,
            Body=body,
            Metadata=dict(metadata or {}),
            **kind,
        )
        return str(answer["ETag"])

    def get(self, key: str) -> bytes:
        """Return the content of an object; KeyError if there is none."""
        try:
            answer = self.client.get_object(Bucket=self.name, Key=self.prefix + key)
            return bytes(answer["Body"].read())
        except self.client.exceptions.NoSuchKey as error:
            raise KeyError(key) from error

    def digest(self, key: str) -> str:
        """Return the SHA-256 of an object of any size."""
        seen = hashlib.sha256()
        for block in self.client.get_object(Bucket=self.name, Key=self.prefix + key)["Body"]:
            seen.update(block)
        return seen.hexdigest()

    def head(self, key: str) -> dict[str, Any]:
        """Return the headers of an object; KeyError if there is none."""
        try:
            return dict(self.client.head_object(Bucket=self.name, Key=self.prefix + key))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise KeyError(key) from error
            raise

    def metadata(self, key: str) -> dict[str, str]:
        """Return the user metadata of an object."""
        return dict(self.head(key)["Metadata"])

    def etag(self, key: str) -> str:
        """Return the quoted ETag of an object."""
        return str(self.head(key)["ETag"])

    def __contains__(self, key: str) -> bool:
        """Say whether the key exists, asking for exactly that key."""
        try:
            self.head(key)
        except KeyError:
            return False
        return True

    def delete(self, key: str) -> None:
        """Delete an object; deleting nothing is no error."""
        self.client.delete_object(Bucket=self.name, Key=self.prefix + key)

    def keys(self, prefix: str = "") -> list[str]:
        """Return all keys in the store's order."""
        return [key[len(self.prefix) :] for key in self._keys(self.prefix + prefix)]

    def _keys(self, prefix: str) -> Iterator[str]:
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.name, Prefix=prefix):
            yield from (item["Key"] for item in page.get("Contents", ()))

    def uploads(self) -> list[str]:
        """Return the keys of multipart uploads begun and neither completed nor aborted."""
        answer = self.client.list_multipart_uploads(Bucket=self.name)
        keys = [str(upload["Key"]) for upload in answer.get("Uploads", ())]
        return [key[len(self.prefix) :] for key in keys if key.startswith(self.prefix)]

    def put_many(self, keys: Iterable[str], body: bytes = b"") -> None:
        """Store the same content under many keys."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: self.put(key, body), keys))

    def destroy(self) -> None:
        """Delete the bucket with all that is in it."""
        try:
            self.client.delete_bucket(Bucket=self.name)  # SeaweedFS does that in one go
        except ClientError as error:
            if error.response["Error"]["Code"] != "BucketNotEmpty":
                raise
            self._empty()
            self.client.delete_bucket(Bucket=self.name)

    def _empty(self) -> None:
        # One by one where XML can't carry a name: control characters are legal in keys.
        odd = [key for key in self._keys("") if not key.isprintable()]
        for key in odd:
            self.client.delete_object(Bucket=self.name, Key=key)
        keys = [{"Key": key} for key in self._keys("")]
        for start in range(0, len(keys), 1000):
            batch = {"Objects": keys[start : start + 1000], "Quiet": True}
            self.client.delete_objects(Bucket=self.name, Delete=batch)
