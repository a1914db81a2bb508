"""The offline commands, run as people run them."""

import subprocess
import sys
from pathlib import Path

import pytest

from webhook.parse.yamldocs import parse_documents

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"
WRONG = """
apiVersion: v1
kind: Pod
metadata: {name: web, annotations: {s3.mount/bucket: A}}
spec: {containers: [{name: app, image: app:1}]}
"""


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "webhook", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)


def test_inject_prints_what_would_run() -> None:
    """Every document comes out, those with a pod with its mounts."""
    done = run("inject", "-f", str(EXAMPLES / "job.yaml"))
    (job,) = parse_documents(done.stdout, "stdout")
    spec = job["spec"]["template"]["spec"]
    assert done.returncode == 0
    assert spec["initContainers"][0]["name"].startswith("s3-mount")
    assert spec["containers"][0]["volumeMounts"][0]["mountPath"] == "/data"


def test_inject_reads_streams_lists_and_workloads() -> None:
    """Several documents, a List and a CronJob on stdin."""
    pod = WRONG.replace(": A}", ": my-bucket}")
    template = "{metadata: {annotations: {s3.mount/bucket: b-1}}, spec: {containers: [{name: a}]}}"
    cron = f"kind: CronJob\nspec: {{jobTemplate: {{spec: {{template: {template}}}}}}}\n"
    items = (
        f"kind: List\nitems:\n- {template.replace('{', '{kind: Pod, ', 1)}\n- {{kind: Service}}\n"
    )
    done = run("inject", "-f", "-", stdin="---\n".join([pod, cron, items]))
    assert done.returncode == 0, done.stderr
    assert [d["kind"] for d in parse_documents(done.stdout, "-")] == [
        "Pod",
        "CronJob",
        "Pod",
        "Service",
    ]
    assert done.stdout.count("subPath: default") == 3


POD = "metadata: {annotations: {s3.mount/bucket: my-bucket}}, spec: {containers: [{name: app}]}"
WORKLOADS = {
    "Pod": f"{{kind: Pod, {POD}}}",
    "PodTemplate": f"{{kind: PodTemplate, template: {{{POD}}}}}",
    "CronJob": f"{{kind: CronJob, spec: {{jobTemplate: {{spec: {{template: {{{POD}}}}}}}}}}}",
    **{
        kind: f"{{kind: {kind}, spec: {{template: {{{POD}}}}}}}"
        for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job",
                     "ReplicationController")
    },
}  # fmt: skip


def test_inject_knows_every_kind_of_workload() -> None:
    """One stream of all of them: each pod gets its mount, what has none stays as it is."""
    service = "{kind: Service, spec: {ports: [{port: 80}]}}"
    done = run("inject", "-f", "-", stdin="\n---\n".join([*WORKLOADS.values(), service]))
    documents = parse_documents(done.stdout, "-")
    assert [document["kind"] for document in documents] == [*WORKLOADS, "Service"]
    counts = [str(document).count("'subPath': 'default'") for document in documents]
    assert counts == [1] * len(WORKLOADS) + [0]


def test_warnings_go_to_stderr() -> None:
    """Each with the object it is about; the exit code stays 0."""
    text = WORKLOADS["Job"].replace("my-bucket", "my-bucket, s3.mount/cache-size: 50Gi")
    done = run("inject", "-f", "-", "--namespace", "shop", stdin=text)
    assert done.returncode == 0
    assert "warning: shop/Job/?: uploading a full cache can take" in done.stderr
    assert "warning" not in done.stdout


def test_output_is_the_same_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No random names, no times, and no order that hangs on the process."""
    seen = set()
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        seen.add(run("inject", "-f", str(EXAMPLES / "deployment.yaml")).stdout)
    assert len(seen) == 1


def test_explain_says_why_a_pod_is_skipped() -> None:
    """With the reason that log and metrics have, and its sentence."""
    text = WORKLOADS["Pod"].replace("s3.mount/bucket", "other")
    done = run("explain", "-f", "-", stdin=text)
    assert (
        "skipped (not-asked). The pod has no annotation that begins with s3.mount/" in done.stdout
    )


def test_denial_ends_with_1() -> None:
    """A denied pod is explained on stderr and nothing is printed."""
    done = run("inject", "-f", "-", "--namespace", "shop", stdin=WRONG)
    assert (done.returncode, done.stdout) == (1, "")
    assert "shop/Pod/web" in done.stderr
    assert 's3.mount/bucket: "A"' in done.stderr


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not YAML"), ("a: b: c", "not YAML"), ("[" * 5000, "not YAML")]
)
def test_unreadable_file_ends_with_2(text: str, message: str) -> None:
    """The command's own errors are told apart from denials."""
    done = run("inject", "-f", "-", stdin=text)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["inject", "explain"])
