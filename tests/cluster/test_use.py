"""What application teams do: every kind of workload gets its bucket."""

from __future__ import annotations

from functools import partial

from tests.cluster import modes, pods
from tests.cluster.cluster import until
from tests.cluster.conftest import Place


def test_example_pod(place: Place) -> None:
    """A pod sees the bucket, what it writes is an object, and no event warns of its start."""
    place.bucket.put("greeting", b"hello\n")
    place.start("example")
    assert place.sh("example", "cat /data/greeting; echo from-pod > /data/answer") == "hello\n"
    warnings = ("get", "events", "--field-selector=type=Warning", "-o", "name")
    assert place.cluster.must("-n", place.namespace, *warnings) == ""
    assert place.bucket.get("answer") == b"from-pod\n"
    place.end("example")


def test_two_pods_share_a_bucket_both_ways(place: Place) -> None:
    """What one pod closes the other opens, a name it knew to be absent after --attr-ttl (1 s)."""
    place.start("one")
    place.start("two")
    for writer, reader in (("one", "two"), ("two", "one")):
        file = f"/data/deep/{writer}/file"
        place.sh(reader, "ls /data /data/deep 2>/dev/null || true")
        place.sh(writer, f"mkdir -p /data/deep/{writer}; echo {writer} > {file}")
        read = partial(place.sh, reader, f"cat {file} 2>/dev/null || true")
        until("the other's name", read, 5)
        assert read() == f"{writer}\n"
        place.sh(writer, f"echo changed > {file}")
        assert read() == "changed\n"
    place.end("one", "two")


def test_deployment_and_rollout(place: Place) -> None:
    """A Deployment rolls out, and rolls again, with the bucket in each replica."""
    body = pods.workload("Deployment", "web", place.namespace, place.template(), replicas=2)
    place.cluster.create(body)
    rollout = ("-n", place.namespace, "rollout")
    place.cluster.must(*rollout, "status", "deployment/web", "--timeout=120s")
    place.cluster.must(*rollout, "restart", "deployment/web")
    place.cluster.must(*rollout, "status", "deployment/web", "--timeout=180s", seconds=190)


def test_stateful_set_rolls_one_by_one(place: Place) -> None:
    """Each pod of a StatefulSet ends before its successor starts, and finds what it wrote."""
    command = ["sh", "-c", f'echo "$HOSTNAME" >> /data/starts-$HOSTNAME; {pods.SLEEP[-1]}']
    template = place.template(command, terminationGracePeriodSeconds=20)
    place.cluster.create(
        pods.workload("StatefulSet", "db", place.namespace, template, replicas=2, serviceName="db")
    )
    rollout = ("-n", place.namespace, "rollout")
    place.cluster.must(*rollout, "status", "statefulset/db", "--timeout=180s", seconds=190)
    place.cluster.must(*rollout, "restart", "statefulset/db")
    place.cluster.must(*rollout, "status", "statefulset/db", "--timeout=240s", seconds=250)
    # Ready says nothing of how far the container's command has got.
    until("both starts", lambda: place.bucket.get("starts-db-0") == b"db-0\ndb-0\n", 30)


def test_job_completes(place: Place) -> None:
    """A Job is complete soon after its container ends, and what it wrote is in the bucket."""
    template = place.template(["sh", "-c", "seq 100000 > /data/result"])
    place.cluster.create(pods.job("report", place.namespace, template))
    place.cluster.must(
        *("-n", place.namespace, "wait", "job/report", "--for=condition=complete"), "--timeout=120s"
    )
    assert place.bucket.get("result").endswith(b"\n100000\n")


def test_cron_job_completes(place: Place) -> None:
    """A Job made from a CronJob completes, too."""
    template = place.template(["sh", "-c", "date > /data/tick"])
    body = pods.job("tick", place.namespace, template)
    body |= {"kind": "CronJob"}
    body["spec"] = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": body["spec"]}}
    place.cluster.create(body)
    here = ("-n", place.namespace)
    place.cluster.must(*here, "create", "job", "now", "--from=cronjob/tick")
    place.cluster.must(*here, "wait", "job/now", "--for=condition=complete", "--timeout=120s")
    assert "tick" in place.bucket


def test_init_container_reads_the_mount(place: Place) -> None:
    """The bucket is there before the user's own init containers run."""
    place.bucket.put("seed", b"seed")
    init = {"name": "prepare", "image": place.image, "command": ["cp", "/data/seed", "/data/copy"]}
    place.start("init", place.template(initContainers=[init]))
    assert place.bucket.get("copy") == b"seed"
    place.end("init")


def test_non_root_with_fs_group(place: Place) -> None:
    """A pod that runs as a user with fsGroup writes, and its new files have that group."""
    context = {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "runAsNonRoot": True}
    place.start("user", place.template(securityContext=context))
    place.sh("user", "echo mine > /data/mine")
    assert place.sh("user", "stat -c %u:%g /data/mine").split(":")[0] == "1000"
    assert place.sh("user", "cat /data/mine; id -G").startswith("mine\n")
    place.end("user")


def test_read_only(place: Place) -> None:
    """A read-only mount reads, and refuses to write."""
    place.bucket.put("fixed", b"fixed")
    place.start("reader", place.template(notes=place.notes(read_only="true")))
    refused = "touch /data/new 2>&1 || true"
    assert "Read-only file system" in place.sh("reader", f"cat /data/fixed; {refused}")
    assert place.bucket.keys() == ["fixed"]
    place.end("reader")


def test_three_mounts(place: Place) -> None:
    """Three prefixes of a bucket are three directories of one pod."""
    notes: dict[str, str] = {}
    for name in ("a", "b", "c"):
        notes |= place.notes(name, path=f"/mnt/{name}", prefix=f"{name}/")
    place.start("three", place.template(notes=notes))
    place.sh("three", "for n in a b c; do echo $n > /mnt/$n/file; done")
    assert place.bucket.keys() == ["a/file", "b/file", "c/file"]
    place.end("three")


def test_own_sidecar_and_host_network(place: Place) -> None:
    """Sidecars of the user's get the mount as well; so do pods on the host's network."""
    own = {
        "name": "own",
        "image": place.image,
        "restartPolicy": "Always",
        "command": pods.SLEEP,
    }
    # Pod Security restricted admits no host network.
    place.start("own", place.template(initContainers=[own], hostNetwork=place.mode == modes.POD))
    place.sh("own", "echo side > /data/side", container="own")
    assert place.sh("own", "cat /data/side") == "side\n"
    place.end("own")


def test_large_file_is_whole(place: Place) -> None:
    """256 MiB written by a pod are byte for byte in the bucket."""
    place.start("large")
    place.sh("large", "head -c 268435456 /dev/urandom > /data/large")
    digest = place.sh("large", "sha256sum < /data/large").split()[0]
    assert place.bucket.digest("large") == digest
    place.end("large")


def test_an_ended_pod_leaves_no_mount(place: Place) -> None:
    """Nothing of a pod is mounted on its node after it is gone."""
    pod = place.start("short")
    place.end("short")
    if place.node is not None:
        left = place.node.mounts(pod["metadata"]["uid"])
        until("no mount", lambda: not left, 1)
