"""Whether a container that bears one of our names is what we would write, or somebody else's.

A review sees its own work again: after other webhooks, in a restored backup, in a copied pod. What
the API server and the webhooks of clouds and meshes add to every container is let through;
anything else makes the container a stranger's, and a stranger's is never adopted: it would run
with the rights of ours. Pure functions.
"""

from typing import Any

# Set by the API server, or by its plugins (LimitRanger, AlwaysPullImages), on containers at large.
_DEFAULTED = {
    "imagePullPolicy",
    "resources",
    "terminationMessagePath",
    "terminationMessagePolicy",
}
# Where the API server and the clouds' identity webhooks mount their tokens.
_TOKEN_DIRECTORIES = ("/var/run/secrets/", "/run/secrets/")
# These would change which code our interpreter runs.
_CODE_VARIABLES = ("LD_", "PYTHON", "S3MOUNT_")


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """The fields in which a container isn't ours; empty when it is."""
    compared = wanted.keys() - _DEFAULTED - _LISTS.keys()
    strange = [key for key in compared if found.get(key) != wanted[key]]
    strange += [key for key in found if key not in wanted and not _tolerated(key, found[key])]
    if not _contains(found.get("resources"), wanted.get("resources")):
        strange.append("resources")
    strange += [
        key
        for key, is_harmless in _LISTS.items()
        if not _extends(found.get(key) or [], wanted.get(key) or [], is_harmless)
    ]
    return sorted(set(strange))


def _tolerated(key: str, value: Any) -> bool:
    return key in _DEFAULTED or key in _LISTS or value in (None, [], {})


def _contains(found: Any, wanted: Any) -> bool:
    """Whether everything wanted is there: a LimitRange fills in what a container leaves open."""
    if not isinstance(wanted, dict):
        return wanted is None or bool(found == wanted)
    return isinstance(found, dict) and all(
        _contains(found.get(key), value) for key, value in wanted.items()
    )


def _extends(found: list[Any], wanted: list[Any], is_harmless: Any) -> bool:
    """Everything wanted is there, and what is more is harmless."""
    more = [item for item in found if item not in wanted]
    return all(item in found for item in wanted) and all(is_harmless(item) for item in more)


def _harmless_variable(item: dict[str, Any]) -> bool:
    return not item["name"].startswith(_CODE_VARIABLES)


def _harmless_mount(item: dict[str, Any]) -> bool:
    return item["mountPath"].startswith(_TOKEN_DIRECTORIES) and bool(item.get("readOnly"))


_LISTS = {"env": _harmless_variable, "volumeMounts": _harmless_mount}
