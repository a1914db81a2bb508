"""What the demonstration shows, scene by scene; every step checks what it claims."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.demo.kubelet import Kubelet
from tests.demo.review import Pod, Review, ask
from tests.demo.stage import Stage, expect
from tests.mounts.mount import REPOSITORY
from tests.servers.child import Child
from tests.servers.ports import free_ports
from tests.servers.s3 import REGION, Bucket, Endpoint

EXAMPLE = REPOSITORY / "deploy/examples/pod.yaml"
NAMESPACE = "demo"
_MIB = 1024 * 1024


def fill_bucket(stage: Stage, store: Endpoint) -> Bucket:
    """Create the bucket of the example pod with some objects in it."""
    name = example_pod(store)["metadata"]["annotations"]["s3.mount/bucket"]
    with stage.step(f"create bucket {name} and put four objects into it"):
        bucket = store.create_bucket(name)
        bucket.put("readme.txt", b"written by boto3\n")
        bucket.put("models/tiny.bin", os.urandom(3 * _MIB))
        bucket.put("logs/old.log", b"one\n")
        bucket.put("large.bin", os.urandom(96 * _MIB))
    return bucket


def example_pod(store: Endpoint) -> Pod:
    """Return the example pod, pointed at the local store."""
    pod: Pod = yaml.safe_load(EXAMPLE.read_text())
    local = {"s3.mount/endpoint": store.url, "s3.mount/region": REGION}
    pod["metadata"]["annotations"] |= local
    return pod


@contextmanager
def webhook(stage: Stage, directory: Path) -> Iterator[str]:
    """Issue certificates, serve with them and a policy, give the URL, and stop it in the end."""
    names = ["--dns", "s3mount-webhook.s3mount-system.svc", "--dns", "127.0.0.1"]
    tls = directory / "tls"
    with stage.step("issue certificates: python -m certs issue"):
        command = [sys.executable, "-m", "certs", "issue", *names, "--out", str(tls)]
        subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True, timeout=30)
    (directory / "policy.yaml").write_text(_POLICY)
    port, metrics, pods_metrics = free_ports(3)
    command = [
        *(sys.executable, "-m", "webhook", "serve", "--host", "127.0.0.1", "--tls-dir", str(tls)),
        *("--port", str(port), "--metrics-port", str(metrics)),
    ]
    # Nobody has to find the way to another replica here, so there is no need to drain.
    env = dict(os.environ) | {
        "S3MOUNT_DRAIN_SECONDS": "0",
        "S3MOUNT_POLICY_FILE": str(directory / "policy.yaml"),
        "S3MOUNT_WORKER_METRICS_PORT": str(pods_metrics),
    }
    url = f"https://127.0.0.1:{port}"
    with stage.step("start the webhook with TLS: python -m webhook serve"):
        server = Child(command, directory / "webhook.serve.log", env, REPOSITORY)
    try:
        with stage.step("the webhook says it is ready"):
            server.wait_until(lambda: _is_ready(url, tls / "ca.crt"), 30)
        yield url
    finally:
        status = server.stop(15)
    with stage.step("the webhook ended by itself after SIGTERM"):
        expect(status in (0, -15), f"exit status {status}: {server.tail()}")


def _is_ready(url: str, ca: Path) -> bool:
    trust = ssl.create_default_context(cafile=str(ca))
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5, context=trust) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def injection(stage: Stage, url: str, ca: Path, store: Endpoint) -> Pod:
    """Have the example pod reviewed, twice, and show what became of it."""
    pod = example_pod(store)
    with stage.step(f"review {EXAMPLE.relative_to(REPOSITORY)}: allowed, with a patch"):
        review = ask(f"{url}/mutate", ca, pod, NAMESPACE)
        expect(review.allowed, review.message)
        expect(bool(review.operations), "no patch")
        stage.tell(_decision(review))
    with stage.step("the pod that would run"):
        stage.tell(_readable(review.pod))
    with stage.step("review the result again: nothing left to change"):
        again = ask(f"{url}/mutate", ca, review.pod, NAMESPACE)
        expect(again.allowed and not again.operations, f"patched twice: {again.operations}")
    return review.pod


def denial(stage: Stage, url: str, ca: Path, store: Endpoint) -> None:
    """Show that three mistakes are answered by one message with three explanations."""
    pod = copy.deepcopy(example_pod(store))
    wrong = {
        "s3.mount/bucket": "My_Bucket",
        "s3.mount/path": "relative/path",
        "s3.mount/read-only": "perhaps",
    }
    pod["metadata"]["annotations"] |= wrong
    with stage.step("review a pod with three mistakes: denied, each one explained"):
        review = ask(f"{url}/mutate", ca, pod, NAMESPACE)
        expect(not review.allowed, "it was allowed")
        missing = [key for key in wrong if key not in review.message]
        expect(not missing, f"not mentioned: {missing}")
        stage.tell(review.message)


def warning(stage: Stage, url: str, ca: Path, store: Endpoint) -> None:
    """Show that what will work badly is allowed, and told to whoever creates the pod."""
    pod = copy.deepcopy(example_pod(store))
    pod["metadata"]["annotations"]["s3.mount/cache-size"] = "20Gi"
    with stage.step("review a pod with a cache no grace period can empty: a warning"):
        review = ask(f"{url}/mutate", ca, pod, NAMESPACE)
        expect(review.allowed, review.message)
        expect(any("uploading a full cache" in text for text in review.warnings), "no warning")
        stage.tell("\n".join(f"Warning: {text}" for text in review.warnings))


def refusal(stage: Stage, url: str, ca: Path, store: Endpoint) -> None:
    """Show that the same pod isn't allowed in a namespace whose rule says otherwise."""
    stage.tell("\n".join(f"policy: {line}" for line in _POLICY.splitlines()))
    with stage.step("review the example in a visitors' namespace: refused by policy"):
        review = ask(f"{url}/mutate", ca, example_pod(store), "visitors-1")
        expect(not review.allowed, "it was allowed")
        expect(review.audit["reason"] == "policy", f"refused for another reason: {review.audit}")
        expect("policy rule 'visitors'" in review.message, review.message)
        stage.tell(review.message)


