"""Writes the Helm chart's templates from the manifests: `python -m tests.deploy.chart`.

deploy/helm can't drift from deploy/, for it is made of it: an object that an overlay leaves out is
in an `if`, what an overlay patches has two forms, and the few places where people choose are
expressions. Written by hand are Chart.yaml, values.yaml with its schema, and the notes.

Not here: that what Helm renders equals what kustomize does (`test_chart`).
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from fusefs.node.settings import KUBELET
from tests import version
from tests.deploy.rendered import DEPLOY, Manifest, manifests

CHART = DEPLOY / "helm"
HEAD = (
    "{{- /* Made of the manifests by `python -m tests.deploy.chart`; don't edit it here. */ -}}\n"
)
IMAGE = f"s3mount:{version.number()}"
# Selectors and certificates have the namespace's name.
CHECK = """{{- if ne .Release.Namespace "s3mount-system" }}
{{- fail "install it as: helm install s3mount … --namespace s3mount-system --create-namespace" }}
{{- end }}
"""
BY_NODE = 'eq .Values.keeper "node"'
# Parts that the default installation doesn't have: the condition on values, and an overlay with it.
_PARTS = {
    f"({BY_NODE})": "overlays/node",
    ".Values.lookups.enabled": "../tests/deploy/looking",
    ".Values.events.enabled": "overlays/events",
}
DEPLOYMENT, DEFINITION = "Deployment", "CustomResourceDefinition"
Name = tuple[str, str]


class _Dumper(yaml.SafeDumper):
    """Long strings as blocks, as people write them."""


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


def dumped(value: Any) -> str:
    """Return YAML in which Helm finds no expression."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
    return text.replace("{{", '{{ "{{" }}')


def named(overlay: str) -> dict[Name, Manifest]:
    """Return the objects of an overlay by kind and name."""
    return {(each["kind"], each["metadata"]["name"]): each for each in manifests(overlay)}


def templates() -> dict[str, str]:
    """Return the text of each file that is made, by its path in the chart."""
    own, managed = named("."), named("overlays/cert-manager")
    unhinted, unguarded = named("overlays/no-hints"), named("overlays/no-guards")
    parts = {condition: named(overlay) for condition, overlay in _PARTS.items()}
    files: dict[str, str] = {}
    for name in sorted({*own, *managed, *(each for part in parts.values() for each in part)}):
        flags = []
        if name in own and name not in unhinted:
            flags.append(".Values.hints.enabled")
        if (name in unhinted and name not in unguarded) or name[0] == "AnnouncedImages":
            flags.append(".Values.guards.enabled")
        if name not in own and name not in managed:
            condition = next(condition for condition, part in parts.items() if name in part)
            flags.append(condition)
            forms = [("", _part(parts[condition][name]))]
        elif name[0] == "Namespace":
            other = dumped(parts[f"({BY_NODE})"][name])
            forms = [(f"not ({BY_NODE})", dumped(own[name])), (BY_NODE, other)]
        else:
            forms = _forms(name, own.get(name), managed.get(name))
        path, text = _file(name, forms, flags)
        files[path] = files.get(path, HEAD if "crds/" not in path else "") + text
    files["templates/namespace.yaml"] = (
        HEAD + CHECK + files["templates/namespace.yaml"][len(HEAD) :]
    )
    files["templates/monitoring.yaml"] = _monitoring()
    return files


def _monitoring() -> str:
    """Return what watches it, with the labels that people's Prometheus looks for."""
    text = HEAD + "{{- if .Values.monitoring.enabled }}\n"
    for manifest in manifests("monitoring"):
        manifest["metadata"]["labels"]["@watched@"] = None
        lines = dumped(manifest).splitlines(keepends=True)
        text += "---\n" + "".join(map(_expressed, lines))
    return text + "{{- end }}\n"


def _forms(name: Name, own: Manifest | None, managed: Manifest | None) -> list[tuple[str, str]]:
    """Return a condition and the text for each form that an object has."""
    if own is not None and own == managed:
        return [("", _written(own))]
    forms = []
    if own is not None:
        forms.append(("not .Values.certManager.enabled", _written(own)))
    if managed is not None:
        forms.append((".Values.certManager.enabled", _written(managed)))
    return forms


def _written(manifest: Manifest) -> str:
    return _deployment(manifest) if manifest["kind"] == DEPLOYMENT else _plain(manifest)


def _part(manifest: Manifest) -> str:
    """Return an object that only a part has."""
    writers = {DEPLOYMENT: _reporting, "DaemonSet": _plugin}
    return writers.get(manifest["kind"], _plain)(manifest)


def _file(name: Name, forms: list[tuple[str, str]], flags: list[str]) -> tuple[str, str]:
    kind = name[0]
    if kind == DEFINITION:
        return f"crds/{name[1]}.yaml", forms[0][1]  # Helm makes these before all else
    text = ""
    for condition, form in forms:
        every = [*flags, *([f"({condition})"] if condition else [])]
        if kind == "Namespace":
            every.append(".Values.createNamespace")
        wanted = every[0] if len(every) == 1 else f"and {' '.join(every)}"
        text += f"{{{{- if {wanted} }}}}\n---\n{form}{{{{- end }}}}\n" if every else f"---\n{form}"
    return f"templates/{kind.lower()}.yaml", text


