"""Send one S3 request: return its answer or raise our error; retry while that can help.

Three faults are waited for: a store that is unreachable or answers 5xx or 429 (an outage), expired
credentials until new ones appear, and a connection that breaks before the answer. The meaning of a
request is `store`'s concern; here it is a boto3 operation name and its arguments. A plain request
is sent by `fastpath`, any other by boto3 (`sdk`), imported by the first request that needs it.

Any thread. `_making` guards the creation of boto3's client, `_noticing` the access key signed with
last; each of the few other numbers kept here is written in one step.
"""

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from fusefs import errors, locks
from fusefs.changes import CHANGING, Changes
from fusefs.counters import Count, Counters
from fusefs.locks import Rank
from fusefs.s3 import place
from fusefs.s3.credentials import CredentialsDirectory, Keys
from fusefs.s3.errorcodes import (
    CONTENDED,
    EXPIRED,
    LAPSED,
    PASSING,
    REFUSED,
    TOO_MANY,
    VAGUE,
    error_for,
)
from fusefs.s3.fastpath import Begun, FastPath, Unclear, Wire
from fusefs.s3.partbody import in_pieces, rewind
from fusefs.s3.presence import StorePresence
from fusefs.s3.refusal import NoAnswer, Refusal, Why
from fusefs.s3.retry import LONG, BrokenBody, RetryBudget
from fusefs.s3.settings import StoreSettings
from fusefs.waiting import waits

if TYPE_CHECKING:
    from fusefs.s3.sdk import Sdk

# Answers to a condition or a range, not failures: 304 Not Modified, 416 Range Not Satisfiable.
EXPECTED = frozenset({304, 416})
# How long a store may refuse expired credentials before we give up: kubelets and token webhooks
# renew files within about a minute.
RENEWAL_SECONDS = 90.0
# Smallest budget of a request during an outage, in seconds.
PROBE = 10.0
STREAMED = "get_object"  # `store` reads its body and calls `has_all` at the end
BEGAN = "s3mount-began"  # added to a streamed answer: operation, its start (monotonic seconds)
LOST = "s3mount-lost"  # added to an answer: an earlier attempt got none, and may come late
READ_MOST = 1 << 20  # bytes of a body per read