# Everybody else has what the shipped policy allows: any bucket, with a Secret.
_POLICY = """\
rules:
  - name: visitors
    namespaces: ["visitors-*"]
    buckets: [{names: ["public-*", "my-bucket"], access: read-only}]
    credentials: [irsa]
"""


def _decision(review: Review) -> str:
    lines = [f"allowed: {review.allowed}"]
    lines += [f"{name}: {value}" for name, value in sorted(review.audit.items())]
    lines += [f"warning: {text}" for text in review.warnings]
    return "\n".join([*lines, *(f"patch: {operation}" for operation in review.operations)])


def _readable(pod: Pod) -> str:
    """Return the pod as YAML, lists on one line where they are short."""
    return yaml.safe_dump(pod, sort_keys=False, default_flow_style=None, width=96)


@contextmanager
def mounted(stage: Stage, pod: Pod, root: Path, store: Endpoint) -> Iterator[tuple[Kubelet, Path]]:
    """Run the pod's sidecars; give their kubelet and the directory the application sees."""
    keys = store.credentials.environment()
    secret = pod["metadata"]["annotations"]["s3.mount/secret"]
    kubelet = Kubelet(pod, root, {secret: keys})
    try:
        for container in kubelet.sidecars():
            with stage.step(f"run sidecar {container['name']} with its own command, args and env"):
                kubelet.start(container)
        yield kubelet, kubelet.path_of("app", pod["metadata"]["annotations"]["s3.mount/path"])
        with stage.step("stop the sidecars: exit 0 and nothing is mounted any more"):
            statuses = kubelet.stop()
            expect(not any(statuses.values()), f"exit statuses {statuses}")
            expect(not kubelet.remaining_mounts(), f"mounted: {kubelet.remaining_mounts()}")
    finally:
        kubelet.clean_up()


