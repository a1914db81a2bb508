"""The CSI node plugin against a kubelet over real gRPC, with real mounts."""

import json
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import pytest

from fusefs.kernel import mountcalls
from tests.fusefs.node.kubelet import FakeKubelet
from tests.fusefs.survival.application import Application

pytestmark = pytest.mark.mount


def refused(kubelet: FakeKubelet, *, read_only: bool = False, **changed: str) -> tuple[str, str]:
    """Return code and text of the error for a volume with other attributes than the webhook's."""
    pod = kubelet.pod()
    pod.make_volumes()
    with pytest.raises(grpc.RpcError) as caught:
        pod.publish(read_only=read_only, **changed)
    assert not pod.mounted()
    return caught.value.code().name, caught.value.details()


def test_a_pod_is_set_up_used_and_given_back(
    kubelet: FakeKubelet, application: Application
) -> None:
    """Registration, publication, a worker, an application, and nothing left at the end."""
    info = kubelet.register()
    assert (info.type, info.name) == ("CSIPlugin", "s3.mount")
    assert info.endpoint == str(kubelet.root / "plugins/s3.mount/csi.sock")
    assert list(info.supported_versions) == ["1.0.0"]
    assert kubelet.call("Node", "NodeGetInfo").node_id == "node-1"
    assert kubelet.call("Identity", "GetPluginInfo").name == "s3.mount"
    for service, method in (
        ("Identity", "Probe"),
        ("Identity", "GetPluginCapabilities"),
        ("Node", "NodeGetCapabilities"),
    ):
        assert kubelet.call(service, method).ByteSize() == 0, "nothing is announced"
    pod = kubelet.pod("one", "two")
    pod.start()
    for name in pod.names:
        assert application.do(f"open('{pod.target(name)}/file', 'w').write('{name}')") == "3"
    assert application.do(f"open('{pod.target('two')}/file').read()") == "'two'"
    pod.worker.terminate()
    assert pod.worker.wait(10) == 0
    for name in pod.names:
        pod.unpublish(name)
        assert not pod.mounted(name)
        assert not os.path.lexists(pod.target(name))


def mounts_below(path: str) -> list[tuple[str, str]]:
    """Return mountpoint and device of the FUSE mounts at a path; others come and go meanwhile."""
    return [each for each in mountcalls.fuse_mounts() if each[0].startswith(path)]


def test_publishing_twice_changes_nothing(kubelet: FakeKubelet, application: Application) -> None:
    """A kubelet that was restarted asks again; the mount, its worker and open files stay."""
    pod = kubelet.pod()
    pod.start()
    mounts = mounts_below(str(pod.target()))
    application.do(f"(file := open('{pod.target()}/file', 'w')).name")
    pod.publish()
    assert mounts_below(str(pod.target())) == mounts != []
    assert application.do("file.write('still there')") == "11"


def test_a_mount_whose_worker_never_came_is_published_again_and_given_back(
    kubelet: FakeKubelet,
) -> None:
    """No request is made to the mountpoint, which nobody answers."""
    pod = kubelet.pod()
    pod.make_volumes()
    for _ in range(2):
        pod.publish()
        assert pod.mounted()
    for _ in range(2):
        pod.unpublish()
        assert not os.path.lexists(pod.target())


def test_the_socket_volume_may_come_later(kubelet: FakeKubelet) -> None:
    """The kubelet makes the volumes of a pod at the same time: the plugin waits for that one."""
    pod = kubelet.pod()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(pod.publish)
        time.sleep(0.2)
        assert not asked.done()
        pod.make_volumes()
        asked.result(10)
    assert pod.mounted()


@pytest.mark.parametrize(
    "changed",
    [
        {"token": "0" * 64},
        {"nonce": "0" * 16},
        {"csi.storage.k8s.io/pod.name": "other"},
        {"mount": "two"},
        {"csi.storage.k8s.io/pod.namespace": "other"},
        {"csi.storage.k8s.io/serviceAccount.name": "other"},
        {"bucket": "any"},
        {"cache": "another's"},
    ],
    ids=lambda changed: next(iter(changed)).rpartition("/")[2],
)
def test_a_volume_that_the_webhook_did_not_write_is_refused(
    make_kubelet: Callable[..., FakeKubelet],
    shared_kubelet: FakeKubelet,
    changed: dict[str, str],
) -> None:
    """Another token, name, namespace, account, or a further attribute."""
    code, text = refused(shared_kubelet, **changed)
    assert code == "PERMISSION_DENIED"
    assert "wasn't written by the s3mount webhook" in text


