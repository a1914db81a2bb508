"""One request of a bucket: its answer or our error out, tried again while that can help.

What is waited for: a store that can't be reached or answers 5xx (an outage), credentials that ran
out until new ones are there, a connection that broke before an answer came. What a request means
is `store`'s; here it is a name of boto3 and its arguments. It goes by `fastpath` where it is plain,
else by boto3 (`sdk`), which is loaded by the first request that needs it. Any thread; `_making`
guards that boto3's client is made once, `_noticing` which key was signed with last; the few other
numbers kept here are each written in one step.
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
    PASSING,
    REFUSED,
    TOO_MANY,
    VAGUE,
    error_for,
)
from fusefs.s3.fastpath import FastPath, Unclear, Wire
from fusefs.s3.partbody import in_pieces, rewind
from fusefs.s3.presence import StorePresence
from fusefs.s3.refusal import NoAnswer, Refusal, Why
from fusefs.s3.responses import attempts_of
from fusefs.s3.retry import LONG, BrokenBody, RetryBudget
from fusefs.s3.settings import StoreSettings
from fusefs.s3.signing import Signature

if TYPE_CHECKING:
    from fusefs.s3.sdk import Sdk

# Answers to a condition or a range, not failures: 304 Not Modified, 416 Range Not Satisfiable.
EXPECTED = frozenset({304, 416})
# How long a store may refuse expired credentials before we give up: kubelets and token webhooks
# renew files within about a minute.
RENEWAL_SECONDS = 90.0
# Seconds that a request gets at least of its budget while the store is away.
PROBE = 10.0
STREAMED = "get_object"  # its body is read by `store`, which tells when all of it is here
BEGAN = "s3mount-began"  # of an answer: the operation, and when its call began (monotonic)
READ_MOST = 1 << 20  # bytes of a body asked for at once


class Client:
    """The ways to one bucket."""

    def __init__(self, settings: StoreSettings, counters: Counters) -> None:
        self.changes = Changes()
        self._settings = settings
        self._counters = counters
        self.where = f"s3://{settings.bucket}"
        self._common: dict[str, Any] = {"Bucket": settings.bucket}
        if settings.requester_pays:
            self._common["RequestPayer"] = "requester"
        self.presence = StorePresence()
        self._renewed_at = 0.0  # when credentials changed last
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
        """Find the way without boto3, or else have boto3 show it; return the store's URL."""
        keys = place.static_keys(self._directory, os.environ)
        found = place.place_of(self._settings, os.environ) if keys is not None else None
        if keys is not None and found is not None:
            self._direct = self._way(place.authorities(os.environ), _signature(keys))
            self._direct.go(found.url, found.region)
            return found.endpoint
        sdk = self._loaded()
        if self._settings.direct and not self._settings.anonymous and not sdk.proxied:
            self._direct = self._way(sdk.authorities, sdk.keys)
            sdk.watch(self._direct.learn)
        return sdk.endpoint

    def _way(self, authorities: str | None, keys: Callable[[], Signature | None]) -> FastPath:
        told = self._settings
        wire = Wire(told.connect_timeout, told.read_timeout, told.connections, authorities)
        return FastPath(told.bucket, wire, partial(self._noticed, keys))

    def _noticed(self, keys: Callable[[], Signature | None]) -> Signature | None:
        """Return what to sign with; count when it is another than before."""
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
        """Return the budget of a request that begins now; it is less during an outage."""
        limit = min(most, self._settings.retry_for)
        silence = min(most, self._settings.read_timeout)
        spent = min(self.presence.unreachable_for(), max(limit, silence) - PROBE)
        return RetryBudget(limit, time.monotonic() - max(0.0, spent), silence)

    def call(
        self,
        operation: str,
        key: str | None = None,
        budget: RetryBudget | None = None,
        /,
        **arguments: Any,
    ) -> Any:
        """Run a boto3 operation on the bucket; raise our error for any of theirs.

        `budget`: the budget, where this request is one of several that share it.
        """
        locks.waits_for_store()
        budget = budget or self.budget()
        began = time.monotonic()
        if key is None or operation not in CHANGING:
            answer = self._call(operation, key, budget, arguments)
        else:
            with self.changes.under_way(key):
                answer = self._call(operation, key, budget, arguments)
        answer[BEGAN] = (operation, began)
        if operation != STREAMED:
            self.has_all(answer)
        return answer

    def has_all(self, answer: Mapping[str, Any]) -> None:
        """Note that all of an answer is here, its body too."""
        operation, began = answer[BEGAN]
        self._counters.answers.note(operation, time.monotonic() - began)

    def _call(
        self, operation: str, key: str | None, budget: RetryBudget, arguments: dict[str, Any]
    ) -> Any:
        if key is not None:
            arguments["Key"] = key
        arguments |= self._common
        lost = cleared = False
        while True:
            sent = time.monotonic()
            try:
                answer = None if lost else self._directly(operation, arguments, budget)
                if answer is None:
                    arguments = in_pieces(arguments)
                    answer = self._loaded().call(operation, arguments, budget)
            except Refusal as refusal:
                reason = self._reason(operation, arguments, refusal, budget)
                if reason or cleared:
                    self._await_change(operation, key, reason or refusal, budget, sent, lost=lost)
                cleared = reason is None
            except Unclear:
                budget.ended()
                lost = True  # boto3 finds out what is wrong
                self._counters.add(Count.RETRIED)
            except NoAnswer as nothing:
                told = self._unanswered(operation, key, nothing)
                if not self._rides_out(nothing.why, budget):
                    raise told from nothing
                lost = True
            else:
                self._counters.first_bytes.note(operation, time.monotonic() - sent)
                self._note(operation, answer)
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
        """Return when asking again may help; else raise our error for the store's."""
        told = self._told(operation, key, error)
        told.retried = lost or error.attempts > 0
        if not self._asks_again(error, told, sent, budget):
            raise told from error

    def _reason(
        self, operation: str, arguments: Mapping[str, Any], error: Refusal, budget: RetryBudget
    ) -> Refusal | None:
        """Ask by a GET why a HEAD was refused: its 400 has no body, so no code.

        None where the GET isn't refused: credentials were renewed between the two.
        """
        if operation != "head_object" or error.status != 400:
            return error
        try:
            ranged = {**arguments, "Range": "bytes=0-0"}
            self._loaded().call("get_object", ranged, budget)["Body"].close()
        except Refusal as told:
            return told if told.status in (400, 403) else None
        except NoAnswer:
            return error
        return None

    def _directly(self, operation: str, arguments: Mapping[str, Any], budget: RetryBudget) -> Any:
        """Try it without boto3; None where that isn't possible. Raises Refusal and Unclear."""
        if self._direct is None:
            return None
        silence = budget.begin(operation not in LONG)
        return self._direct.send(operation, arguments, silence)

    def _unanswered(self, operation: str, key: str | None, error: NoAnswer) -> errors.FsError:
        told: errors.FsError
        if error.why is Why.NO_CREDENTIALS:
            told = errors.AccessDenied(
                f"{self.where}: no AWS credentials found; give a Secret, a role or "
                "the usual AWS environment variables"
            )
        else:
            told = errors.Unavailable(f"{operation} {self.where}/{key or ''}: {error}")
        self._counters.request(operation, type(told).__name__)
        return told

    def _rides_out(self, why: Why, budget: RetryBudget) -> bool:
        """Wait for a store that can't be reached; False when it has been away for too long."""
        if why not in (Why.AWAY, Why.UNTRUSTED):
            return False  # what boto3 refuses to send is no outage
        away_since = self.presence.missed()
        if why is Why.UNTRUSTED:
            return False  # a wrong certificate doesn't pass
        budget.since = min(budget.since, away_since)
        return budget.wait()

    def _told(self, operation: str, key: str | None, error: Refusal) -> errors.FsError:
        self.presence.answered(error.headers)
        what = f"{operation} {self.where}/{key or ''}"
        told = error_for(error.code, error.status, what, error.message)
        if operation == "complete_multipart_upload" and error.code in CONTENDED:
            told = errors.Contended(str(told))
        outcome = "ok" if error.status in EXPECTED else type(told).__name__
        self._counters.request(operation, outcome, error.attempts)
        return told

    def _asks_again(
        self, error: Refusal, told: errors.FsError, sent: float, budget: RetryBudget
    ) -> bool:
        """Wait where asking again may help: an overload, credentials that ran out or changed."""
        if error.code in EXPIRED or error.code in REFUSED:
            self._refresh_credentials()
            # Another request may have brought new ones in while this was under way with the old.
            renewed = error.code in EXPIRED or self._renewed_at > sent
            return budget.wait(RENEWAL_SECONDS if renewed else 0)
        passing = error.status >= 500 or error.status == TOO_MANY
        passing = passing or error.code in PASSING | CONTENDED
        return passing and isinstance(told, errors.Unavailable) and budget.wait()

    def _refresh_credentials(self) -> None:
        if self._directory is not None:
            self._directory.current(fresh=True)
            self._renewed_at = max(self._renewed_at, self._directory.changed_at)
        elif self._loaded().renewed():
            self._renewed_at = time.monotonic()
            if self._direct is None:
                self._counters.add(Count.CREDENTIALS)

    def _note(self, operation: str, answer: Mapping[str, Any]) -> None:
        meta = answer["ResponseMetadata"]
        self._counters.request(operation, "ok", attempts_of(answer))
        self.presence.answered(meta["HTTPHeaders"])

    def close(self) -> None:
        """Close the connections."""
        for way in (self._sdk, self._direct):
            if way is not None:
                way.close()


def drain(
    answer: Mapping[str, Any], view: memoryview, what: str, arrived: Callable[[int], None]
) -> None:
    """Read a body into `view` in as few copies as Python allows; the connection goes back.

    `arrived` is told the bytes so far. Raises BrokenBody when fewer come than `view` has.
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
        raw.close()  # more than was wanted is on its way
    raw.release_conn()


def status_of(error: errors.FsError) -> int:
    """Return the HTTP status behind one of our errors, 0 where none came."""
    cause = error.__cause__
    return cause.status if isinstance(cause, Refusal) else 0


def refuses_header(error: errors.FsError, certain: bool = False) -> bool:
    """Say whether an error may be a store's refusal of a header, or (`certain`) says so itself."""
    cause = error.__cause__
    if not isinstance(cause, Refusal):
        return False
    vague = cause.status == 400 and cause.code in VAGUE
    return cause.status == 501 or (vague and not certain)


def _signature(keys: Callable[[], Keys]) -> Callable[[], Signature]:
    def current() -> Signature:
        found = keys()
        return Signature(found.access, found.secret, found.token)

    return current
