"""boto3's client of one bucket: send a request by its name, return its answer or raise `refusal`s.

The only module that imports boto3 and botocore. That takes 0.3 s of one core and 20 MiB, so
`client` imports it when a request needs it. boto3's own retries happen in here, ours in `client`.
Any thread: boto3's clients are thread-safe.
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
from fusefs.s3.credentials import CredentialsDirectory, Keys
from fusefs.s3.refusal import NoAnswer, Refusal, Why
from fusefs.s3.responses import attempts_of, text
from fusefs.s3.retry import RetryBudget
from fusefs.s3.settings import USER_AGENT, StoreSettings


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
    """Return the loader of botocore's description of S3, shared: it takes 0.1 s and megabytes."""
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
        # s3mount sends and compares checksums itself, per request.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if own_endpoint and settings.path_style else "auto"},
        user_agent_extra=USER_AGENT,
    )


class Sdk:
    """boto3's client of one bucket; keys come from `directory`, or from boto3's chain if None.

    Raises SetupError where boto3 refuses the settings.
    """

    def __init__(self, settings: StoreSettings, directory: CredentialsDirectory | None) -> None:
        self._attempts = Attempts()
        session = botocore.session.Session(profile=settings.profile)
        try:
            bundle = session.get_config_variable("ca_bundle")
            self._client: Any = _client(session, settings, directory)
        except (BotoCoreError, ValueError) as error:
            raise errors.SetupError(f"bucket {settings.bucket}: {error}") from error
        self.authorities: str | None = bundle or place.authorities(os.environ)
        rawmetadata.let_through(self._client.meta.events, validate_ascii_metadata)
        self._attempts.bind(self._client, settings)

    @property
    def endpoint(self) -> str:
        """The URL that requests go to."""
        return str(self._client.meta.endpoint_url)

    @property
    def proxied(self) -> bool:
        """Whether the environment sends requests through a proxy."""
        return bool(get_environ_proxies(self.endpoint))

    def call(self, operation: str, arguments: Mapping[str, Any], budget: RetryBudget) -> Any:
        """Return boto3's answer to one request; raises Refusal and NoAnswer."""
        with _translated(operation), self._attempts.within(budget, operation):
            return getattr(self._client, operation)(**arguments)

    def watch(self, sends: Callable[[str, Mapping[str, str]], None]) -> None:
        """Call `sends` with the URL and the headers of each request before it is sent."""

        def before_send(request: Any, **_: Any) -> None:
            headers = {name: text(value) for name, value in request.headers.items()}
            sends(request.url, headers)

        self._client.meta.events.register("before-send.s3", before_send)

    def keys(self) -> Keys | None:
        """Return the current signing keys; None without credentials."""
        credentials = self._client._request_signer._credentials  # noqa: SLF001 - no public way
        if credentials is None:
            return None
        frozen = credentials.get_frozen_credentials()
        return Keys(frozen.access_key, frozen.secret_key, frozen.token)

    def renewed(self) -> bool:
        """Renew the credentials if they can be renewed; return whether they changed."""
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
