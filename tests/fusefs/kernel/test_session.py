"""Each opcode over a socket pair: bytes in, bytes out."""

import errno
import logging
import os
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fusefs import errors
from fusefs.interface import UNOPENED, Caller, Opened
from fusefs.kernel import wire
from fusefs.kernel.backing import Backings
from fusefs.kernel.session import KernelSession
from fusefs.kernel.wire import Opcode
from tests.fusefs.kernel.kernelside import KernelSide, entry, opened, resumed
from tests.fusefs.kernel.memory import Memory

FILE = stat.S_IFREG | 0o644


@pytest.fixture
def file(memory: Memory) -> int:
    """A file `f` of ten bytes; its node."""
    made, handle = memory.create(1, "f", FILE, os.O_RDWR, Caller(0, 0))
    memory.write(handle.handle, 0, b"0123456789")
    memory.release(handle.handle)
    return made.node


@pytest.fixture
def handle(kernel: KernelSide, file: int) -> int:
    """The file open for reading and writing."""
    return opened(kernel.ok(Opcode.OPEN, wire.OPEN_IN.pack(os.O_RDWR, 0), file))[0]


def test_lookup_answers_with_node_attributes_and_times_to_live(
    kernel: KernelSide, file: int
) -> None:
    """fuse_entry_out: node id, generation 0, both validities, then the attributes."""
    fields = wire.ENTRY_OUT.unpack(kernel.ok(Opcode.LOOKUP, b"f\0"))
    assert fields[:6] == (file, 0, 1, 1, 0, 0)
    assert fields[6:9] == (file, 10, 1) and fields[15] == FILE


def test_a_name_that_is_not_there_is_enoent(kernel: KernelSide) -> None:
    """An error reply is a bare header."""
    assert kernel.error(Opcode.LOOKUP, b"nobody\0") == errno.ENOENT


def test_a_missing_name_may_be_remembered(memory: Memory) -> None:
    """With a negative TTL the answer is an entry with node 0 and that validity."""
    side = KernelSide(memory, negative_ttl=2.5)
    side.init()
    fields = wire.ENTRY_OUT.unpack(side.ok(Opcode.LOOKUP, b"nobody\0"))
    side.close()
    assert (fields[0], fields[2], fields[4]) == (0, 2, 500_000_000)


def test_names_that_are_not_utf8_arrive_as_bytes(kernel: KernelSide, memory: Memory) -> None:
    """Surrogates stand for them, as everywhere in Python."""
    kernel.ok(Opcode.MKDIR, wire.MKDIR_IN.pack(0o755, 0) + b"\xff\xfe\0")
    assert memory.inodes[1].children.keys() == {os.fsdecode(b"\xff\xfe")}


def soon(holds: Callable[[], bool]) -> bool:
    """Say whether something that another thread does comes true within seconds."""
    deadline = time.monotonic() + 5
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.005)
    return holds()


def test_forget_gives_references_back_and_is_not_answered(
    kernel: KernelSide, memory: Memory, file: int
) -> None:
    """nlookup counts; the kernel waits for no reply."""
    kernel.ok(Opcode.LOOKUP, b"f\0")
    kernel.send(Opcode.FORGET, wire.FORGET_IN.pack(2), file)
    assert kernel.silent() and soon(lambda: memory.lookups[file] == 0)


def test_batch_forget_forgets_each_of_its_nodes(
    kernel: KernelSide, memory: Memory, file: int
) -> None:
    """One request, many nodes; a node the kernel names by a later id is the same node."""
    kernel.ok(Opcode.LOOKUP, b"f\0")
    pairs = wire.FORGET_ONE.pack(file, 1) + wire.FORGET_ONE.pack(file | 3 << 48, 1)
    kernel.send(Opcode.BATCH_FORGET, wire.BATCH_FORGET_IN.pack(2, 0) + pairs)
    assert kernel.silent() and soon(lambda: memory.lookups[file] == 0)


