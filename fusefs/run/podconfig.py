"""Translate a pod's configuration, which the webhook writes, to a command line per mount.

    {"version": 1, "mounts": [{"name": "default", "mountpoint": "/bus/default", "bucket": "b", …}]}

Each mount's keys become options of `fusefs mount` and are parsed by the same code, so that both
accept the same values and fail with the same errors. A supervisor on one machine writes the key
`arguments` instead: the words of its own command line. Pure.
"""

from collections.abc import Callable, Mapping, Sequence

from fusefs.errors import SetupError
from fusefs.mount.settings import MountSettings

# Parses a command line to settings; raises SetupError.
SettingsOf = Callable[[Sequence[str]], MountSettings]

OPTIONS = {
    "endpoint": "--endpoint-url",
    "region": "--region",
    "credentialsDir": "--credentials-dir",
    "cacheDir": "--cache-dir",
    "cacheSize": "--cache-size",
    "nodeCache": "--node-cache",
    "memoryLimit": "--memory-limit",
    "uid": "--uid",
    "gid": "--gid",
    "fileMode": "--file-mode",
    "dirMode": "--dir-mode",
    "metadata": "--metadata",
    "attrTtl": "--attr-ttl",
    "negativeTtl": "--negative-ttl",
    "contentTtl": "--content-ttl",
    "passthrough": "--passthrough",
    "onConflict": "--on-conflict",
    "retryFor": "--retry-for",
    "fullWait": "--full-wait",
    "options": "-o",
}
OTHERS = frozenset({"name", "mountpoint", "bucket", "prefix", "readOnly", "arguments"})


def arguments(config: Mapping[str, object]) -> Sequence[str]:
    """Return the command line of one mount; raises SetupError naming what is wrong."""
    given = config.get("arguments")
    if isinstance(given, list):
        return [str(word) for word in given]
    name = config.get("name", "?")
    if unknown := sorted(set(config) - set(OPTIONS) - OTHERS):
        raise SetupError(f"mount {name}: unknown settings {', '.join(unknown)}")
    try:
        bucket, mountpoint = str(config["bucket"]), str(config["mountpoint"])
    except KeyError as error:
        raise SetupError(f"mount {name}: the setting {error} is missing") from error
    prefix = str(config.get("prefix") or "").lstrip("/")
    words = [
        option if config[key] is True else f"{option}={config[key]}"
        for key, option in _given(config)
        if option != "-o"
    ]
    if config.get("options"):
        words += ["-o", str(config["options"])]
    if config.get("readOnly"):
        words.append("--read-only")
    return ["mount", *words, "--", f"{bucket}/{prefix}" if prefix else bucket, mountpoint]


def _given(config: Mapping[str, object]) -> list[tuple[str, str]]:
    given = {key for key, value in config.items() if value not in (None, "") and value is not False}
    return [(key, option) for key, option in OPTIONS.items() if key in given]
