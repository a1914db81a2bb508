"""The object that has a directory's own attributes, in each form that tools have for it.

`name/` is ours, s3fs's and the console's. Old s3fs and others store an empty object `name` of type
`application/x-directory`, Hadoop and old tools `name_$folder$`. A form that isn't ours is looked
for where something points to it. Any thread; no state but the switch.
"""

from collections.abc import Callable

from fusefs import attributes, keys
from fusefs.errors import NotFound
from fusefs.names.tree import Node, Tree
from fusefs.objects import ObjectInfo


class Markers:
    """Finds markers; `head` asks S3 for an object."""

    def __init__(self, tree: Tree, head: Callable[[str], ObjectInfo]) -> None:
        self._tree = tree
        self._head = head
        # Nothing in a directory's own key points to `name_$folder$`, so it is asked for only where
        # the bucket is known to have such markers, or `-o compat_dir` says so.
        self.folders = False

    def of(self, node: Node) -> ObjectInfo | None:
        """Return a directory's marker, None where it has none."""
        key = self._tree.key(node)
        known = [node.info.key] if node.info is not None else []
        for form in dict.fromkeys([*known, key, *self._listed(node, key)]):
            found = self._there(form)
            if found is not None and (form != key[:-1] or is_old_form(found)):
                return found
        return None

    def alone(self, key: str) -> ObjectInfo | None:
        """Return the marker `KEY_$folder$` of a directory that has no other trace."""
        return self._there(key + keys.FOLDER_SUFFIX) if self.folders else None

    def others(self, node: Node) -> set[str]:
        """Return the keys of a directory's markers in other forms that are known to be such."""
        key = self._tree.key(node)
        found = {form for form in self._listed(node, key) if form.endswith(keys.FOLDER_SUFFIX)}
        if node.info is not None and node.info.key != key:
            found.add(node.info.key)
        return found

    def _listed(self, node: Node, key: str) -> list[str]:
        """Return the keys in other forms that a listing has; `name` may be a file beside it."""
        folder = key[:-1] + keys.FOLDER_SUFFIX
        listing = node.parent.listing if node.parent is not None else None
        if listing is None:
            return [folder] if self.folders else []
        plain = [key[:-1]] if listing.has_key(node.name) else []
        return plain + ([folder] if listing.has_key(node.name + keys.FOLDER_SUFFIX) else [])

    def _there(self, key: str) -> ObjectInfo | None:
        try:
            return self._head(key)
        except NotFound:
            return None


def is_old_form(info: ObjectInfo) -> bool:
    """Say whether an object without a slash is a directory: empty, and of this type."""
    kind = info.headers.system.get("ContentType", "") if info.headers is not None else ""
    return info.size == 0 and kind.partition(";")[0] == attributes.DIRECTORY_TYPE
