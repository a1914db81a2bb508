"""A kubelet's side of node mode on this machine: its directories, pods, calls over real gRPC.

The plugin is the real process. What of a kubelet isn't here: containers, the API server.
"""

import json
import secrets
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import grpc

from fusefs.kernel import mountcalls
from fusefs.node.messages import CSI, REGISTRATION, message_class
from tests.fusefs.survival.pod import Pod
from webhook.platform.nodekey import NodeKey, SignedVolume, bound_to

KEY = "k" * 32
TIMEOUT = 20.0


class Call:
    """Calls the methods of one socket."""

    def __init__(self, path: str) -> None:
        self._channel = grpc.insecure_channel(f"unix:{path}")

    def __call__(self, package: str, service: str, method: str, request: str, **fields: Any) -> Any:
        answers = {
            "GetInfo": "PluginInfo",
            "NotifyRegistrationStatus": "RegistrationStatusResponse",
        }
        ask = self._channel.unary_unary(
            f"/{package}.{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class(
                package, answers.get(method, f"{method}Response")
            ).FromString,
        )
        message = message_class(package, request)(**fields)
        return ask(message, timeout=TIMEOUT, wait_for_ready=True)

    def close(self) -> None:
        self._channel.close()


class FakeKubelet:
    """The kubelet of one node below `root`, and the plugin that it knows."""

    def __init__(self, root: Path, worker_uid: int = 0) -> None:
        self.root = root
        self.worker_uid = worker_uid
        for name in ("pods", "plugins", "plugins_registry"):
            (root / name).mkdir()
        self.key_file = root / "key"
        self.key_file.write_text(KEY + "\n")
        self.log = root / "plugin.log"
        self.plugin: subprocess.Popen[bytes] | None = None
        self.cache_size = 1 << 30
        self.pods: list[NodePod] = []
        self._call: Call | None = None

    def start_plugin(self) -> None:
        """Start the plugin, as the DaemonSet does, and wait until it can be asked."""
        told = ["--node-name", "node-1", "--kubelet-directory", str(self.root)]
        told += ["--cache-size", str(self.cache_size), "--cache-keep-free", "0"]
        told += ["--key-file", str(self.key_file), "--worker-uid", str(self.worker_uid)]
        ready = self.log.read_text().count('"ready"') if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.plugin = subprocess.Popen(
                [sys.executable, "-m", "fusefs", "node", *told], stderr=log
            )
        self.wait_for_log('"ready"', ready + 1)

    def wait_for_log(self, text: str, count: int = 1, timeout: float = 15.0) -> None:
        deadline = time.monotonic() + timeout
        while self.log.read_text().count(text) < count:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def kill_plugin(self) -> None:
        """Kill -9 the plugin; nobody starts it again."""
        assert self.plugin is not None
        self.plugin.kill()
        self.plugin.wait(10)

    def stop_plugin(self) -> int:
        """End the plugin as an upgrade does; return its exit code."""
        assert self.plugin is not None
        self.plugin.send_signal(signal.SIGTERM)
        return self.plugin.wait(20)

    def register(self) -> Any:
        """Find the plugin as a kubelet does; return what it said of itself."""
        found = Call(str(self.root / "plugins_registry/s3.mount-reg.sock"))
        info = found(REGISTRATION, "Registration", "GetInfo", "InfoRequest")
        told = {"plugin_registered": True}
        found(
            REGISTRATION, "Registration", "NotifyRegistrationStatus", "RegistrationStatus", **told
        )
        found.close()
        return info

    def call(self, service: str, method: str, **fields: Any) -> Any:
        """Call a method of the CSI."""
        if self._call is None:
            self._call = Call(str(self.root / "plugins/s3.mount/csi.sock"))
        return self._call(CSI, service, method, f"{method}Request", **fields)

    def pod(self, *names: str, **options: Any) -> "NodePod":
        """Make the directories of a pod that has mounts of these names."""
        return self.add(NodePod(self, names or ("one",), **options))

    def add(self, pod: "NodePod") -> "NodePod":
        """Have a pod cleaned up at the end."""
        self.pods.append(pod)
        return pod

    def clean_up(self) -> None:
        """End whatever a failed test left; nothing may hang."""
        if self._call is not None:
            self._call.close()
        for pod in self.pods:
            pod.clean_up()
        if self.plugin is not None and self.plugin.poll() is None:
            self.kill_plugin()
        mountcalls.unmount_stale(str(self.root))


