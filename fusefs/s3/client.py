"""boto3 in, answers and our errors out: one request, tried again while that can help.

What is waited for: a store that can't be reached or answers 5xx (an outage), credentials that ran
out until new ones are there, a connection that broke before an answer came. What a request means
is `store`'s; here it is a name of boto3 and its arguments. Any thread; boto3 clients are
thread-safe, and the few numbers kept here are each written in one step.
"""

import time
from collections.abc import Callable, Mapping
from functools import cache
from http.client import HTTPException
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
from botocore.httpsession import get_cert_path
from botocore.loaders import Loader, create_loader
from botocore.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

from fusefs import errors, locks
from fusefs.changes import CHANGING, Changes
from fusefs.counters import Count, Counters
from fusefs.s3 import rawmetadata
from fusefs.s3.answers import attempts_of, text
from fusefs.s3.attempts import LONG, Attempts
from fusefs.s3.credentials import CredentialsDirectory
from fusefs.s3.errorcodes import (
    CONTENDED,
    EXPIRED,
    PASSING,
    REFUSED,
    TOO_MANY,
    VAGUE,
    error_for,
)
from fusefs.s3.fastpath import FastPath, RefusedByStore, Unclear, Wire
from fusefs.s3.partbody import in_pieces, rewind
from fusefs.s3.presence import StorePresence
from fusefs.s3.retry import BrokenBody, RetryBudget
from fusefs.s3.settings import StoreSettings
from fusefs.s3.signing import Signature

# Answers to a condition or a range, not failures: 304 Not Modified, 416 Range Not Satisfiable.
EXPECTED = frozenset({304, 416})
# How long a store may refuse expired credentials before we give up: kubelets and token webhooks
# renew files within about a minute.
RENEWAL_SECONDS = 90.0
# Seconds that a request gets at least of its budget while the store is away.
PROBE = 10.0
READ_MOST = 1 << 20  # bytes of a body asked for at once


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
        user_agent_extra="s3mount",
    )


