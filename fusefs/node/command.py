"""The arguments of `python -m fusefs node`, and the life of the plugin's process.

At SIGTERM it stops answering and exits; mounts stay, and workers go on serving them. The next
plugin gets the descriptors back from the workers. Main thread only.
"""

import argparse
import logging
import os
import resource
import signal
import threading
from pathlib import Path

from fusefs import __version__, termination
from fusefs.errors import SetupError
from fusefs.keeper.keptmount import log
from fusefs.node.csidriver import CsiDriver, registration
from fusefs.node.nodemounts import NodeMounts
from fusefs.node.pluginserver import PluginServer
from fusefs.node.settings import KUBELET, NAME, NodeSettings, parse_percent, parse_size
from fusefs.node.sharing import CacheLimits, Sharing
from fusefs.node.token import TokenKeys
from fusefs.probefiles import ProbeFile

STACK_BYTES = 512 << 10  # of each thread: there is one for each pod
SETUP_FAILED = 2


class _LogLines(logging.Handler):
    """Writes the records of `logging`, of the cache for one, in the form of our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        log(record.levelname.lower(), record.getMessage())


def main(arguments: list[str]) -> int:
    """Run the command `node`; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fusefs node")
    parser.add_argument("--node-name", default=os.environ.get("NODE_NAME", ""))
    parser.add_argument("--kubelet-directory", default=KUBELET, help=f"default: {KUBELET}")
    parser.add_argument("--key-file", type=Path, required=True, help="keys of the webhook")
    parser.add_argument("--worker-uid", type=int, default=65534)
    parser.add_argument(
        "--cache-size", type=parse_size, default=0, help="of the cache that pods share; 0: none"
    )
    parser.add_argument(
        "--cache-keep-free",
        type=parse_percent,
        default=20,
        help="percent of the cache's disk that are left to others (default: 20)",
    )
    args = parser.parse_args(arguments)
    if not args.node_name:
        parser.error("no node: set NODE_NAME or give --node-name")
    settings = NodeSettings(
        args.node_name,
        args.kubelet_directory.rstrip("/"),
        args.key_file,
        args.worker_uid,
        args.cache_size,
        args.cache_keep_free,
    )
    try:
        run(settings)
    except (SetupError, OSError) as error:
        log("critical", str(error))
        termination.write(str(error))
        return SETUP_FAILED
    return 0


def run(settings: NodeSettings) -> None:
    """Serve until SIGTERM or SIGINT; SetupError or OSError where it can't start."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    threading.stack_size(STACK_BYTES)
    logging.getLogger().addHandler(_LogLines())
    keys = TokenKeys(settings.key_file)
    keys.keys()
    files = ProbeFile(settings.plugin, "node")
    limits = CacheLimits(settings.cache, settings.cache_size, settings.cache_keep_free)
    sharing = Sharing(limits, settings.worker_uid)
    mounts = NodeMounts(settings.pods, settings.worker_uid, sharing)
    mounts.restore()
    driver = CsiDriver(__version__, settings.node, settings.pods, mounts, keys)
    socket = f"{settings.plugin}/csi.sock"
    servers = [PluginServer(socket, driver.methods())]
    # Last: from here on the kubelet asks.
    servers.append(PluginServer(settings.registration, registration(socket), threads=1))
    files.ready(True)
    log("info", "ready", driver=NAME, node=settings.node, version=__version__)
    stop.wait()
    files.ready(False)
    for server in servers:
        server.stop()
    mounts.close()
    log("info", "stopped")