class Client:
    """Sends the requests for one bucket, by the fast path or by boto3."""

    def __init__(self, settings: StoreSettings, counters: Counters) -> None:
        self.changes = Changes()
        self._settings = settings
        self._counters = counters
        self.where = f"s3://{settings.bucket}"
        self._common: dict[str, Any] = {"Bucket": settings.bucket}
        if settings.requester_pays:
            self._common["RequestPayer"] = "requester"
        self.presence = StorePresence()
        self._renewed_at = 0.0  # when the credentials last changed (monotonic seconds)
        self._directory: CredentialsDirectory | None = None
        if settings.credentials_dir is not None:
            self._directory = CredentialsDirectory(settings.credentials_dir)
        self._making = locks.lock(Rank.SDK)
        self._noticing = locks.lock(Rank.LEAF)
        self._signed_with = ""  # the access key
        self._sdk: Sdk | None = None
        self._direct: FastPath | None = None
        self.endpoint = self._find_ways()

    def _find_ways(self) -> str:
        """Set up the fast path, if need be with what boto3 finds out; return the endpoint's URL."""
        keys = place.static_keys(self._directory, os.environ)
        found = place.place_of(self._settings, os.environ) if keys is not None else None
        if keys is not None and found is not None:
            self._direct = self._way(place.authorities(os.environ), keys)
            self._direct.go(found.url, found.region)
            return found.endpoint
        sdk = self._loaded()
        if self._settings.direct and not self._settings.anonymous and not sdk.proxied:
            self._direct = self._way(sdk.authorities, sdk.keys)
            sdk.watch(self._direct.learn)
        return sdk.endpoint

    def _way(self, authorities: str | None, keys: Callable[[], Keys | None]) -> FastPath:
        settings = self._settings
        wire = Wire(
            settings.connect_timeout, settings.read_timeout, settings.connections, authorities
        )
        return FastPath(settings.bucket, wire, partial(self._noticed, keys))

    def _noticed(self, keys: Callable[[], Keys | None]) -> Keys | None:
        """Return the signing keys; count a change of the access key."""
        found = keys()
        if found is not None and found.access != self._signed_with:
            with self._noticing:
                before, self._signed_with = self._signed_with, found.access
            if before and before != found.access:
                self._counters.add(Count.CREDENTIALS)
        return found

    def _loaded(self) -> "Sdk":
        """Return boto3's client, made when it is first needed."""
        sdk = self._sdk
        if sdk is not None:
            return sdk
        with self._making:
            if self._sdk is None:
                from fusefs.s3.sdk import Sdk

                sdk = Sdk(self._settings, self._directory)
                if self._direct is not None:
                    sdk.watch(self._direct.learn)
                self._sdk = sdk
            return self._sdk

    # -- one request -----------------------------------------------------------------------------

    def budget(self, most: float = float("inf")) -> RetryBudget:
        """Return the retry budget of a request that begins now, of at most `most` seconds.

        The time that an outage has lasted is subtracted; `PROBE` seconds are left at least.
        """
        limit = min(most, self._settings.retry_for)
        silence = min(most, self._settings.read_timeout)
        now, spent = time.monotonic(), 0.0
        away_since = self.presence.away_since
        if away_since is not None:
            spent = max(0.0, min(now - away_since, max(limit, silence) - PROBE))
        return RetryBudget(limit, now - spent, silence)

    def call(
        self,
        operation: str,
        key: str | None = None,
        budget: RetryBudget | None = None,
        /,
        **arguments: Any,
    ) -> Any:
        """Run a boto3 operation on the bucket and return its answer in boto3's shape.

        `budget`: the retry budget, where several requests share one. Raises an FsError for each
        error of boto3's or the store's, when it isn't retried or the budget is used up.
        """
        locks.waits_for_store()
        waits()
        budget = budget or self.budget()
        began = time.monotonic()
        arguments |= self._common
        if key is not None:
            arguments["Key"] = key
        if key is None or operation not in CHANGING:
            answer = self._call(operation, key, budget, arguments)
        else:
            self.changes.begin(key)
            try:
                answer = self._call(operation, key, budget, arguments)
            finally:
                self.changes.end(key)
        if operation == STREAMED:
            answer[BEGAN] = (operation, began)
        else:
            self._counters.answers.note(operation, time.monotonic() - began)
        return answer

    def begin(self, operation: str, key: str) -> Begun | None:
        """Send a request without waiting for its answer; None where that can't be done."""
        direct = self._direct
        return None if direct is None else direct.begin(operation, {"Key": key, **self._common})

    def has_all(self, answer: Mapping[str, Any]) -> None:
        """Note that a streamed answer has been received whole, with its body."""
        operation, began = answer[BEGAN]
        self._counters.answers.note(operation, time.monotonic() - began)

    def _call(
        self, operation: str, key: str | None, budget: RetryBudget, arguments: dict[str, Any]
    ) -> Any:
        direct, at_once = self._direct, operation not in LONG
        lost = cleared = False
        while True:
            sent = time.monotonic()
            try:
                answer = None
                if direct is not None:
                    answer = direct.send(operation, arguments, budget.begin(at_once))
                if answer is None:
                    arguments = in_pieces(arguments)
                    answer = self._loaded().call(operation, arguments, budget)
            except Refusal as refusal:
                reason = self._reason(operation, arguments, refusal, budget)
                try:
                    if reason or cleared:
                        self._await_change(
                            operation, key, reason or refusal, budget, sent, lost=lost
                        )
                    cleared = reason is None
                finally:
                    del reason  # this frame is in its traceback: only a collection would end both
            except Unclear:
                budget.ended()
                direct, lost = None, True  # boto3 repeats the request and classifies the error
                self._counters.add(Count.RETRIED)
            except NoAnswer as nothing:
                failure = self._unanswered(operation, key, nothing)
                if not self._rides_out(nothing.why, budget):
                    raise failure from nothing
                direct, lost = None, True
            else:
                self._counters.first_bytes.note(operation, time.monotonic() - sent)
                self._note(operation, answer, lost=lost)
                return answer
            rewind(arguments.get("Body"))

    def _await_change(
        self,
        operation: str,
        key: str | None,
        error: Refusal,
        budget: RetryBudget,
        sent: float,
        *,
        lost: bool,
    ) -> None:
        """Return when a retry may help; else raise our error for the store's."""
        failure = self._error_of(operation, key, error)
        failure.retried = lost or error.attempts > 0
        try:
            if not self._asks_again(error, failure, sent, budget):
                raise failure from error
        finally:
            del failure  # likewise

    def _reason(
        self, operation: str, arguments: Mapping[str, Any], error: Refusal, budget: RetryBudget
    ) -> Refusal | None:
        """Return why a request was refused; for a HEAD's 400, which has no error code, ask by GET.

        None where the GET isn't refused: the credentials were renewed between the two.
        """
        if operation != "head_object" or error.status != 400:
            return error
        try:
            ranged = {**arguments, "Range": "bytes=0-0"}
            self._loaded().call("get_object", ranged, budget)["Body"].close()
        except Refusal as found:
            return found if found.status in (400, 403) else None
        except NoAnswer:
            return error
        return None

    def _unanswered(self, operation: str, key: str | None, error: NoAnswer) -> errors.FsError:
        failure: errors.FsError
        if error.why is Why.NO_CREDENTIALS:
            self._counters.add(Count.LAPSED)
            failure = errors.AccessDenied(
                f"{self.where}: no AWS credentials found; give a Secret, a role or "
                "the usual AWS environment variables"
            )
        else:
            failure = errors.Unavailable(f"{operation} {self.where}/{key or ''}: {error}")
        self._counters.request(operation, type(failure).__name__)
        return failure

    def _rides_out(self, why: Why, budget: RetryBudget) -> bool:
        """Wait before a retry during an outage; False when the budget is used up."""
        if why not in (Why.AWAY, Why.UNTRUSTED):
            return False  # a request that boto3 refuses to send is no outage
        away_since = self.presence.missed()
        if why is Why.UNTRUSTED:
            return False  # waiting doesn't mend a wrong certificate
        budget.since = min(budget.since, away_since)
        return budget.wait()

    def _error_of(self, operation: str, key: str | None, error: Refusal) -> errors.FsError:
        self.presence.answered(error.headers)
        what = f"{operation} {self.where}/{key or ''}"
        failure = error_for(error.code, error.status, what, error.message)
        if operation == "complete_multipart_upload" and error.code in CONTENDED:
            failure = errors.Contended(str(failure))
        outcome = "ok" if error.status in EXPECTED else type(failure).__name__
        self._counters.request(operation, outcome, error.attempts)
        return failure

    def _asks_again(
        self, error: Refusal, failure: errors.FsError, sent: float, budget: RetryBudget
    ) -> bool:
        """Wait where a retry may help: after an overload, or for renewed credentials."""
        if error.code in EXPIRED or error.code in REFUSED:
            self._refresh_credentials()
            # Another request may have renewed them while this one was in flight with the old.
            renewed = error.code in EXPIRED or self._renewed_at > sent
            if budget.wait(RENEWAL_SECONDS if renewed else 0):
                return True
            if error.code in LAPSED:
                self._counters.add(Count.LAPSED)
            return False
        passing = error.status >= 500 or error.status == TOO_MANY
        passing = passing or error.code in PASSING | CONTENDED
        return passing and isinstance(failure, errors.Unavailable) and budget.wait()

    def _refresh_credentials(self) -> None:
        if self._directory is not None:
            self._directory.current(fresh=True)
            self._renewed_at = max(self._renewed_at, self._directory.changed_at)
        elif self._loaded().renewed():
            self._renewed_at = time.monotonic()
            if self._direct is None:
                self._counters.add(Count.CREDENTIALS)

    def _note(self, operation: str, answer: dict[str, Any], *, lost: bool) -> None:
        meta = answer["ResponseMetadata"]
        sent_again = meta.get("RetryAttempts", 0)
        self._counters.request(operation, "ok", sent_again)
        self.presence.answered(meta["HTTPHeaders"])
        if lost or sent_again:
            answer[LOST] = True

    def close(self) -> None:
        """Close the connections."""
        for way in (self._sdk, self._direct):
            if way is not None:
                way.close()


