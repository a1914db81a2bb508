"""Struct layouts and constants of the FUSE kernel protocol, named as in <linux/fuse.h>.

Source: include/uapi/linux/fuse.h of Linux 6.18 (protocol 7.45). Only layouts: what they mean is the
matter of `session` and of the modules that answer. tests/fusefs/kernel/test_wire.py asserts every
size.

Native byte order, no implicit padding (`=`). Times are signed: the kernel casts them so, and files
older than 1970 exist. Immutable, usable from any thread.
"""

from enum import IntEnum, IntFlag
from struct import Struct

KERNEL_VERSION = 7
KERNEL_MINOR_VERSION = 45
OLDEST_MINOR_VERSION = 31  # Linux 5.4
ROOT_ID = 1
MIN_READ_BUFFER = 8192
UNIQUE_RESEND = 1 << 63
INT_REQ_BIT = 1  # fs/fuse/dev.c: the unique of an INTERRUPT is its request's, made odd


class Opcode(IntEnum):
    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    GETLK = 31
    SETLK = 32
    SETLKW = 33
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    BMAP = 37
    DESTROY = 38
    IOCTL = 39
    POLL = 40
    NOTIFY_REPLY = 41
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    SETUPMAPPING = 48
    REMOVEMAPPING = 49
    SYNCFS = 50
    TMPFILE = 51
    STATX = 52
    COPY_FILE_RANGE_64 = 53


class Notify(IntEnum):
    INVAL_INODE = 2
    INVAL_ENTRY = 3
    STORE = 4
    RESEND = 7
    PRUNE = 9


class Init(IntFlag):
    """FUSE_* flags of INIT; bits 32 to 63 travel in `flags2`."""

    ASYNC_READ = 1 << 0
    POSIX_LOCKS = 1 << 1
    ATOMIC_O_TRUNC = 1 << 3
    EXPORT_SUPPORT = 1 << 4
    BIG_WRITES = 1 << 5
    DONT_MASK = 1 << 6
    FLOCK_LOCKS = 1 << 10
    HAS_IOCTL_DIR = 1 << 11
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    ASYNC_DIO = 1 << 15
    WRITEBACK_CACHE = 1 << 16
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    HANDLE_KILLPRIV = 1 << 19
    POSIX_ACL = 1 << 20
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    NO_OPENDIR_SUPPORT = 1 << 24
    EXPLICIT_INVAL_DATA = 1 << 25
    HANDLE_KILLPRIV_V2 = 1 << 28
    SETXATTR_EXT = 1 << 29
    INIT_EXT = 1 << 30
    SECURITY_CTX = 1 << 32
    CREATE_SUPP_GROUP = 1 << 34
    HAS_EXPIRE_ONLY = 1 << 35
    DIRECT_IO_ALLOW_MMAP = 1 << 36
    PASSTHROUGH = 1 << 37
    NO_EXPORT_SUPPORT = 1 << 38
    HAS_RESEND = 1 << 39
    ALLOW_IDMAP = 1 << 40
    OVER_IO_URING = 1 << 41
    REQUEST_TIMEOUT = 1 << 42


# fuse_setattr_in.valid
FATTR_MODE = 1 << 0
FATTR_UID = 1 << 1
FATTR_GID = 1 << 2
FATTR_SIZE = 1 << 3
FATTR_ATIME = 1 << 4
FATTR_MTIME = 1 << 5
FATTR_FH = 1 << 6
FATTR_ATIME_NOW = 1 << 7
FATTR_MTIME_NOW = 1 << 8
FATTR_CTIME = 1 << 10
FATTR_KILL_SUIDGID = 1 << 11

FOPEN_DIRECT_IO = 1 << 0
FOPEN_KEEP_CACHE = 1 << 1
FOPEN_CACHE_DIR = 1 << 3
FOPEN_NOFLUSH = 1 << 5
FOPEN_PASSTHROUGH = 1 << 7

GETATTR_FH = 1 << 0
WRITE_KILL_SUIDGID = 1 << 2
OPEN_KILL_SUIDGID = 1 << 0
STATX_BASIC_STATS = 0x7FF

IN_HEADER = Struct("=IIQQIIIHH")  # len opcode unique nodeid uid gid pid total_extlen padding
OUT_HEADER = Struct("=IiQ")  # len error unique