@pytest.mark.parametrize("content", [None, b"\xff"], ids=["missing", "binary"])
def test_a_file_that_cannot_be_read_is_named_once(
    tmp_path: Path, command: str, content: bytes | None
) -> None:
    """With the reason, not with the number of the error and the path again."""
    file = tmp_path / "pod.yaml"
    if content is not None:
        file.write_bytes(content)
    done = run(command, "-f", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count(str(file)) == 1
    assert "Errno" not in done.stderr


def test_misplaced_annotation_is_remarked() -> None:
    """Annotations on the workload instead of its template are warned of."""
    text = "kind: Deployment\nmetadata: {name: web, annotations: {s3.mount/bucket: b}}\n"
    done = run("inject", "-f", "-", stdin=text + "spec: {template: {spec: {containers: []}}}\n")
    assert "belongs on the pod template" in done.stderr


def test_explain_says_that_a_namespace_is_never_seen() -> None:
    """By the labels given, or by the Namespace that is among the objects."""
    pod = WRONG.replace(": A}", ": my-bucket}")
    space = "kind: Namespace\nmetadata: {name: default, labels: {a: b}}\n"
    labelled = space.replace("a: b", "s3.mount/injection: enabled")
    for text, flags, unseen in (
        (pod, ["--namespace-labels", "a=b"], True),
        (f"{space}---\n{pod}", [], True),
        (f"{labelled}---\n{pod}", [], False),
        (pod, ["--namespace-labels", "s3.mount/injection=enabled"], False),
    ):
        done = run("explain", "-f", "-", *flags, stdin=text)
        assert ("never sees this pod" in done.stderr) is unseen
    assert "If the namespace default has the label" in run("explain", "-f", "-", stdin=pod).stdout


def test_explain_says_that_keys_have_to_be_in_lower_case() -> None:
    """Kubernetes takes others, and nobody sees them."""
    text = WRONG.replace("s3.mount/bucket", "S3.mount/bucket")
    done = run("explain", "-f", "-", stdin=text)
    assert "S3.mount/bucket does nothing" in done.stderr


def test_explain_shows_decision_and_additions() -> None:
    """Decision, mounts and every addition, in a table."""
    done = run("explain", "-f", str(EXAMPLES / "deployment.yaml"))
    assert done.returncode == 0
    assert "injected (policy rule 'default')" in done.stdout
    assert "my-models/production/" in done.stdout
    assert "/spec/initContainers" in done.stdout


def test_check_policy(tmp_path: Path) -> None:
    """A policy is printed as a table, or judges a manifest."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("default: deny\nrules: [{name: ml, namespaces: [ml], buckets: ['my-*']}]")
    pod = str(EXAMPLES / "pod.yaml")
    assert "ml" in run("check-policy", str(policy)).stdout
    assert run("check-policy", str(policy)).stderr == ""
    assert run("check-policy", str(policy), "-f", pod, "--namespace", "ml").returncode == 0
    assert run("check-policy", str(policy), "-f", pod, "--namespace", "shop").returncode == 1
    policy.write_text("rules: 7")
    assert run("check-policy", str(policy)).returncode == 2


def test_check_policy_tells_what_never_matches(tmp_path: Path) -> None:
    """A warning, with and without manifests: the policy says what it says."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules: [{name: x, namespaces: [Shop], buckets: ['*']}]\n")
    for more in ([], ["-f", str(EXAMPLES / "pod.yaml")]):
        done = run("check-policy", str(policy), *more)
        assert done.returncode == 0
        assert "warning: rule 'x', namespaces: 'Shop' never matches" in done.stderr


def test_wrong_setting_ends_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong variable is named with its value."""
    monkeypatch.setenv("S3MOUNT_MINIMUM_GRACE", "2d")
    done = run("inject", "-f", str(EXAMPLES / "pod.yaml"))
    assert done.returncode == 2
    assert 'S3MOUNT_MINIMUM_GRACE="2d"' in done.stderr


def test_annotations_prints_the_reference() -> None:
    """The registry as a table."""
    assert "s3.mount/cache-size" in run("annotations").stdout


def test_yaml_anchors_are_copies() -> None:
    """Parts that a file shares by anchors are mounted each for itself."""
    text = """
kind: Pod
metadata: {name: web, annotations: {s3.mount/bucket: my-bucket}}
spec:
  containers:
  - {name: a, volumeMounts: &mounts [{name: w, mountPath: /w}]}
  - {name: b, volumeMounts: *mounts}
"""
    (pod,) = parse_documents(run("inject", "-f", "-", stdin=text).stdout, "-")
    assert [len(c["volumeMounts"]) for c in pod["spec"]["containers"]] == [2, 2]


@pytest.mark.parametrize(
    "text", ["[1, x]", "kind: List\nitems: 7", "kind: [a]\nmetadata: 7", "kind: Pod\nmetadata: 7"]
)
def test_odd_documents_are_survived(text: str) -> None:
    """Whatever a YAML file holds, there is no traceback."""
    for command in ("inject", "explain"):
        assert "Traceback" not in run(command, "-f", "-", stdin=text).stderr


@pytest.mark.parametrize("depth", [330, 5000])
def test_nesting_has_an_end(depth: int) -> None:
    """Deeper than Kubernetes takes it is one line and exit code 2."""
    deep = "{a: " * depth + "1" + "}" * depth
    done = run(
        "inject", "-f", "-", stdin=WORKLOADS["Pod"].replace("spec: {", f"spec: {{x: {deep}, ")
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MINIMUM_GRACE", "2h"),
        ("WORKER_METRICS_PORT", "80"),
        ("MAXIMUM_CACHE_SIZE", "1Mi"),
        ("PORT", "70000"),
        ("MAXIMUM_MOUNTS", "0"),
        ("WORKER_MEMORY_REQUEST", "2Gi"),
        ("LOG_LEVEL", "loud"),
        ("POLICY_FILE", "/missing"),
        ("IMAGE_PULL_POLICY", "Sometimes"),
        ("NODE_SELECTOR", "fast"),
        ("IMAGE", ""),
    ],
)
def test_server_refuses_wrong_settings(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends at once, with the variable or the file in its message."""
    monkeypatch.setenv(f"S3MOUNT_{name}", value)
    done = run("serve", "--metrics-port", "0")
    assert done.returncode == 2
    assert name in done.stderr or value in done.stderr