@pytest.mark.parametrize("first", [Opcode.FORGET, Opcode.RELEASE])
def test_ids_of_a_node_go_with_its_last_reference(memory: Memory, file: int, first: Opcode) -> None:
    """Whichever the kernel's threads let come first, FORGET or RELEASE."""
    backings = Backings(None)
    side = KernelSide(memory, backings=backings)
    side.init()
    backings.opened(file, Opened(99, content=10), reader=True)
    other = backings.kernel_id(file, UNOPENED)
    backings.released(99, file)
    handle = opened(side.ok(Opcode.OPEN, wire.OPEN_IN.pack(os.O_RDONLY, 0), other))[0]
    assert backings.kernel_ids(file) == (file, other)
    requests = {
        Opcode.FORGET: lambda: side.send(Opcode.FORGET, wire.FORGET_IN.pack(1), file),
        Opcode.RELEASE: lambda: side.ok(
            Opcode.RELEASE, wire.RELEASE_IN.pack(handle, 0, 0, 0), other
        ),
    }
    requests.pop(first)()
    requests.popitem()[1]()
    assert soon(lambda: backings.kernel_ids(file) == (file,))
    side.close()


def test_a_forget_cut_short_is_not_answered_either(kernel: KernelSide) -> None:
    """A reply to nobody would be a protocol error."""
    kernel.send(Opcode.FORGET, b"\1")
    assert kernel.silent()


def test_getattr_answers_with_attributes(kernel: KernelSide, file: int) -> None:
    """fuse_attr_out: validity, then attributes with seconds and nanoseconds apart."""
    fields = wire.ATTR_OUT.unpack(kernel.ok(Opcode.GETATTR, wire.GETATTR_IN.pack(0, 0, 0), file))
    assert fields[0] == 1 and fields[3:6] == (file, 10, 1)


def test_times_before_1970_are_negative_seconds(
    kernel: KernelSide, memory: Memory, file: int
) -> None:
    """The kernel casts seconds to signed, and nanoseconds are never negative."""
    memory.inodes[file].times[1] = -1
    fields = wire.ATTR_OUT.unpack(kernel.ok(Opcode.GETATTR, wire.GETATTR_IN.pack(0, 0, 0), file))
    assert (fields[7], fields[10]) == (-1, 999_999_999)


def test_statx_answers_with_the_basic_fields(kernel: KernelSide, file: int) -> None:
    """fuse_statx_out: the mask says that there is no time of birth."""
    fields = wire.STATX_OUT.unpack(kernel.ok(Opcode.STATX, wire.STATX_IN.pack(0, 0, 0, 0, 0), file))
    assert fields[3] == wire.STATX_BASIC_STATS
    assert fields[9:12] == (FILE, file, 10)


def setattr_body(valid: int, **fields: int) -> bytes:
    names = "valid padding fh size owner atime mtime ctime ans mns cns mode unused uid gid unused5"
    return wire.SETATTR_IN.pack(*[({"valid": valid} | fields).get(n, 0) for n in names.split()])


def test_setattr_changes_what_valid_names_and_nothing_else(
    kernel: KernelSide, memory: Memory, file: int
) -> None:
    """The other fields of fuse_setattr_in are noise."""
    before = list(memory.inodes[file].times)
    body = setattr_body(wire.FATTR_MODE, mode=FILE & ~0o044, size=3, uid=5, mtime=9)
    kernel.ok(Opcode.SETATTR, body, file)
    inode = memory.inodes[file]
    assert (inode.mode, len(inode.content), inode.uid) == (FILE & ~0o044, 10, 0)
    assert inode.times == before


def test_setattr_sets_times_with_nanoseconds_and_now(
    kernel: KernelSide, memory: Memory, file: int
) -> None:
    """ATIME_NOW is our clock, a given mtime is kept to the nanosecond."""
    valid = wire.FATTR_ATIME | wire.FATTR_ATIME_NOW | wire.FATTR_MTIME
    kernel.ok(Opcode.SETATTR, setattr_body(valid, mtime=-5, mns=7), file)
    atime, mtime, _ = memory.inodes[file].times
    assert mtime == -5_000_000_000 + 7 and atime > 10**18


def test_chown_takes_the_set_user_id_bit_off(kernel: KernelSide, memory: Memory, file: int) -> None:
    """HANDLE_KILLPRIV_V2 makes that our work; set-group-id goes with group execution only."""
    memory.inodes[file].mode = stat.S_IFREG | 0o6744
    kernel.ok(Opcode.SETATTR, setattr_body(wire.FATTR_UID, uid=7), file)
    assert memory.inodes[file].mode == stat.S_IFREG | 0o2744 and memory.inodes[file].uid == 7


