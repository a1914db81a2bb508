"""Every option of s3fs and of mount(8) that `-o` knows, and its effect here.

The names are those of s3fs 1.90 (its manual page and its own `--help`), the newer ones of its
releases since, and the generic ones of mount.fuse(8). An option is set (it changes a
`MountSettings`), accepted (no effect, for the reason given) or refused (ignoring it would be wrong
or dangerous, for the reason given). docs/options.md is generated from this list.

Values only, no state. A list of options is parsed in `optionlist`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fusefs.mount import optionvalues
from fusefs.mount.optionvalues import ANYTHING, FLAG, SWITCH, Value
from fusefs.mount.settings import MountSettings

Change = Callable[[MountSettings, Any], MountSettings]


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its value's rule, its fate and the reason, and what it changes if it is set."""

    name: str
    fate: Literal["set", "accepted", "refused"]
    why: str
    value: Value = ANYTHING
    change: Change | None = None


def _mount(field: str) -> Change:
    return lambda mount, value: replace(mount, **{field: value})


def _store(field: str) -> Change:
    return lambda mount, value: replace(mount, store=replace(mount.store, **{field: value}))


def _plan(field: str) -> Change:
    return lambda mount, value: replace(mount, plan=replace(mount.plan, **{field: value}))


def _shown(field: str) -> Change:
    return lambda mount, value: replace(mount, shown=replace(mount.shown, **{field: value}))


def _url(mount: MountSettings, url: str) -> MountSettings:
    # s3fs puts the bucket into the host name unless an option says otherwise.
    return replace(mount, store=replace(mount.store, endpoint_url=url, path_style=False))


def _encryption(mount: MountSettings, asked: tuple[str, str | None] | None) -> MountSettings:
    kind, key = asked or (None, None)
    return replace(mount, store=replace(mount.store, sse=kind, sse_kms_key=key))


def _reduced(mount: MountSettings, wanted: bool) -> MountSettings:
    kind = "REDUCED_REDUNDANCY" if wanted else None
    return replace(mount, store=replace(mount.store, storage_class=kind))


def _set(name: str, value: Value, change: Change, why: str) -> Option:
    return Option(name, "set", why, value, change)


def _as(name: str) -> str:
    return f"the same as `{name}`"


# Applied in this order, whatever the order they are given in.
SET = (
    _set("ro", FLAG, _mount("read_only"), "`--read-only`"),
    _set("allow_other", FLAG, _mount("allow_other"), "`--allow-other`"),
    _set("nonempty", FLAG, _mount("nonempty"), "mount over a directory that has files in it"),
    _set(
        "compat_dir",
        FLAG,
        _mount("folder_markers"),
        "a name that isn't there is looked for as Hadoop's `NAME_$folder$`, too: one HEAD more",
    ),
    _set("uid", optionvalues.number(), _shown("uid"), "the owner that is shown for everything"),
    _set("gid", optionvalues.number(), _shown("gid"), "the group that is shown for everything"),
    _set(
        "umask",
        optionvalues.MASK,
        _shown("umask"),
        "everything is shown with the mode 0777 less these bits; what is stored stays",
    ),
    _set(
        "mp_umask",
        optionvalues.MASK,
        _shown("root_umask"),
        "the mount's root is shown with the mode 0777 less these bits (`umask` goes before)",
    ),
    _set("url", optionvalues.URL, _url, "`--endpoint-url`, with the bucket in the host name"),
    _set("host", optionvalues.URL, _url, _as("url")),
    _set(
        "use_path_request_style",
        FLAG,
        _store("path_style"),
        "the bucket in the path of the URL; `--endpoint-url` does that anyway",
    ),
    _set("endpoint", optionvalues.TEXT, _store("region"), "`--region` (so s3fs calls it)"),
    _set("region", optionvalues.TEXT, _store("region"), "`--region`"),
    _set("profile", optionvalues.TEXT, _store("profile"), "`--profile`"),
    _set("public_bucket", SWITCH, _store("anonymous"), "requests aren't signed"),
    _set("requester_pays", FLAG, _store("requester_pays"), "the requester pays for requests"),
    _set(
        "retries",
        optionvalues.number(1, 100),
        _store("retries"),
        "tries of each request; default 5",
    ),
    _set(
        "connect_timeout",
        optionvalues.seconds(1, 3600),
        _store("connect_timeout"),
        "seconds; default 10",
    ),
    _set(
        "readwrite_timeout",
        optionvalues.seconds(1, 3600),
        _store("read_timeout"),
        "seconds without a byte; default 30",
    ),
    _set("storage_class", optionvalues.STORAGE_CLASS, _store("storage_class"), "of new objects"),
    _set("use_rrs", SWITCH, _reduced, "`storage_class=reduced_redundancy`"),
    _set("use_sse", optionvalues.ENCRYPTION, _encryption, "of new objects: SSE-S3, or SSE-KMS"),
    _set("default_acl", optionvalues.ACL, _store("acl"), "canned ACL of what is written"),
    _set(
        "use_cache", optionvalues.PATH, lambda m, v: replace(m, cache_dir=Path(v)), "`--cache-dir`"
    ),
    _set(
        "check_cache_dir_exist",
        FLAG,
        _mount("cache_dir_must_exist"),
        "don't start when the cache directory isn't there",
    ),
    _set(
        "ensure_diskfree",
        optionvalues.megabytes(0, 1 << 24),
        _mount("keep_free"),
        "MB of the cache disk left to others; default 64",
    ),
    _set(
        "max_stat_cache_size",
        optionvalues.number(0, 100_000_000),
        _mount("remembered"),
        "how many objects' attributes are remembered; default 200000",
    ),
    _set("stat_cache_interval_expire", optionvalues.seconds(), _mount("attr_ttl"), "`--attr-ttl`"),
    _set(
        "stat_cache_expire", optionvalues.seconds(), _mount("attr_ttl"), "`--attr-ttl`; default 60"
    ),
    _set("parallel_upload", optionvalues.number(1, 256), _mount("parallel"), _as("parallel_count")),
    _set(
        "max_thread_count", optionvalues.number(1, 256), _mount("parallel"), _as("parallel_count")
    ),
    _set(
        "parallel_count",
        optionvalues.number(1, 256),
        _mount("parallel"),
        "GETs of read-ahead at once, and two thirds as many part uploads; default 12",
    ),
    _set(
        "multireq_max",
        optionvalues.number(1, 256),
        _mount("requests"),
        "copies and deletes at once, and four times as many requests for attributes; default 32",
    ),
    _set(
        "multipart_size",
        optionvalues.megabytes(5, 5120),
        _plan("part_size"),
        "MB of a part; at most the memory limit, larger for very large files; default 8",
    ),
    _set(
        "multipart_threshold",
        optionvalues.megabytes(5, 5120),
        _plan("threshold"),
        "MB from which on files are sent in parts; at most the memory limit; default 16",
    ),
    _set(
        "multipart_copy_size",
        optionvalues.megabytes(5, 5120),
        _plan("copy_size"),
        "MB of a part that is copied in the store; default 512",
    ),
    _set(
        "dbglevel",
        optionvalues.LOG_LEVEL,
        _mount("debug"),
        "`debug` adds debug lines to the log; no level hides warnings",
    ),
)