class NodePod(Pod):
    """A pod of a node: its volumes, made and given back by the kubelet, and its worker.

    `cache` is what its mounts share with others, as the webhook writes it; None: nothing.
    """

    namespace, account, name = "team", "default", "reader"
    cache: str | None = None

    def __init__(self, kubelet: FakeKubelet, names: tuple[str, ...], **options: Any) -> None:
        self.uid = str(uuid.uuid4())
        self.nonce = secrets.token_hex(8)
        self.kubelet = kubelet
        base = kubelet.root / "containers" / self.uid
        base.mkdir(parents=True, mode=0o755)
        self.names = names
        super().__init__(base, names, worker_uid=kubelet.worker_uid, **options)
        self.directory = kubelet.root / "pods" / self.uid
        self.directory.mkdir()
        self.volume = self.directory / "volumes/kubernetes.io~empty-dir/s3-mount-socket"
        (base / "in").symlink_to(self.volume)  # the worker's path of it: a short one
        self.keeper_socket = base / "in/keeper.sock"

    def make_volumes(self) -> None:
        """Make the emptyDir of the sockets, as the kubelet does at some time."""
        self.volume.mkdir(parents=True)
        self.volume.chmod(0o777)

    def target(self, name: str = "one") -> Path:
        """Return the mount's place on the node."""
        return self.directory / f"volumes/kubernetes.io~csi/s3-mount-bucket-{name}/mount"

    def root(self, name: str = "one") -> Path:
        """Return the directory that the worker serves as a mount."""
        return self.bus.parent / "data" / name

    def context(self, name: str, *, read_only: bool = False) -> dict[str, str]:
        """Return the volume's attributes: the webhook's, and the pod's that the kubelet adds."""
        key = NodeKey(KEY)
        info = {
            "pod.uid": self.uid,
            "pod.name": self.name,
            "pod.namespace": self.namespace,
            "serviceAccount.name": self.account,
            "ephemeral": "true",
        }
        bound = bound_to(self.name, "")
        told = (self.namespace, self.account, bound, self.nonce, name, read_only, self.cache)
        ours = {"mount": name, "nonce": self.nonce, "token": key.token(SignedVolume(*told))}
        ours |= {} if self.cache is None else {"cache": self.cache}
        return ours | {f"csi.storage.k8s.io/{each}": value for each, value in info.items()}

    def publish(self, name: str = "one", *, read_only: bool = False, **changed: str) -> None:
        """Ask for a volume; grpc.RpcError when it is refused."""
        target = self.target(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        (target.parent / "vol_data.json").write_text(json.dumps({"driverName": "s3.mount"}))
        self.kubelet.call(
            "Node",
            "NodePublishVolume",
            volume_id=f"csi-{self.uid}",
            target_path=str(target),
            readonly=read_only,
            volume_context=self.context(name, read_only=read_only) | changed,
        )

    def unpublish(self, name: str = "one") -> None:
        """Give a volume back; grpc.RpcError when that fails."""
        path = str(self.target(name))
        self.kubelet.call("Node", "NodeUnpublishVolume", volume_id="csi", target_path=path)

    def start(self) -> None:
        """Set the pod up, as a kubelet does, until its worker serves."""
        self.make_volumes()
        for name in self.names:
            self.publish(name)
        self.start_worker()
        self.wait_until_well()

    def mounted(self, name: str = "one") -> bool:
        """Return whether the mount table has it."""
        return str(self.target(name)) in {path for path, _ in mountcalls.fuse_mounts()}

    def clean_up(self) -> None:
        super().clean_up()
        mountcalls.unmount_stale(str(self.directory))