def test_readlink_answers_with_the_bare_target(kernel: KernelSide) -> None:
    """No NUL at the end."""
    node, mode = entry(kernel.ok(Opcode.SYMLINK, b"l\0/some/where\0"))
    assert stat.S_ISLNK(mode) and kernel.ok(Opcode.READLINK, node=node) == b"/some/where"


def test_making_a_node_passes_mode_device_and_owner(kernel: KernelSide, memory: Memory) -> None:
    """The new node belongs to the caller of the request's header."""
    body = wire.MKNOD_IN.pack(stat.S_IFIFO | 0o600, 0, 0o22, 0) + b"fifo\0"
    node, mode = entry(kernel.ok(Opcode.MKNOD, body))
    assert mode == stat.S_IFIFO | 0o600
    assert (memory.inodes[node].uid, memory.inodes[node].gid) == (1000, 1001)


def test_directories_are_made_and_removed(kernel: KernelSide) -> None:
    """EEXIST and ENOTEMPTY come through as they are."""
    node, mode = entry(kernel.ok(Opcode.MKDIR, wire.MKDIR_IN.pack(0o750, 0) + b"d\0"))
    assert mode == stat.S_IFDIR | 0o750
    assert kernel.error(Opcode.MKDIR, wire.MKDIR_IN.pack(0o750, 0) + b"d\0") == errno.EEXIST
    kernel.ok(Opcode.MKDIR, wire.MKDIR_IN.pack(0o750, 0) + b"e\0", node)
    assert kernel.error(Opcode.RMDIR, b"d\0") == errno.ENOTEMPTY
    assert kernel.ok(Opcode.RMDIR, b"e\0", node) == b""


def test_unlink_removes_a_name(kernel: KernelSide, file: int) -> None:
    """The reply is a bare header."""
    assert kernel.ok(Opcode.UNLINK, b"f\0") == b""
    assert kernel.error(Opcode.LOOKUP, b"f\0") == errno.ENOENT


def test_rename_takes_its_directory_and_two_names(
    kernel: KernelSide, memory: Memory, file: int
) -> None:
    """RENAME has no flags, RENAME2 has."""
    kernel.ok(Opcode.RENAME, wire.RENAME_IN.pack(1) + b"f\0g\0")
    kernel.ok(Opcode.MKDIR, wire.MKDIR_IN.pack(0o755, 0) + b"d\0")
    noreplace = wire.RENAME2_IN.pack(1, 1, 0) + b"g\0d\0"
    assert kernel.error(Opcode.RENAME2, noreplace) == errno.EEXIST
    kernel.ok(Opcode.RENAME2, wire.RENAME2_IN.pack(1, 2, 0) + b"g\0d\0")
    assert memory.inodes[1].children["d"] == file


def test_link_names_the_old_node_in_its_body(kernel: KernelSide, file: int) -> None:
    """The header's node is the new parent."""
    assert entry(kernel.ok(Opcode.LINK, wire.LINK_IN.pack(file) + b"hard\0"))[0] == file


@pytest.mark.parametrize(
    ("flags", "is_flushed"),
    [
        (os.O_RDONLY, False),
        (os.O_WRONLY, True),
        (os.O_RDWR, True),
        (os.O_RDONLY | os.O_TRUNC, True),
    ],
)
def test_a_close_of_what_can_only_read_is_no_request(
    kernel: KernelSide, file: int, flags: int, is_flushed: bool
) -> None:
    """FOPEN_NOFLUSH; all other handles may have something to bring to the store."""
    _, open_flags, _ = opened(kernel.ok(Opcode.OPEN, wire.OPEN_IN.pack(flags, 0), file))
    assert bool(open_flags & wire.FOPEN_NOFLUSH) is not is_flushed
    body = wire.CREATE_IN.pack(flags | os.O_CREAT, 0o644, 0, 0) + b"new\0"
    _, open_flags, _ = opened(kernel.ok(Opcode.CREATE, body))
    assert not open_flags & wire.FOPEN_NOFLUSH


def test_create_answers_with_entry_and_handle(kernel: KernelSide, memory: Memory) -> None:
    """fuse_entry_out followed by fuse_open_out in one reply."""
    body = wire.CREATE_IN.pack(os.O_RDWR | os.O_CREAT, FILE, 0o22, 0) + b"new\0"
    answer = kernel.ok(Opcode.CREATE, body)
    assert len(answer) == wire.ENTRY_OUT.size + wire.OPEN_OUT.size
    assert entry(answer)[0] == memory.inodes[1].children["new"]
    assert opened(answer)[0] in memory.handles