_ALWAYS = "always so"
_KERNEL = "settled with the kernel when mounting"
_FSTAB = "a word for mount(8), which takes it out itself"
_TIMES = "reading never changes a file's times"
_CHAIN = "the SDK's credentials chain looks there by itself"
_FRESH = "the kernel's cache is kept while the ETag is the same, and dropped when it isn't"
_TTL = "`stat_cache_expire` says how long the kernel may trust names and attributes"
_DIRECTORIES = "the default"
_ONE_LOG = "the log is JSON lines on stderr, with times and the bucket"

ACCEPTED = tuple(
    Option(name, "accepted", why, value)
    for name, value, why in (
        ("rw", FLAG, "the default"),
        ("enable_noobj_cache", FLAG, "`--negative-ttl` says how long missing names are remembered"),
        ("del_cache", FLAG, "cached content is used only for the very version it is of"),
        ("tmpdir", optionvalues.PATH, "what isn't uploaded yet is in the cache directory"),
        (
            "max_dirty_data",
            optionvalues.DIRTY,
            "changes wait on the cache disk and are uploaded when it fills up",
        ),
        (
            "singlepart_copy_limit",
            optionvalues.megabytes(0, 5120),
            "objects up to 5 GiB are copied in one request",
        ),
        ("list_object_max_keys", optionvalues.number(1), "a listing has 1000 keys a page"),
        ("iam_role", ANYTHING, _CHAIN),
        ("ecs", FLAG, _CHAIN),
        ("imdsv1only", FLAG, _CHAIN),
        ("use_session_token", FLAG, "a session token is used where there is one"),
        ("sigv4", FLAG, _ALWAYS),
        ("enable_content_md5", FLAG, "every upload carries a checksum that the store compares"),
        ("enable_unsigned_payload", FLAG, "over TLS payloads are covered by their checksum"),
        ("listobjectsv2", FLAG, _ALWAYS),
        ("noxmlns", FLAG, "answers are read with or without the namespace"),
        ("noua", FLAG, "the user agent stays; it holds no secret"),
        ("nodnscache", FLAG, "each new connection resolves the name"),
        ("nosscache", FLAG, "connections are kept; sessions need no cache"),
        ("ipresolve", ANYTHING, "all addresses of the name are tried"),
        ("ssl_verify_hostname", optionvalues.VERIFY, _ALWAYS),
        ("use_xattr", SWITCH, "always so, with `--metadata posix`"),
        ("complement_stat", FLAG, "`--uid`, `--gid`, `--file-mode`, `--dir-mode` fill the gaps"),
        ("notsup_compat_dir", FLAG, _DIRECTORIES),
        ("bucket_size", ANYTHING, "`df` shows 1 PiB; a bucket has no size"),
        ("streamupload", FLAG, "parts are sent while others are being read"),
        ("instance_name", ANYTHING, _ONE_LOG),
        ("logfile", ANYTHING, _ONE_LOG),
        ("no_time_stamp_msg", FLAG, _ONE_LOG),
        ("curldbg", ANYTHING, "there is no curl; `dbglevel=debug` logs more"),
        ("set_check_cache_sigusr1", ANYTHING, "cached blocks are checked whenever they are read"),
        ("fd_page_size", ANYTHING, "s3fs itself doesn't use it any more"),
        *((name, FLAG, "always so") for name in ("nosuid", "nodev", "default_permissions")),
        *((name, FLAG, _TIMES) for name in ("atime", "noatime", "relatime", "nodiratime")),
        *((name, FLAG, "the default") for name in ("exec", "async")),
        ("dirsync", FLAG, "a change of names is in the store when the call returns"),
        *((name, FLAG, _FRESH) for name in ("kernel_cache", "auto_cache", "direct_io")),
        *(
            (name, optionvalues.seconds(), _TTL)
            for name in ("attr_timeout", "entry_timeout", "negative_timeout", "ac_attr_timeout")
        ),
        *(
            (name, FLAG, _KERNEL)
            for name in ("big_writes", "large_read", "async_read", "use_ino", "readdir_ino")
        ),
        *(
            (name, optionvalues.number(), _KERNEL)
            for name in (
                "max_read",
                "max_write",
                "max_readahead",
                "max_background",
                "congestion_threshold",
            )
        ),
        ("hard_remove", FLAG, "a removed file stays readable to who has it open"),
        ("fsname", ANYTHING, "the mount table says `s3mount` and the bucket"),
        ("subtype", ANYTHING, "the mount table says `s3mount` and the bucket"),
        *(
            (name, FLAG, _FSTAB)
            for name in ("_netdev", "auto", "noauto", "nofail", "defaults", "user", "users")
        ),
        ("nouser", FLAG, _FSTAB),
    )
)