def test_a_copied_volume_is_refused_while_its_pod_lives(kubelet: FakeKubelet) -> None:
    """Also by the next plugin; it is nobody's once the pod has ended."""
    pod, copy = kubelet.pod(), kubelet.pod()
    copy.nonce = pod.nonce
    for each in (pod, copy):
        each.make_volumes()
    pod.publish()
    for _ in range(2):
        with pytest.raises(grpc.RpcError) as caught:
            copy.publish()
        assert caught.value.code().name == "PERMISSION_DENIED"
        assert f"copied from the pod with uid {pod.uid}" in caught.value.details()
        assert not copy.mounted()
        kubelet.kill_plugin()
        kubelet.start_plugin()
    pod.publish()
    pod.unpublish()
    copy.publish()
    assert copy.mounted()


def test_a_kubelet_without_pod_info_is_told_why(shared_kubelet: FakeKubelet) -> None:
    """The CSIDriver object may be another's."""
    code, text = refused(shared_kubelet, **{"csi.storage.k8s.io/ephemeral": ""})
    assert code == "FAILED_PRECONDITION"
    assert "CSIDriver" in text


def test_who_connects_and_says_nothing_holds_up_nobody(shared_kubelet: FakeKubelet) -> None:
    """Nor who sends half of what HTTP/2 begins with: a volume is published meanwhile."""
    paths = [path for path in shared_kubelet.root.rglob("*.sock") if "plugins" in str(path)]
    assert len(paths) == 2
    with ExitStack() as stack:
        for number, path in enumerate(40 * paths):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(10)
            client.connect(str(path))
            client.sendall(b"PRI * HTTP" * (number % 2))
        pod = shared_kubelet.pod()
        pod.make_volumes()
        pod.publish()
        assert pod.mounted()
        pod.unpublish()


def test_only_a_pods_own_volume_is_a_place(shared_kubelet: FakeKubelet) -> None:
    """A path elsewhere, of another pod, or of another volume is refused."""
    code, _ = refused(shared_kubelet, **{"csi.storage.k8s.io/pod.uid": "another"})
    assert code == "INVALID_ARGUMENT"
    with pytest.raises(grpc.RpcError) as caught:
        shared_kubelet.call("Node", "NodeUnpublishVolume", volume_id="x", target_path="/etc")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_link_in_place_of_the_socket_volume_is_not_followed(
    shared_kubelet: FakeKubelet,
) -> None:
    """The plugin makes no socket outside the pod, whatever somebody placed there."""
    pod = shared_kubelet.pod()
    elsewhere = shared_kubelet.root / f"elsewhere-{pod.uid}"
    elsewhere.mkdir()
    pod.volume.parent.mkdir(parents=True)
    pod.volume.symlink_to(elsewhere)
    with pytest.raises(grpc.RpcError) as caught:
        pod.publish()
    assert "s3-mount-socket of pod team/reader can't be used" in caught.value.details()
    assert list(elsewhere.iterdir()) == []
    assert not pod.mounted()


def test_many_pods_are_published_at_once(kubelet: FakeKubelet) -> None:
    """Twenty pods, half of whose volumes come late, wait for their own only."""
    pods = [kubelet.pod() for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(pod.publish) for pod in pods]
        for pod in pods[::2]:
            pod.make_volumes()
        for each in asked[::2]:
            each.result(10)
        for pod in pods[1::2]:
            pod.make_volumes()
        for each in asked:
            each.result(10)
    assert all(pod.mounted() for pod in pods)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda pod: pod.unpublish(), pods))
    assert not any(pod.mounted() for pod in pods)


def test_a_read_only_volume_is_mounted_read_only(
    kubelet: FakeKubelet, application: Application
) -> None:
    """By the kernel, also after the plugin was restarted and had to mount anew."""
    pod = kubelet.pod()
    pod.make_volumes()
    pod.publish(read_only=True)
    pod.start_worker()
    pod.wait_until_well()
    tried = f"open('{pod.target()}/file', 'w')"
    assert "Read-only" in application.do(tried)
    kubelet.kill_plugin()
    pod.worker.kill()
    pod.worker.wait(10)
    kubelet.start_plugin()
    pod.start_worker()
    pod.wait_until_well()
    assert "Read-only" in application.do(tried)


def test_the_log_names_pod_and_mount(kubelet: FakeKubelet) -> None:
    """One line for a publication, as JSON."""
    pod = kubelet.pod()
    pod.make_volumes()
    pod.publish()
    lines = [json.loads(line) for line in kubelet.log.read_text().splitlines()]
    told = [line for line in lines if line["event"] == "published"]
    assert [(line["pod"], line["mount"]) for line in told] == [("team/reader", "one")]