def test_read_answers_with_the_bytes_alone(kernel: KernelSide, handle: int, file: int) -> None:
    """Fewer than asked at the end of the file, none past it."""
    assert kernel.ok(Opcode.READ, wire.READ_IN.pack(handle, 4, 100, 0, 0, 0, 0), file) == b"456789"
    assert kernel.ok(Opcode.READ, wire.READ_IN.pack(handle, 99, 9, 0, 0, 0, 0), file) == b""


def test_write_takes_its_data_from_the_request(
    kernel: KernelSide, memory: Memory, handle: int, file: int
) -> None:
    """fuse_write_out: the number of bytes."""
    body = wire.WRITE_IN.pack(handle, 8, 4, 0, 0, 0, 0) + b"wxyz"
    assert kernel.ok(Opcode.WRITE, body, file) == wire.WRITE_OUT.pack(4, 0)
    assert memory.inodes[file].content == b"01234567wxyz"


def test_a_write_by_others_takes_the_set_user_id_bit_off(
    kernel: KernelSide, memory: Memory, handle: int, file: int
) -> None:
    """FUSE_WRITE_KILL_SUIDGID; a mode set later is looked at again."""
    body = wire.WRITE_IN.pack(handle, 0, 1, wire.WRITE_KILL_SUIDGID, 0, 0, 0) + b"x"
    for _ in range(2):
        kernel.ok(Opcode.SETATTR, setattr_body(wire.FATTR_MODE, mode=0o4755), file)
        assert memory.inodes[file].mode & stat.S_ISUID
        kernel.ok(Opcode.WRITE, body, file)
        assert not memory.inodes[file].mode & stat.S_ISUID


def test_flush_and_fsync_report_their_errors(kernel: KernelSide, handle: int, file: int) -> None:
    """What close(2) and fsync(2) return."""
    assert kernel.ok(Opcode.FLUSH, wire.FLUSH_IN.pack(handle, 0, 0, 0), file) == b""
    assert kernel.ok(Opcode.FSYNC, wire.FSYNC_IN.pack(handle, 0, 0), file) == b""
    assert kernel.ok(Opcode.FSYNCDIR, wire.FSYNC_IN.pack(handle, 0, 0), file) == b""


def test_release_ends_a_handle(kernel: KernelSide, memory: Memory, handle: int, file: int) -> None:
    """It comes once, when the last descriptor is closed."""
    assert kernel.ok(Opcode.RELEASE, wire.RELEASE_IN.pack(handle, 0, 0, 0), file) == b""
    assert handle not in memory.handles


def test_fallocate_lseek_and_copy_work_on_handles(
    kernel: KernelSide, memory: Memory, handle: int, file: int
) -> None:
    """Each with its own layout of offsets."""
    kernel.ok(Opcode.FALLOCATE, wire.FALLOCATE_IN.pack(handle, 10, 2, 0, 0), file)
    seek = wire.LSEEK_IN.pack(handle, 3, os.SEEK_HOLE, 0)
    assert kernel.ok(Opcode.LSEEK, seek, file) == wire.LSEEK_OUT.pack(12)
    copy = wire.COPY_FILE_RANGE_IN.pack(handle, 0, file, handle, 5, 3, 0)
    assert kernel.ok(Opcode.COPY_FILE_RANGE, copy, file) == wire.WRITE_OUT.pack(3, 0)
    assert kernel.ok(Opcode.COPY_FILE_RANGE_64, copy, file) == struct.pack("=Q", 3)
    assert memory.inodes[file].content == b"0123401289\0\0"


def test_offsets_past_what_a_file_can_have_are_refused(
    kernel: KernelSide, handle: int, file: int
) -> None:
    """Nothing inside has to think about them."""
    far = wire.READ_IN.pack(handle, 1 << 63, 4096, 0, 0, 0, 0)
    assert kernel.error(Opcode.READ, far, file) == errno.EINVAL


def test_a_read_larger_than_agreed_is_refused(kernel: KernelSide, handle: int, file: int) -> None:
    """Memory per reader is bounded by what INIT said."""
    huge = wire.READ_IN.pack(handle, 0, 1 << 30, 0, 0, 0, 0)
    assert kernel.error(Opcode.READ, huge, file) == errno.EINVAL