class Client:
    """boto3's client of one bucket."""

    def __init__(self, settings: StoreSettings, counters: Counters) -> None:
        self.changes = Changes()
        self._settings = settings
        self._counters = counters
        self._where = f"s3://{settings.bucket}"
        self._credentials: _DirectoryCredentials | None = None
        self._attempts = Attempts()
        self._client = self._connect(settings)
        self._attempts.bind(self._client, settings)
        self._direct = self._direct_way(settings)
        self._common: dict[str, Any] = {"Bucket": settings.bucket}
        if settings.requester_pays:
            self._common["RequestPayer"] = "requester"
        self.presence = StorePresence()
        self._renewed_at = 0.0  # when credentials changed last

    @property
    def endpoint(self) -> str:
        """The URL that requests go to: the settings', the environment's, or AWS's own."""
        return str(self._client.meta.endpoint_url)

    def _connect(self, settings: StoreSettings) -> Any:
        session = botocore.session.Session(profile=settings.profile)
        self._authorities = session.get_config_variable("ca_bundle") or get_cert_path(verify=True)
        try:
            described = _descriptions(session.get_config_variable("data_path"))
            session.register_component("data_loader", described)
            if settings.credentials_dir is not None:
                self._credentials = _DirectoryCredentials(
                    CredentialsDirectory(settings.credentials_dir)
                )
                session._credentials = self._credentials  # type: ignore[attr-defined]  # noqa: SLF001 - botocore has no setter that takes an object
            client: Any = boto3.Session(botocore_session=session).client(
                "s3",
                endpoint_url=settings.endpoint_url,
                region_name=settings.region or session.get_config_variable("region") or "us-east-1",
                config=_config(settings),
            )
        except (BotoCoreError, ValueError) as error:
            raise errors.SetupError(f"bucket {settings.bucket}: {error}") from error
        rawmetadata.let_through(client.meta.events, validate_ascii_metadata)
        return client

    def _direct_way(self, settings: StoreSettings) -> FastPath | None:
        """Return the way around boto3; None where a proxy or the settings ask for boto3."""
        url = self._client.meta.endpoint_url
        if not settings.direct or settings.anonymous or get_environ_proxies(url):
            return None
        direct = FastPath(
            settings.bucket,
            Wire(
                settings.connect_timeout,
                settings.read_timeout,
                settings.connections,
                self._authorities,
            ),
            self._keys,
        )

        def sends(request: Any, **_: Any) -> None:
            told = {name: text(value) for name, value in request.headers.items()}
            direct.learn(request.url, told)

        self._client.meta.events.register("before-send.s3", sends)
        return direct

    def _keys(self) -> Signature | None:
        credentials = self._client._request_signer._credentials  # noqa: SLF001 - no public way
        if credentials is None:
            return None
        frozen = credentials.get_frozen_credentials()
        return Signature(frozen.access_key, frozen.secret_key, frozen.token)

    # -- one request -----------------------------------------------------------------------------

    def patience(self, most: float = float("inf")) -> RetryBudget:
        """Return the budget of a request that begins now; it is less during an outage."""
        limit = min(most, self._settings.retry_for)
        silence = min(most, self._settings.read_timeout)
        spent = min(self.presence.unreachable_for(), max(limit, silence) - PROBE)
        return RetryBudget(limit, time.monotonic() - max(0.0, spent), silence)

    def call(
        self,
        operation: str,
        key: str | None = None,
        patience: RetryBudget | None = None,
        /,
        **arguments: Any,
    ) -> Any:
        """Run a boto3 operation on the bucket; raise our error for any of theirs.

        `patience`: the budget, where this request is one of several that share it.
        """
        locks.waits_for_store()
        patience = patience or self.patience()
        if key is None or operation not in CHANGING:
            return self._call(operation, key, patience, arguments)
        with self.changes.under_way(key):
            return self._call(operation, key, patience, arguments)

    def _call(
        self, operation: str, key: str | None, patience: RetryBudget, arguments: dict[str, Any]
    ) -> Any:
        if key is not None:
            arguments["Key"] = key
        arguments |= self._common
        lost = False
        while True:
            sent = time.monotonic()
            try:
                answer = None if lost else self._directly(operation, arguments, patience)
                if answer is None:
                    arguments = in_pieces(arguments)
                    with self._attempts.within(patience, operation):
                        answer = getattr(self._client, operation)(**arguments)
            except ClientError as refusal:
                error = self._explained(operation, arguments, refusal)
                told = self._told(operation, key, error)
                told.retried = lost or attempts_of(error.response) > 0
                if not self._asks_again(error, told, sent, patience):
                    raise told from error
            except Unclear:
                patience.ended()
                lost = True  # boto3 finds out what is wrong
                self._counters.add(Count.RETRIED)
            except (BotoCoreError, HTTPError, OSError) as error:
                told = self._unanswered(operation, key, error)
                if not self._rides_out(error, patience):
                    raise told from error
                lost = True
            else:
                self._note(operation, answer)
                return answer
            rewind(arguments.get("Body"))

    def _explained(
        self, operation: str, arguments: Mapping[str, Any], error: ClientError
    ) -> ClientError:
        """Ask by a GET what a HEAD was refused for: its 400 has no body, so no code."""
        if operation != "head_object" or _status(error) != 400:
            return error
        try:
            answer = self._client.get_object(**arguments, Range="bytes=0-0")
            answer["Body"].close()
        except ClientError as told:
            return told if _status(told) in (400, 403) else error
        except (BotoCoreError, HTTPError, OSError):
            return error
        return error

    def _directly(self, operation: str, arguments: Mapping[str, Any], patience: RetryBudget) -> Any:
        """Try it without boto3; None where that isn't possible. Raises Unclear."""
        if self._direct is None:
            return None
        try:
            silence = patience.begin(operation not in LONG)
            return self._direct.send(operation, arguments, silence)
        except RefusedByStore as refused:
            meta = {"HTTPStatusCode": refused.status, "HTTPHeaders": dict(refused.headers)}
            answer: Any = {"Error": {"Code": refused.code}, "ResponseMetadata": meta}
            raise ClientError(answer, operation) from None

    def _unanswered(self, operation: str, key: str | None, error: Exception) -> errors.FsError:
        told: errors.FsError
        if isinstance(error, NoCredentialsError):
            told = errors.AccessDenied(
                f"{self._where}: no AWS credentials found; give a Secret, a role or "
                "the usual AWS environment variables"
            )
        else:
            told = errors.Unavailable(f"{operation} {self._where}/{key or ''}: {error}")
        self._counters.request(operation, type(told).__name__)
        return told

    def _rides_out(self, error: Exception, patience: RetryBudget) -> bool:
        """Wait for a store that can't be reached; False when it has been away for too long."""
        if not isinstance(error, (BotoConnectionError, HTTPClientError, HTTPError, OSError)):
            return False  # what boto3 refuses to send is no outage
        away_since = self.presence.missed()
        if isinstance(error, SSLError):
            return False  # a wrong certificate doesn't pass
        patience.since = min(patience.since, away_since)
        return patience.wait()

    def _told(self, operation: str, key: str | None, error: ClientError) -> errors.FsError:
        said = error.response.get("Error", {})
        meta = error.response.get("ResponseMetadata", {})
        self.presence.answered(meta.get("HTTPHeaders", {}))
        told = error_for(
            str(said.get("Code", "")),
            int(meta.get("HTTPStatusCode", 0)),
            f"{operation} {self._where}/{key or ''}",
            str(said.get("Message", "")),
        )
        if operation == "complete_multipart_upload" and _code(error) in CONTENDED:
            told = errors.Contended(str(told))
        outcome = "ok" if _status(error) in EXPECTED else type(told).__name__
        self._counters.request(operation, outcome, attempts_of(error.response))
        return told

    def _asks_again(
        self, error: ClientError, told: errors.FsError, sent: float, patience: RetryBudget
    ) -> bool:
        """Wait where asking again may help: an overload, credentials that ran out or changed."""
        code = _code(error)
        if code in EXPIRED or code in REFUSED:
            self._refresh_credentials()
            # Another request may have brought new ones in while this was under way with the old.
            limit = RENEWAL_SECONDS if code in EXPIRED or self._renewed_at > sent else 0
            return patience.wait(limit)
        passing = _status(error) >= 500 or _status(error) == TOO_MANY
        passing = passing or code in PASSING | CONTENDED
        return passing and isinstance(told, errors.Unavailable) and patience.wait()

    def _refresh_credentials(self) -> None:
        credentials = self._client._request_signer._credentials  # noqa: SLF001 - no public way
        if self._credentials is not None:
            self._credentials.directory.current(fresh=True)
            self._renewed_at = max(self._renewed_at, self._credentials.directory.changed_at)
        elif credentials is not None and hasattr(credentials, "_protected_refresh"):
            before = credentials.get_frozen_credentials()
            credentials._protected_refresh(is_mandatory=False)  # noqa: SLF001 - no public way
            if credentials.get_frozen_credentials() != before:
                self._renewed_at = time.monotonic()

    def _note(self, operation: str, answer: Mapping[str, Any]) -> None:
        meta = answer["ResponseMetadata"]
        self._counters.request(operation, "ok", attempts_of(answer))
        self.presence.answered(meta["HTTPHeaders"])

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        if self._direct is not None:
            self._direct.close()