def files(stage: Stage, data: Path, bucket: Bucket) -> None:
    """Use the bucket as a directory, and check each step through boto3."""
    with stage.step("list: find"):
        stage.tell(_run("find", ".", "-type", "f", "-printf", "%p %s\\n", cwd=data))
        names = sorted(str(p.relative_to(data)) for p in data.rglob("*") if p.is_file())
        expect(
            names == ["large.bin", "logs/old.log", "models/tiny.bin", "readme.txt"],
            f"found {names}",
        )
    with stage.step("read: the content is the object's"):
        expect((data / "readme.txt").read_bytes() == b"written by boto3\n", "readme.txt differs")
        content = (data / "models/tiny.bin").read_bytes()
        expect(content == bucket.get("models/tiny.bin"), "models/tiny.bin differs")
    with stage.step("write a file of 20 MiB: closed means stored"):
        content = os.urandom(20 * _MIB)
        (data / "models/new.bin").write_bytes(content)
        expect(bucket.get("models/new.bin") == content, "models/new.bin differs")
    with stage.step("append to a file"):
        with (data / "logs/old.log").open("a") as file:
            file.write("two\n")
        expect(bucket.get("logs/old.log") == b"one\ntwo\n", "logs/old.log differs")
    with stage.step("rename a directory, chmod a file, make a symlink"):
        (data / "models").rename(data / "weights")
        (data / "readme.txt").chmod(0o600)
        (data / "latest").symlink_to("weights/new.bin")
        expect(bucket.get("weights/new.bin") == content, "weights/new.bin differs")
        expect(not bucket.keys("models/"), f"left behind: {bucket.keys('models/')}")
    with stage.step("delete a file"):
        (data / "weights/tiny.bin").unlink()
        expect("weights/tiny.bin" not in bucket, "weights/tiny.bin is still there")
    with stage.step("the objects, as boto3 sees them"):
        for key in sorted(bucket.keys()):
            head = bucket.head(key)
            mode = int(head["Metadata"].get("mode", "0"))
            stage.tell(f"{head['ContentLength']:>10}  {mode:>6o}  {key}")


def metrics(stage: Stage, kubelet: Kubelet) -> None:
    """Read the worker's metrics at the port that its container declares."""
    (worker,) = [c for c in kubelet.sidecars() if c["name"] == "s3-mount-worker"]
    (port,) = [p["containerPort"] for p in worker["ports"] if p["name"] == "s3mount-metrics"]
    with stage.step("read the metrics at the port that the worker's container declares"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        expect('s3mount_well{mount="default"} 1.0' in lines, "the mount isn't well")
        told = ("s3mount_well", "s3mount_store_sent", "s3mount_store_received")
        stage.tell("\n".join(line for line in lines if line.startswith(told)))


def survival(stage: Stage, kubelet: Kubelet, data: Path, bucket: Bucket) -> None:
    """Kill the worker in the middle of an application's read."""
    content = bucket.get("large.bin")
    with stage.step("kill -9 the worker while an application reads 96 MiB: it sees no error"):
        reader = subprocess.Popen(
            [sys.executable, "-c", _READ_SLOWLY, data / "large.bin"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert reader.stdout is not None  # a pipe was asked for
        expect(reader.stdout.readline() == "reading\n", "the reader didn't start")
        kubelet.kill("s3-mount-worker")
        out, _ = reader.communicate(timeout=60)
        expect(reader.returncode == 0, f"the reader ended with {reader.returncode}")
        expect(out.strip() == hashlib.sha256(content).hexdigest(), "the content differs")


# About a second, so that the death of the worker falls into it.
_READ_SLOWLY = """
import hashlib, sys, time
found = hashlib.sha256()
with open(sys.argv[1], "rb", buffering=0) as file:
    print("reading", flush=True)
    while piece := file.read(1 << 20):
        found.update(piece)
        time.sleep(0.01)
print(found.hexdigest())
"""


def _run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


def can_mount() -> bool:
    """Say whether this machine lets us mount."""
    return os.access("/dev/fuse", os.R_OK | os.W_OK) and bool(
        os.geteuid() == 0 or shutil.which("fusermount")
    )