def test_ioctl_is_enotty(kernel: KernelSide, file: int) -> None:
    """What a program takes for "not a terminal, no such thing here"."""
    assert kernel.error(Opcode.IOCTL, bytes(32), file) == errno.ENOTTY


def test_statfs_answers_in_blocks(kernel: KernelSide) -> None:
    """Fragment size equals block size."""
    fields = wire.KSTATFS.unpack(kernel.ok(Opcode.STATFS))
    assert fields[5:8] == (4096, 255, 4096)


def test_syncfs_reaches_the_filesystem(kernel: KernelSide, memory: Memory) -> None:
    """It is answered when everything dirty is uploaded."""
    assert kernel.ok(Opcode.SYNCFS, bytes(8)) == b"" and memory.calls["syncfs"] == 1


def test_xattrs_are_set_listed_and_measured(kernel: KernelSide, file: int) -> None:
    """Size 0 asks for the size, a buffer too small is ERANGE; values may hold NULs."""
    body = wire.SETXATTR_IN.pack(3, 0, 0, 0) + b"user.a\0" + b"x\0y"
    assert kernel.ok(Opcode.SETXATTR, body, file) == b""
    get = b"user.a\0"
    size = kernel.ok(Opcode.GETXATTR, wire.GETXATTR_IN.pack(0, 0) + get, file)
    assert size == wire.GETXATTR_OUT.pack(3, 0)
    assert kernel.ok(Opcode.GETXATTR, wire.GETXATTR_IN.pack(9, 0) + get, file) == b"x\0y"
    small = wire.GETXATTR_IN.pack(2, 0)
    assert kernel.error(Opcode.GETXATTR, small + get, file) == errno.ERANGE
    assert kernel.ok(Opcode.LISTXATTR, wire.GETXATTR_IN.pack(99, 0), file) == b"user.a\0"
    assert kernel.ok(Opcode.REMOVEXATTR, b"user.a\0", file) == b""


def test_setxattr_has_a_short_header_where_the_long_one_was_not_agreed(
    memory: Memory, file: int
) -> None:
    """Without FUSE_SETXATTR_EXT the struct ends after its flags."""
    side = KernelSide(memory)
    side.init(flags=0)
    side.ok(Opcode.SETXATTR, wire.SETXATTR_IN_COMPAT.pack(1, 0) + b"user.b\0v", file)
    side.close()
    assert memory.inodes[file].xattrs == {"user.b": b"v"}


def records(stream: bytes, head: int = 0) -> Iterator[tuple[bytes, str, int, int]]:
    """Walk a directory stream: what stands before each fuse_dirent, name, offset, type."""
    while stream:
        _, offset, length, kind = wire.DIRENT.unpack_from(stream, head)
        start = head + wire.DIRENT.size
        yield stream[:head], os.fsdecode(stream[start : start + length]), offset, kind
        stream = stream[wire.record_size(length, start) :]


def read_directory(kernel: KernelSide, opcode: Opcode, head: int, room: int) -> list[str]:
    """Read a whole directory with answers of at most `room` bytes."""
    handle, names, offset = opened(kernel.ok(Opcode.OPENDIR, bytes(8)))[0], [], 0
    while True:
        body = wire.READ_IN.pack(handle, offset, room, 0, 0, 0, 0)
        stream = kernel.ok(opcode, body)
        assert len(stream) <= room
        if not stream:
            kernel.ok(Opcode.RELEASEDIR, wire.RELEASE_IN.pack(handle, 0, 0, 0))
            return names
        for _, name, offset, _ in records(stream, head):  # noqa: B007 - continues from the last
            names.append(name)


@pytest.mark.parametrize(
    ("opcode", "head"), [(Opcode.READDIR, 0), (Opcode.READDIRPLUS, wire.ENTRY_OUT.size)]
)
@pytest.mark.parametrize("room", [200, 1000, 4096, 60000])
def test_a_directory_stream_tells_each_name_once(
    kernel: KernelSide, memory: Memory, opcode: Opcode, head: int, room: int
) -> None:
    """However small the answers: what doesn't fit comes first in the next one."""
    names = [f"name-{'x' * (i % 9)}-{i}" for i in range(100)]
    for name in names:
        memory.mkdir(1, name, 0o755, Caller(0, 0))
    assert read_directory(kernel, opcode, head, room) == [".", "..", *names]