def drain(
    answer: Mapping[str, Any], view: memoryview, what: str, arrived: Callable[[int], None]
) -> None:
    """Read a body into `view` in as few copies as Python allows; the connection goes back.

    `arrived` is told the bytes so far. Raises Broken when fewer come than `view` has.
    """
    # StreamingBody copies each byte twice more; the http.client response below urllib3's fills
    # a buffer of ours directly and still decodes chunks and checks the length.
    raw = answer["Body"]._raw_stream  # noqa: SLF001 - the public way costs two copies
    source = getattr(raw, "_fp", raw)
    have = 0
    try:
        while have < len(view):
            count = source.readinto(view[have : have + READ_MOST])
            if not count:
                break
            have += count
            arrived(have)
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        raw.close()
        raise BrokenBody(f"{what}: the connection broke: {error}", have) from error
    if have < len(view):
        raw.close()
        raise BrokenBody(f"{what}: the body ended after {have} of {len(view)} bytes", have)
    if int(answer["ContentLength"]) > len(view):
        raw.close()  # more than was wanted is on its way
    raw.release_conn()


def status_of(error: errors.FsError) -> int:
    """Return the HTTP status behind one of our errors, 0 where none came."""
    return _status(error.__cause__)


def refuses_header(error: errors.FsError, certain: bool = False) -> bool:
    """Say whether an error may be a store's refusal of a header, or (`certain`) says so itself."""
    cause = error.__cause__
    if not isinstance(cause, ClientError):
        return False
    vague = _status(cause) == 400 and _code(cause) in VAGUE
    return _status(cause) == 501 or (vague and not certain)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: BaseException | None) -> int:
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