_CREDENTIALS = "use `--credentials-dir`, `--profile` or the AWS environment variables"
_COPIES = "rename, chmod and append are copies in the store here; one that can't copy won't do"
_CUSTOMER_KEYS = "keys of one's own (SSE-C) aren't supported; `use_sse=kmsid` is"
_PROXY = "use the environment variable HTTPS_PROXY"

REFUSED = tuple(
    Option(name, "refused", why)
    for name, why in (
        ("bucket", "the first argument names the bucket: BUCKET or BUCKET/PREFIX"),
        ("createbucket", "a mount makes no buckets"),
        ("servicepath", "put the path into `url`"),
        ("passwd_file", _CREDENTIALS),
        ("ibm_iam_auth", "use HMAC keys: " + _CREDENTIALS),
        ("ibm_iam_endpoint", "use HMAC keys: " + _CREDENTIALS),
        ("credlib", _CREDENTIALS),
        ("credlib_opts", _CREDENTIALS),
        (
            "no_check_certificate",
            "it gives data and signatures to whoever answers; name your CA in AWS_CA_BUNDLE",
        ),
        ("cipher_suites", "the system's TLS policy decides"),
        ("ssl_client_cert", "client certificates aren't supported"),
        ("sigv2", "the old signature is refused by AWS and by us"),
        ("proxy", _PROXY),
        ("proxy_cred_file", _PROXY),
        ("suid", "programs in a bucket must not get anybody's rights"),
        ("dev", "device files in a bucket must not work"),
        ("noexec", "it can't be kept up over all drivers; take the x bits from the files"),
        ("allow_root", "use `allow_other`; file modes still hold"),
        (
            "sync",
            "each write would be an upload; O_SYNC, fsync() and close() bring a file to the store",
        ),
        ("load_sse_c", _CUSTOMER_KEYS),
        ("nocopyapi", _COPIES),
        ("norenameapi", _COPIES),
        ("nomixupload", _COPIES),
        ("nomultipart", "a large file doesn't fit into one request from bounded memory"),
        ("disable_noobj_cache", "`--negative-ttl 0` asks the store each time"),
        ("free_space_ratio", "say how many MB with `ensure_diskfree`"),
        ("update_parent_dir_stat", "it would cost a copy of the marker for each file made"),
        ("ahbe_conf", "headers by suffix aren't supported"),
        ("mime", "put the types into /etc/mime.types"),
        ("use_wtf8", "names must be UTF-8; others get EILSEQ"),
    )
)

BY_NAME = {option.name: option for option in (*SET, *ACCEPTED, *REFUSED)}