def test_an_answer_of_a_directory_is_one_question(kernel: KernelSide, memory: Memory) -> None:
    """The filesystem journals what it told by answers: the last one may be asked for again."""
    for number in range(100):
        memory.mkdir(1, f"{number}", 0o755, Caller(0, 0))
    handle = opened(kernel.ok(Opcode.OPENDIR, bytes(8)))[0]
    kernel.ok(Opcode.READDIR, wire.READ_IN.pack(handle, 0, 2000, 0, 0, 0, 0))
    assert memory.calls["readdir"] == 1


def test_readdirplus_takes_a_reference_for_what_it_sends_only(
    kernel: KernelSide, memory: Memory
) -> None:
    """One for each record in the answer, none for `.` and `..`, none for what didn't fit."""
    for name in "abcdef":
        memory.mkdir(1, name, 0o755, Caller(0, 0))
    memory.lookups.clear()
    handle = opened(kernel.ok(Opcode.OPENDIR, bytes(8)))[0]
    stream = kernel.ok(Opcode.READDIRPLUS, wire.READ_IN.pack(handle, 0, 800, 0, 0, 0, 0))
    sent = [entry(head)[0] for head, *_ in records(stream, wire.ENTRY_OUT.size)]
    assert sent[:2] == [0, 0] and len(sent) == 5
    assert dict(memory.lookups) == dict.fromkeys(sent[2:], 1)