_ATTR = (
    "QQQqqqIIIIIIIIII"  # ino size blocks, 3 times, 3 nsec, mode nlink uid gid rdev blksize flags
)
ATTR = Struct("=" + _ATTR)
ENTRY_OUT = Struct("=QQQQII" + _ATTR)  # nodeid generation, 2 valid, 2 valid_nsec
ATTR_OUT = Struct("=QII" + _ATTR)  # attr_valid attr_valid_nsec dummy
STATX_IN = Struct("=IIQII")  # getattr_flags reserved fh sx_flags sx_mask
# attr_valid attr_valid_nsec flags spare[2] | mask blksize attributes nlink uid gid mode ino size
# blocks attributes_mask | atime btime ctime mtime | 4 device numbers, spare
STATX_OUT = Struct("=QII16x" + "IIQIIIH2xQQQQ" + "qI4x" * 4 + "IIII112x")
KSTATFS = Struct("=QQQQQIIII24x")  # blocks bfree bavail files ffree bsize namelen frsize padding

INIT_IN = Struct("=IIII")  # major minor max_readahead flags
INIT_IN_EXT = Struct("=IIIII44x")  # … flags2
# major minor max_readahead flags max_background congestion_threshold max_write time_gran max_pages
# map_alignment flags2 max_stack_depth request_timeout
INIT_OUT = Struct("=IIIIHHIIHHIIH22x")

FORGET_IN = Struct("=Q")  # nlookup
FORGET_ONE = Struct("=QQ")  # nodeid nlookup
BATCH_FORGET_IN = Struct("=II")  # count dummy
GETATTR_IN = Struct("=IIQ")  # getattr_flags dummy fh
# valid padding fh size lock_owner, 3 times, 3 nsec, mode unused uid gid unused
SETATTR_IN = Struct("=IIQQQqqqIIIIIIII")
MKNOD_IN = Struct("=IIII")  # mode rdev umask padding
MKDIR_IN = Struct("=II")  # mode umask
RENAME_IN = Struct("=Q")  # newdir
RENAME2_IN = Struct("=QII")  # newdir flags padding
LINK_IN = Struct("=Q")  # oldnodeid
OPEN_IN = Struct("=II")  # flags open_flags
CREATE_IN = Struct("=IIII")  # flags mode umask open_flags
OPEN_OUT = Struct("=QIi")  # fh open_flags backing_id
RELEASE_IN = Struct("=QIIQ")  # fh flags release_flags lock_owner
FLUSH_IN = Struct("=QIIQ")  # fh unused padding lock_owner
READ_IN = Struct("=QQIIQII")  # fh offset size read_flags lock_owner flags padding
WRITE_IN = Struct("=QQIIQII")  # fh offset size write_flags lock_owner flags padding
WRITE_OUT = Struct("=II")  # size padding
FSYNC_IN = Struct("=QII")  # fh fsync_flags padding
SETXATTR_IN_COMPAT = Struct("=II")  # size flags
SETXATTR_IN = Struct("=IIII")  # size flags setxattr_flags padding
GETXATTR_IN = Struct("=II")  # size padding
GETXATTR_OUT = Struct("=II")  # size padding
INTERRUPT_IN = Struct("=Q")  # unique
FALLOCATE_IN = Struct("=QQQII")  # fh offset length mode padding
LSEEK_IN = Struct("=QQII")  # fh offset whence padding
LSEEK_OUT = Struct("=Q")  # offset
COPY_FILE_RANGE_IN = Struct("=QQQQQQQ")  # fh_in off_in nodeid_out fh_out off_out len flags
COPY_FILE_RANGE_OUT = Struct("=Q")  # bytes_copied
DIRENT = Struct("=QQII")  # ino off namelen type, then the name, padded to 8

NOTIFY_INVAL_INODE_OUT = Struct("=Qqq")  # ino off len
NOTIFY_INVAL_ENTRY_OUT = Struct("=QII")  # parent namelen flags, then the name and a NUL
NOTIFY_PRUNE_OUT = Struct("=IIQ")  # count padding spare, then the nodeids
NOTIFY_STORE_OUT = Struct("=QQII")  # nodeid offset size padding


def record_size(name_length: int, head: int) -> int:
    """Return FUSE_REC_ALIGN(head + name_length): the size of one directory record."""
    return (head + name_length + 7) & ~7
