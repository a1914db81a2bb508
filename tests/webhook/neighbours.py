"""What other admission webhooks, and people, do to our sidecars: the rows of a table in the docs.

docs/compatibility.md, "Other admission webhooks", has the same rows with the same names. A change
is a line of Python about a pod that has its mounts: `keeper`, `worker`, `init`, `spec`.
"""

import copy
from typing import Any

from tests.webhook import reviews
from webhook.platform.settings import Platform
from webhook.review import admission
from webhook.review.decision import Decider, Injected

KEPT, UNDONE, REFUSED = "kept", "put back", "refused"
DECIDER = Decider(Platform())
EKS = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
POD_IDENTITY = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
AZURE = "/var/run/secrets/azure/tokens"
GKE = "/var/run/secrets/tokens/gcp-ksa"
TOKEN = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}


def cloud(path: str, **variables: str) -> str:
    """A cloud's webhook: variables and a token for every container there is."""
    env = [{"name": name, "value": value} for name, value in variables.items()]
    mount = {"name": "cloud-token", "mountPath": path, "readOnly": True}
    return (
        f"spec['volumes'].append({{'name': 'cloud-token', **{TOKEN}}});"
        f"[(c['env'].extend({env}), c['volumeMounts'].append({mount})) for c in init]"
    )


def variable(name: str, value: str = "x") -> str:
    return f"worker['env'].append({{'name': '{name}', 'value': '{value}'}})"


def mount(path: str, source: str = "{'emptyDir': {}}") -> str:
    more = f"{{'name': 'more', 'mountPath': '{path}', 'readOnly': True}}"
    return (
        f"spec['volumes'].append({{'name': 'more', **{source}}});"
        f"keeper['volumeMounts'].append({more})"
    )


