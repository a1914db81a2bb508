"""boto3's client of one bucket: a request by its name in, its answer or our `refusal`s out.

The only module that knows boto3 and botocore; importing it takes 0.3 s of one core and 20 MiB, so
`client` does when a request needs it. boto3's own retries are in here, ours are not. Any thread:
boto3's clients are thread-safe.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    SSLError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.handlers import validate_ascii_metadata
from botocore.loaders import Loader, create_loader
from botocore.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

from fusefs import errors
from fusefs.s3 import place, rawmetadata
from fusefs.s3.attempts import Attempts
from fusefs.s3.credentials import CredentialsDirectory
from fusefs.s3.refusal import NoAnswer, Refusal, Why
from fusefs.s3.responses import attempts_of, text
from fusefs.s3.retry import RetryBudget
from fusefs.s3.settings import USER_AGENT, StoreSettings
from fusefs.s3.signing import Signature


class _DirectoryCredentials(Credentials):
    """boto3's view of a credentials directory: it asks for frozen credentials at each request."""

    def __init__(self, directory: CredentialsDirectory) -> None:
        keys = directory.current()
        super().__init__(keys.access, keys.secret, keys.token, method="s3mount-directory")
        self.directory = directory

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        keys = self.directory.current()
        return ReadOnlyCredentials(keys.access, keys.secret, keys.token)


@cache
def _descriptions(path: str | None) -> Loader:
    """Return botocore's descriptions of S3: 0.1 s of reading and megabytes, once a process."""
    return create_loader(path)


def _config(settings: StoreSettings) -> Config:
    own_endpoint = settings.endpoint_url is not None
    # None leaves it to botocore, which knows the sessions of directory buckets.
    signed = None if settings.directory_bucket else "s3v4"
    return Config(
        signature_version=UNSIGNED if settings.anonymous else signed,
        retries={"mode": "standard", "total_max_attempts": max(1, settings.retries)},
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        max_pool_connections=settings.connections,
        tcp_keepalive=True,
        # Checksums are sent and compared by us, per request.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if own_endpoint and settings.path_style else "auto"},
        user_agent_extra=USER_AGENT,
    )


class Sdk:
    """boto3's client of one bucket; `directory` has the keys, else boto3's chain finds them."""

    def __init__(self, settings: StoreSettings, directory: CredentialsDirectory | None) -> None:
        self._attempts = Attempts()
        session = botocore.session.Session(profile=settings.profile)
        self.authorities: str | None = session.get_config_variable(
            "ca_bundle"
        ) or place.authorities(os.environ)
        try:
            self._client: Any = _client(session, settings, directory)
        except (BotoCoreError, ValueError) as error:
            raise errors.SetupError(f"bucket {settings.bucket}: {error}") from error
        rawmetadata.let_through(self._client.meta.events, validate_ascii_metadata)
        self._attempts.bind(self._client, settings)

    @property
    def endpoint(self) -> str:
        """The URL that requests go to."""
        return str(self._client.meta.endpoint_url)

    @property
    def proxied(self) -> bool:
        """Whether the environment has requests go through a proxy."""
        return bool(get_environ_proxies(self.endpoint))

    def call(self, operation: str, arguments: Mapping[str, Any], budget: RetryBudget) -> Any:
        """Return boto3's answer to one request; raises Refusal and NoAnswer."""
        with _translated(operation), self._attempts.within(budget, operation):
            return getattr(self._client, operation)(**arguments)

    def watch(self, sends: Callable[[str, Mapping[str, str]], None]) -> None:
        """Have `sends` told the URL and the headers of each request before it goes."""

        def told(request: Any, **_: Any) -> None:
            headers = {name: text(value) for name, value in request.headers.items()}
            sends(request.url, headers)

        self._client.meta.events.register("before-send.s3", told)

    def keys(self) -> Signature | None:
        """Return what to sign with; None without credentials."""
        credentials = self._client._request_signer._credentials  # noqa: SLF001 - no public way
        if credentials is None:
            return None
        frozen = credentials.get_frozen_credentials()
        return Signature(frozen.access_key, frozen.secret_key, frozen.token)

    def renewed(self) -> bool:
        """Have credentials that can be renewed be so; say whether they are others now."""
        credentials = self._client._request_signer._credentials  # noqa: SLF001 - no public way
        if credentials is None or not hasattr(credentials, "_protected_refresh"):
            return False
        before = credentials.get_frozen_credentials()
        credentials._protected_refresh(is_mandatory=False)  # noqa: SLF001 - no public way
        return bool(credentials.get_frozen_credentials() != before)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _client(session: Any, settings: StoreSettings, directory: CredentialsDirectory | None) -> Any:
    described = _descriptions(session.get_config_variable("data_path"))
    session.register_component("data_loader", described)
    if directory is not None:
        session._credentials = _DirectoryCredentials(directory)  # noqa: SLF001 - botocore has no setter that takes an object
    return boto3.Session(botocore_session=session).client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=settings.region
        or session.get_config_variable("region")
        or place.DEFAULT_REGION,
        config=_config(settings),
    )


@contextmanager
def _translated(operation: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        said = error.response.get("Error", {})
        meta = error.response.get("ResponseMetadata", {})
        raise Refusal(
            operation,
            int(meta.get("HTTPStatusCode", 0)),
            str(said.get("Code", "")),
            str(said.get("Message", "")),
            meta.get("HTTPHeaders", {}),
            attempts_of(error.response),
        ) from error
    except (BotoCoreError, HTTPError, OSError) as error:
        raise NoAnswer(_why(error), str(error)) from error


def _why(error: Exception) -> Why:
    if isinstance(error, NoCredentialsError):
        return Why.NO_CREDENTIALS
    if isinstance(error, SSLError):
        return Why.UNTRUSTED
    if isinstance(error, (BotoConnectionError, HTTPClientError, HTTPError, OSError)):
        return Why.AWAY
    return Why.NOT_SENT
