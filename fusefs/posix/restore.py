"""Going on with the files of a former process: what was open, and what it could not upload.

`reopen` is used once, before anything is served; no requests.
"""

from collections.abc import Sequence

from fusefs.errors import Stale
from fusefs.names.tree import Node
from fusefs.objects import ObjectInfo
from fusefs.posix.openfiles import OpenFiles
from fusefs.session.sessionlog import PASSTHROUGH, LoggedFile, LoggedVersion, SessionState
from fusefs.write.filecontent import FileContent


def reopen(files: OpenFiles, state: SessionState, changed: Sequence[FileContent]) -> None:
    """Open again what was open: on the `changed` content, or on the version it was bound to."""
    begun = {logged.request: number for number, logged in state.files.items()}
    begun |= {logged.request: number for number, logged in state.directories.items()}
    files.start_after(state.last_handle, begun)
    for body in changed:
        _give_back(files, body, state)
    for number, logged in state.files.items():
        if not logged.flags & PASSTHROUGH:
            _open(files, number, logged)
    _pass_through(files, state)
    for body in changed:
        if body.unlinked and body.number not in files.open_contents().values():
            body.close()


def _give_back(files: OpenFiles, body: FileContent, state: SessionState) -> None:
    """Make changed content its file's again; a name is enough where no session goes on."""
    logged = state.nodes.get(body.node)
    same = logged is not None and logged.name == body.key.rpartition("/")[2]
    if logged is not None and (same or body.unlinked):
        node = files.tree.get(body.node)
    elif body.unlinked:
        return  # nobody has it open any more
    else:
        node = _named(files, body)
    if node.body is not None:
        return  # another version of the same key: just to be uploaded
    files.attach(node, body)
    if not node.gone and not body.unlinked:
        files.tree.made(node)


def found(files: OpenFiles, body: FileContent) -> None:
    """Make changed content that was found while serving its file's; it has no open handles."""
    if body.unlinked:
        body.close()
        return
    node = _named(files, body)
    with node.lock:
        if node.body is None:
            files.attach(node, body)
            files.tree.made(node)


def _named(files: OpenFiles, body: FileContent) -> Node:
    """Return the place in the tree of a file that the kernel doesn't know (any more)."""
    tree = files.tree
    *above, name = body.key.removeprefix(tree.prefix).split("/")
    with tree.lock:
        at = tree.root
        for directory in above:
            at = tree.place(at, directory, directory=True)
        node = tree.place(at, name, directory=False)
    body.placed(node.id)
    return node


def _open(files: OpenFiles, number: int, logged: LoggedFile) -> None:
    try:
        node = files.tree.get(logged.node)
    except Stale:
        return
    body = node.body
    version = logged.version
    if body is None or not (body.dirty or (version and body.etag == version.etag)):
        if version is None:
            return  # neither in S3 nor staged: calls on it answer EBADF
        body = _of_version(files, node, version)
        before = node.body
        files.attach(node, body)
        node.body = before or body
    if version is not None:
        body.logged_etag = version.etag
    files.reopened(number, node, body, logged.flags)


def _of_version(files: OpenFiles, node: Node, version: LoggedVersion) -> FileContent:
    info = ObjectInfo(version.key, version.size, version.etag, 0.0)
    posix = node.posix or files.lookup.posix(info, directory=False)
    body = files.contents.new(version.key, info, posix, node.id)
    body.unlinked = node.gone
    return body


def _pass_through(files: OpenFiles, state: SessionState) -> None:
    """Open again what the kernel reads by itself: apart from what its file has now or gets."""
    bodies: dict[tuple[int, LoggedVersion], FileContent] = {}
    for number, logged in state.files.items():
        if logged.version is None or not logged.flags & PASSTHROUGH:
            continue
        try:
            node = files.tree.get(logged.node)
        except Stale:
            continue
        body = bodies.get((logged.node, logged.version))
        if body is None:
            body = _of_version(files, node, logged.version)
            bodies[logged.node, logged.version] = body
        body.logged_etag = logged.version.etag
        files.reopened(number, node, body, logged.flags)