ROWS: dict[str, tuple[str, list[str]]] = {
    "pull policy": (KEPT, ["keeper['imagePullPolicy'] = 'Always'"]),
    "resources": (
        KEPT,
        [
            "worker['resources'] = {'limits': {'cpu': '1', 'memory': '1Gi'}}",
            "worker['resources']['requests'] = {'cpu': '4m', 'memory': '80M'}",
            "keeper['resources']['limits'] = {'cpu': '500m', 'memory': '128Mi'}",
            "worker['resources']['limits']['ephemeral-storage'] = '2Gi'",
        ],
    ),
    "cloud identity": (
        KEPT,
        [
            cloud(
                EKS,
                AWS_ROLE_ARN="arn:aws:iam::123456789012:role/app",
                AWS_WEB_IDENTITY_TOKEN_FILE=f"{EKS}/token",
                AWS_REGION="eu-central-1",
                AWS_DEFAULT_REGION="eu-central-1",
                AWS_STS_REGIONAL_ENDPOINTS="regional",
            ),
            cloud(
                POD_IDENTITY,
                AWS_CONTAINER_CREDENTIALS_FULL_URI="http://169.254.170.23/v1/credentials",
                AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=f"{POD_IDENTITY}/eks-pod-identity-token",
            ),
            cloud(
                AZURE,
                AZURE_CLIENT_ID="0b1c2d3e-0000-0000-0000-000000000000",
                AZURE_TENANT_ID="0b1c2d3e-0000-0000-0000-000000000000",
                AZURE_FEDERATED_TOKEN_FILE=f"{AZURE}/azure-identity-token",
                AZURE_AUTHORITY_HOST="https://login.microsoftonline.com/",
            ),
            cloud(f"{EKS}/", AWS_WEB_IDENTITY_TOKEN_FILE=f"{EKS}/token"),
            cloud(GKE, GOOGLE_APPLICATION_CREDENTIALS=f"{GKE}/config.json"),
        ],
    ),
    "time zone": (KEPT, [variable("TZ", "Europe/Berlin"), variable("TZ", "UTC")]),
    "policies of the end and of resizing": (
        KEPT,
        [
            "worker['terminationMessagePolicy'] = 'File'",
            "worker['terminationMessagePath'] = '/dev/termination-log'",
            "worker['resizePolicy'] = [{'resourceName': 'cpu', 'restartPolicy': 'NotRequired'}]",
            "worker['securityContext']['procMount'] = 'Default'",
        ],
    ),
    "image digest": (UNDONE, [f"keeper['image'] += '@sha256:{'0' * 64}'"]),
    "other version": (
        UNDONE,
        [
            "keeper.update(image='s3mount:0.0.9', args=['keeper', '--old'])",
            "worker.update(image='s3mount:0.2.0', env=[])",
        ],
    ),
    "security context": (
        UNDONE,
        [
            "keeper['securityContext']['allowPrivilegeEscalation'] = False",
            "keeper['securityContext']['capabilities'] = {'drop': ['ALL']}",
            "worker['securityContext']['privileged'] = True",
            "worker['securityContext'] = {'runAsUser': 0}",
            "worker['securityContext']['seLinuxOptions'] = {'type': 'spc_t'}",
        ],
    ),
    "variables": (
        UNDONE,
        [
            variable("DD_AGENT_HOST"),
            variable("OTEL_SERVICE_NAME"),
            variable("HTTPS_PROXY", "http://proxy:3128"),
            variable("SSL_CERT_FILE", "/etc/ssl/certs/company.pem"),
            variable("AWS_CA_BUNDLE", "/etc/ssl/certs/company.pem"),
            variable("TZ", "../../../cache/x"),
            "worker['env'][0]['value'] = '{}'",
        ],
    ),
    "envFrom": (UNDONE, ["worker['envFrom'] = [{'configMapRef': {'name': 'proxy'}}]"]),
    "mounts": (
        UNDONE,
        [
            mount("/var/run/datadog", "{'hostPath': {'path': '/var/run/datadog'}}"),
            mount("/etc/ssl/certs", "{'configMap': {'name': 'company-ca'}}"),
            mount("/usr/share/zoneinfo"),
            mount("/var/run/secrets/evil"),
            mount(EKS),
            mount(EKS, "{'projected': {'sources': [{'configMap': {'name': 'x'}}]}}"),
            mount(EKS, "{'hostPath': {'path': '/'}}"),
            "del worker['volumeMounts'][0]",
        ],
    ),
    "lifecycle": (UNDONE, ["worker['lifecycle'] = {'preStop': {'exec': {'command': ['sleep']}}}"]),
    "probes, ports, arguments": (
        UNDONE,
        [
            "worker['startupProbe'] = {'httpGet': {'port': 15020}}",
            "keeper['startupProbe']['exec']['command'] = ['sh']",
            "keeper['livenessProbe'] = {'exec': {'command': ['sh']}}",
            "keeper['startupProbe']['exec']['command'][2] += '; id'",
            "keeper['readinessProbe'] = {'exec': {'command': ['rm', '/run/s3mount/x']}}",
            "worker['ports'][0]['hostPort'] = 20303",
            "worker['args'] = ['worker', '--endpoint-url', 'http://elsewhere']",
            "worker['stdin'] = True",
            "worker['workingDir'] = '/tmp'",
            "keeper['terminationMessagePath'] = '/usr/lib/python3/x.py'",
            "keeper['fieldOfTomorrow'] = {'x': 1}",
        ],
    ),
    "resources out of bounds": (
        UNDONE,
        [
            "worker['resources']['limits']['memory'] = '100Gi'",
            "worker['resources']['limits']['nvidia.com/gpu'] = '1'",
            "del worker['resources']['limits']",
            "worker['resources']['limits']['memory'] = 'much'",
        ],
    ),
    "volumes": (
        UNDONE,
        [
            "spec['volumes'][0]['emptyDir'] = {}",
            "spec['volumes'][2]['emptyDir'] = {'sizeLimit': '1Ti'}",
            "spec['volumes'][-1]['secret']['secretName'] = 'other'",
            "del spec['volumes'][0]",
        ],
    ),
    "a sidecar taken away": (UNDONE, ["del init[0]", "del init[1]", "del init[:]"]),
    "another image": (
        REFUSED,
        [
            "keeper['image'] = 'evil:1'",
            "worker['image'] = 'mirror.example/s3mount:0.1.0'",
            "worker['image'] = 's3mount-evil:0.1.0'",
            "keeper['image'] = ''",
        ],
    ),
    "command": (REFUSED, ["keeper['command'] = ['sh', '-c', 'id']", "del worker['command']"]),
    "restart policy": (REFUSED, ["del keeper['restartPolicy']"]),
    "steering variables": (
        REFUSED,
        [
            variable("PATH", "/cache"),
            variable("PYTHONPATH", "/cache"),
            variable("LD_PRELOAD", "/cache/x.so"),
            variable("AWS_ENDPOINT_URL_S3", "http://elsewhere"),
            variable("AWS_CONFIG_FILE", "/cache/config"),
            variable("AWS_ACCESS_KEY_ID", "AKIA"),
            variable("AWS_ROLE_ARN", "$(S3MOUNT_CONFIG)"),
            variable("AWS_WEB_IDENTITY_TOKEN_FILE", f"{EKS}/../../../cache/x"),
            variable("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23@elsewhere/"),
            variable("S3MOUNT_OTHER"),
        ],
    ),
    "twice, or not in normal form": (
        REFUSED,
        [
            variable("AWS_EC2_METADATA_DISABLED", "false"),
            variable("S3MOUNT_CONFIG", "{}"),
            mount("/run/s3mount"),
            mount("/run//s3mount/"),
            mount("/var/run/secrets/../../../opt/venv/lib/python3.11/site-packages/fusefs"),
        ],
    ),
    "block devices": (
        REFUSED,
        ["keeper['volumeDevices'] = [{'name': 'disk', 'devicePath': '/dev/sda'}]"],
    ),
    "order": (REFUSED, ["init.reverse()"]),
    "another kind of volume": (
        REFUSED,
        [
            "spec['volumes'][0] = {'name': 's3-mount-bus', 'hostPath': {'path': '/'}}",
            "spec['volumes'][1] = {'name': 's3-mount-socket', 'emptyDir': {}, 'hostPath': {}}",
        ],
    ),
}
CASES = [(verdict, change) for verdict, changes in ROWS.values() for change in changes]


def of(verdict: str) -> list[str]:
    """The changes with that verdict."""
    return [change for found, change in CASES if found == verdict]


def run(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod that would run."""
    decision = DECIDER.decide(pod, "shop")
    assert isinstance(decision, Injected), decision
    return copy.deepcopy(admission.apply(pod, decision.patch))


def injected() -> dict[str, Any]:
    """A pod that has its mounts."""
    return run(reviews.pod(reviews.BUCKET | {"s3.mount/secret": "my-credentials"}))


def changed(change: str) -> dict[str, Any]:
    """The same after somebody did something to it."""
    pod = injected()
    spec = pod["spec"]
    keeper, worker = spec["initContainers"]
    names = {"spec": spec, "init": spec["initContainers"], "keeper": keeper, "worker": worker}
    exec(change, names)  # noqa: S102 - ours
    return pod