def _plain(manifest: Manifest) -> str:
    if manifest["kind"] == "ConfigMap":
        assert list(manifest.pop("data")) == ["policy.yaml"]
        return dumped(manifest) + "data:\n  policy.yaml: {{ .Values.policy | toJson }}\n"
    return dumped(manifest).replace(IMAGE, '{{ include "s3mount.image" . }}')


def _reporting(manifest: Manifest) -> str:
    """Return the Deployment that writes events, with what values choose."""
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    container["resources"] = "@resources events@"
    container["@events@"] = None
    pod["@placing@"] = None
    text = dumped(manifest).replace(IMAGE, '{{ include "s3mount.image" . }}')
    return "".join(_expressed(line) for line in text.splitlines(keepends=True))


def _deployment(manifest: Manifest) -> str:
    """Return the webhook's Deployment with what values choose."""
    spec = manifest["spec"]
    pod = spec["template"]["spec"]
    spec["replicas"] = "@replicas@"
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        container["resources"] = f"@resources {container['name']}@"
        if "--announce-in=s3mount-images" in container["args"]:
            at = container["args"].index("--announce-in=s3mount-images")
            container["args"].insert(at, "@if guards@")
            container["args"].append("@end@")
        if container["name"] == "webhook":
            names = [each["name"] for each in container["env"]]
            container["env"].insert(names.index("S3MOUNT_IMAGE"), "@keeper@")
            container["volumeMounts"].insert(0, "@key mounted@")
            container["env"].append("@settings@")
            if any(volume["name"] == "token" for volume in pod["volumes"]):
                container["env"].insert(0, "@lookups@")
                container["volumeMounts"].insert(0, "@token@")
    pod["volumes"].insert(0, "@key@")
    pod["@placing@"] = None
    text = dumped(manifest).replace(IMAGE, '{{ include "s3mount.image" . }}')
    return "".join(_expressed(line) for line in text.splitlines(keepends=True))


def _plugin(manifest: Manifest) -> str:
    """Return the DaemonSet of node mode with what values choose."""
    pod = manifest["spec"]["template"]["spec"]
    (plugin,) = pod["containers"]
    plugin["resources"] = "@resources plugin@"
    pod["@pulling@"] = None
    text = dumped(manifest).replace(IMAGE, '{{ include "s3mount.image" . }}')
    text = text.replace(KUBELET, "{{ .Values.node.kubeletDirectory }}")
    text = re.sub("--cache-size=.*", "--cache-size={{ .Values.node.cacheSize }}", text)
    return "".join(_expressed(line) for line in text.splitlines(keepends=True))


def _expressed(line: str) -> str:
    """Return what stands in a template where the Deployment has a mark of ours."""
    bare = line.strip().removeprefix("- ").strip("'\"\n")
    indent = " " * (len(line) - len(line.lstrip()))
    if "@" not in line or bare.count("@") < 2:
        return line
    word = bare.partition("@")[2].rpartition("@")[0]
    key = line.partition(":")[0]
    if word == "replicas":
        return f"{key}: {{{{ .Values.replicas }}}}\n"
    if word.startswith("resources"):
        values = f"toYaml .Values.resources.{word.split()[1]}"
        return f"{key}:\n{indent}  {{{{- {values} | nindent {len(indent) + 2} }}}}\n"
    return indent + _MARKS[word].replace("\n", f"\n{indent}") + "\n"


_MARKS = {
    "if guards": "{{- if .Values.guards.enabled }}",
    "end": "{{- end }}",
    "settings": """{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}""",
    "keeper": """{{- if eq .Values.keeper "node" }}
{{- if not (hasKey .Values.settings "S3MOUNT_KEEPER") }}
- name: S3MOUNT_KEEPER
  value: node
{{- end }}
- name: S3MOUNT_NODE_KEY_FILE
  value: /etc/s3mount/node/key
{{- end }}""",
    "key mounted": """{{- if eq .Values.keeper "node" }}
- name: node-key
  mountPath: /etc/s3mount/node
  readOnly: true
{{- end }}""",
    "key": """{{- if eq .Values.keeper "node" }}
- name: node-key
  secret:
    secretName: s3mount-node-key
    defaultMode: 0440
{{- end }}""",
    "pulling": """{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 8 }}
{{- end }}""",
    "lookups": """{{- if .Values.lookups.enabled }}
- name: S3MOUNT_LOOKUP_NAMESPACES
  value: "true"
{{- end }}""",
    "token": """{{- if .Values.lookups.enabled }}
- name: token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}""",
    "events": """{{- with .Values.events.settings }}
env:
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}""",
    "watched": """{{- with .Values.monitoring.labels }}
{{- toYaml . | nindent 4 }}
{{- end }}""",
    "placing": """{{- $fields := list "imagePullSecrets" "nodeSelector" "tolerations" "affinity" }}
{{- range $field := $fields }}
{{- with index $.Values $field }}
{{ $field }}:
  {{- toYaml . | nindent 8 }}
{{- end }}
{{- end }}""",
}


def write() -> None:
    """Write all of them and delete what is made no more."""
    wanted = templates()
    for path in [*(CHART / "templates").glob("*.yaml"), *(CHART / "crds").glob("*.yaml")]:
        path.unlink()
    for name, text in wanted.items():
        (CHART / name).write_text(text)


if __name__ == "__main__":
    write()
