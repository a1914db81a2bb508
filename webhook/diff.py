"""The difference of two JSON documents as a patch that only adds (RFC 6902).

General tools compare lists by position and turn an inserted container into a rewrite of all that
follow it. Here a list may only grow: every old item is matched, in order, by the same object, an
equal one, or one of the same `name`. Unchanged parts are recognised by identity, so the cost
depends on the change and not on the pod. Pure functions.
"""

from typing import Any

from webhook.errors import NotAddOnlyError

Operation = dict[str, Any]
_ABSENT = object()


def additions(old: Any, new: Any, replaceable: frozenset[str] = frozenset()) -> list[Operation]:
    """Return the operations from `old` to `new`: `add`, and `replace` at the given pointers only.

    The value at such a pointer is replaced as a whole; its index is that in the new list.
    NotAddOnlyError if `new` lacks or changes any other part of `old`.
    """
    found: list[Operation] = []
    _compare(old, new, "", found, replaceable)
    for operation in found:
        if operation["op"] != "add" and operation["path"] not in replaceable:
            raise NotAddOnlyError(f"the patch would replace {operation['path']}")
    return found


def _compare(
    old: Any, new: Any, path: str, found: list[Operation], replaceable: frozenset[str]
) -> None:
    if old is new:
        return
    if path in replaceable:
        if old != new:
            found.append({"op": "replace", "path": path, "value": new})
    elif isinstance(old, dict) and isinstance(new, dict):
        _compare_objects(old, new, path, found, replaceable)
    elif isinstance(old, list) and isinstance(new, list):
        _compare_lists(old, new, path, found, replaceable)
    elif old is None and new is not None:
        found.append({"op": "add", "path": path, "value": new})
    elif type(old) is not type(new) or old != new:
        found.append({"op": "replace", "path": path, "value": new})


def _compare_objects(
    old: dict[str, Any],
    new: dict[str, Any],
    path: str,
    found: list[Operation],
    replaceable: frozenset[str],
) -> None:
    kept, get = 0, old.get
    for key, value in new.items():
        before = get(key, _ABSENT)
        if before is value:
            kept += 1
        elif before is _ABSENT:
            found.append({"op": "add", "path": f"{path}/{_escaped(key)}", "value": value})
        else:
            kept += 1
            _compare(before, value, f"{path}/{_escaped(key)}", found, replaceable)
    if kept != len(old):
        lost = min(old.keys() - new.keys())
        raise NotAddOnlyError(f"the patch would remove {path}/{_escaped(lost)}")


def _compare_lists(
    old: list[Any], new: list[Any], path: str, found: list[Operation], replaceable: frozenset[str]
) -> None:
    position = 0
    for index, value in enumerate(new):
        if position < len(old) and _same_item(old[position], value):
            if old[position] is not value:
                _compare(old[position], value, f"{path}/{index}", found, replaceable)
            position += 1
        else:
            found.append({"op": "add", "path": f"{path}/{index}", "value": value})
    if position < len(old):
        raise NotAddOnlyError(f"the patch would remove {path}/{position}")


def _same_item(old: Any, new: Any) -> bool:
    if old is new:
        return True
    if isinstance(old, dict) and isinstance(new, dict) and "mountPath" not in old:
        return bool(old.get("name", old) == new.get("name", new))
    return bool(old == new)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