def drain(
    answer: Mapping[str, Any], view: memoryview, what: str, arrived: Callable[[int], None]
) -> None:
    """Read a body into `view` with as few copies as Python allows, and release the connection.

    `arrived` is called with the number of bytes received so far. Raises BrokenBody where the
    connection breaks or the body is shorter than `view`.
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
    except (HTTPException, OSError, ValueError) as error:
        raw.close()
        raise BrokenBody(f"{what}: the connection broke: {error}", have) from error
    if have < len(view):
        raw.close()
        raise BrokenBody(f"{what}: the body ended after {have} of {len(view)} bytes", have)
    if int(answer["ContentLength"]) > len(view):
        raw.close()  # the rest of the body is not wanted
    raw.release_conn()


def status_of(error: errors.FsError) -> int:
    """Return the HTTP status that caused one of our errors, 0 where there was no answer."""
    cause = error.__cause__
    return cause.status if isinstance(cause, Refusal) else 0


def code_of(error: errors.FsError) -> str:
    """Return the store's code for what caused one of our errors, "" where it gave none."""
    cause = error.__cause__
    return cause.code if isinstance(cause, Refusal) else ""


def refuses_keys(error: errors.FsError) -> bool:
    """Return whether the credentials are at fault, and nothing else can be."""
    return code_of(error) in LAPSED


def refuses_header(error: errors.FsError, certain: bool = False) -> bool:
    """Return whether an error may mean that the store refuses a header; with `certain`, must.

    501 Not Implemented is certain; a 400 with an unspecific code is not.
    """
    cause = error.__cause__
    if not isinstance(cause, Refusal):
        return False
    vague = cause.status == 400 and cause.code in VAGUE
    return cause.status == 501 or (vague and not certain)