def test_an_opcode_from_the_future_is_enosys_and_logged_once(
    kernel: KernelSide, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel then stops asking, so one line is enough."""
    caplog.set_level(logging.INFO)
    for opcode in (9999, 9999, Opcode.BMAP):
        assert kernel.error(opcode, bytes(64)) == errno.ENOSYS
    told = [record for record in caplog.messages if "not supported" in record]
    assert len(told) == 2 and "opcode 9999" in told[0] and "BMAP" in told[1]


def test_destroy_is_answered(kernel: KernelSide) -> None:
    """The kernel waits for it before the superblock goes."""
    assert kernel.ok(Opcode.DESTROY, node=0) == b""


def test_extensions_after_the_body_are_left_out(kernel: KernelSide, memory: Memory) -> None:
    """total_extlen counts eight-byte units at the end that no handler must take for data."""
    body = wire.MKDIR_IN.pack(0o755, 0) + b"ext\0" + b"\xff" * 16
    size = wire.IN_HEADER.size + len(body)
    kernel.raw(wire.IN_HEADER.pack(size, Opcode.MKDIR, 2, 1, 0, 0, 0, 2, 0) + body)
    assert kernel.receive()[0] == 0 and "ext" in memory.inodes[1].children


def test_a_header_cut_short_is_dropped(
    kernel: KernelSide, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nobody to answer."""
    kernel.raw(b"\x10\0\0\0")
    assert kernel.silent()
    for _ in range(500):  # another reader answered, and this one may not have logged yet
        if "malformed" in caplog.text:
            return
        time.sleep(0.01)
    pytest.fail("nothing was logged")


@pytest.mark.parametrize("stated", [0, 39, 41, 1 << 31])
def test_a_header_that_lies_about_its_length_is_eio(kernel: KernelSide, stated: int) -> None:
    """Nothing behind it can be trusted."""
    kernel.raw(wire.IN_HEADER.pack(stated, Opcode.STATFS, 6, 1, 0, 0, 0, 0, 0))
    assert kernel.receive() == (-errno.EIO, 6, b"")


def test_bodies_cut_short_are_eio(kernel: KernelSide) -> None:
    """Each opcode that has a body, with none."""
    bodiless = {Opcode.READLINK, Opcode.STATFS, Opcode.SYNCFS, Opcode.DESTROY, Opcode.FSYNCDIR}
    bodiless |= {Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT, Opcode.IOCTL, Opcode.OPENDIR}
    for opcode in set(Opcode) - bodiless:
        assert kernel.error(opcode) in (errno.EIO, errno.ENOSYS), opcode.name


@pytest.mark.parametrize(
    ("failure", "number"),
    [
        (errors.NoSpace("full"), errno.ENOSPC),
        (OSError(errno.EDQUOT, "quota"), errno.EDQUOT),
        (OSError("no number"), errno.EIO),
        (OSError(100_000, "beyond what a reply can carry"), errno.EIO),
        (KeyError("a bug"), errno.EIO),
        (MemoryError(), errno.ENOMEM),
    ],
)
def test_whatever_a_call_raises_becomes_an_errno(
    kernel: KernelSide, memory: Memory, failure: Exception, number: int
) -> None:
    """No exception leaves a caller without an answer, or ends a reader."""

    def fail() -> None:
        raise failure

    memory.statfs = fail  # type: ignore[method-assign,assignment] # our own fake's method
    assert kernel.error(Opcode.STATFS) == number
    assert kernel.silent()


def test_init_answers_a_newer_major_version_with_ours(memory: Memory) -> None:
    """The kernel then sends INIT again."""
    side = KernelSide(memory)
    answer = side.ok(Opcode.INIT, wire.INIT_IN.pack(8, 0, 0, 0), node=0)
    assert wire.INIT_OUT.unpack(answer)[0] == 7 and not side.agreed
    assert side.init()[0] == 7 and len(side.agreed) == 1
    side.close()


def test_a_kernel_too_old_gets_an_error_not_a_mount(memory: Memory) -> None:
    """mount(2) has succeeded, so every use of the mount fails instead of hanging."""
    side = KernelSide(memory)
    body = wire.INIT_IN.pack(7, 12, 0, 0)
    assert side.error(Opcode.INIT, body, node=0) == errno.EIO
    side.close()


def test_a_session_that_takes_over_asks_for_a_resend_first(memory: Memory) -> None:
    """FUSE_NOTIFY_RESEND: unique 0, code 7, nothing else; then it serves without INIT."""
    side = KernelSide(memory, negotiated=resumed())
    assert side.receive() == (7, 0, b"")
    assert side.silent()
    side.close()


def test_a_resent_request_is_marked_and_its_unique_echoed(
    kernel: KernelSide, memory: Memory
) -> None:
    """The filesystem is told that the call may have been carried out already."""
    unique = 8 | wire.UNIQUE_RESEND
    kernel.send(Opcode.STATFS, unique=unique)
    assert kernel.receive()[1] == unique
    kernel.ok(Opcode.STATFS)
    assert memory.seen_resent == ["statfs"]


def test_requests_that_wait_do_not_hold_up_others(kernel: KernelSide, memory: Memory) -> None:
    """Up to the limit of readers, each waiting request has its own."""
    gate = memory.gates["statfs"] = threading.Event()
    waiting = {kernel.send(Opcode.STATFS) for _ in range(3)}
    assert kernel.silent()
    gate.set()
    assert {kernel.receive()[1] for _ in range(3)} == waiting


def readers() -> set[threading.Thread]:
    """Return the threads there are for requests."""
    return {each for each in threading.enumerate() if each.name == "fuse-reader"}


def burst(side: KernelSide, memory: Memory) -> set[threading.Thread]:
    """Have three requests wait at once, and a fourth answered; return the readers there were."""
    gate = memory.gates["statfs"] = threading.Event()
    waiting = [side.send(Opcode.STATFS) for _ in range(3)]
    assert side.silent()
    there = readers()
    gate.set()
    for _ in waiting:
        side.receive()
    return there


def test_readers_end_when_there_are_enough(kernel: KernelSide, memory: Memory) -> None:
    """After a burst the threads go back to the spare ones and the one that reads."""
    before = threading.active_count()
    burst(kernel, memory)
    assert soon(lambda: threading.active_count() <= before + 2) and kernel.silent()


def test_bursts_that_follow_each_other_start_no_readers(memory: Memory) -> None:
    """A reader that isn't needed rests for a while; at the end of the mount it ends at once."""
    others = readers()
    side = KernelSide(memory, rest=60.0)
    side.init()
    first = burst(side, memory)
    for _ in range(5):
        assert burst(side, memory) <= first
    side.close()
    assert readers() <= others


def test_the_longest_request_is_known(kernel: KernelSide, memory: Memory) -> None:
    """A probe can tell a mount that hangs."""
    session: KernelSession = kernel.session
    gate = memory.gates["statfs"] = threading.Event()
    kernel.send(Opcode.STATFS)
    kernel.silent()
    assert session.oldest_request() > 0
    gate.set()
    kernel.receive()
