"""The reference of annotations, generated from their table: docs/annotations.md, `annotations`.

`python -m webhook annotations --markdown > docs/annotations.md` writes the document; a test
compares the two. Pure functions.
"""

from webhook.parse.table import render_table
from webhook.spec.annotations import ANNOTATIONS, DOMAIN, STATUS, Annotation

_INTRO = """# Annotations

Written from the code by `python -m webhook annotations --markdown`; please don't edit.

A pod asks for a bucket by annotations on itself: in a Deployment, Job or other workload they
belong under `spec.template.metadata.annotations`. The namespace needs the label
`s3.mount/injection: enabled`. Values are text: quote numbers, `"true"` and `"0640"`, or YAML
makes something else of them.

```yaml
metadata:
  annotations:
    s3.mount/bucket: my-bucket
    s3.mount/path: /data
    s3.mount/secret: my-bucket-credentials
```

## More than one mount

Append `.NAME` to every key of a mount; the keys without a name are the mount `default`. A name
is at most 40 characters of a-z, 0-9 and `-`. Mounts share nothing: each has its own values and
defaults.

```yaml
metadata:
  annotations:
    s3.mount/bucket.models: my-models
    s3.mount/path.models: /models
    s3.mount/read-only.models: "true"
    s3.mount/bucket.uploads: my-uploads
    s3.mount/path.uploads: /uploads
```

## Reference
"""
_OUTRO = f"""
`{STATUS}` is written by the webhook: version and mounts, for information only.

## What is denied

A pod is denied with one message that names every problem: the annotation, its value, the rule
and an example. Besides values that break a rule above these are:

- an unknown key that begins with `{DOMAIN}` (the message names the nearest known one), and keys
  of a mount whose `bucket` is missing;
- a path that is equal to, above or below another mount in the same container;
- containers that don't exist, or that run before the mount does;
- containers and volumes whose name is or begins with `s3-mount`, and uses of our volumes;
- more than the platform or the [policy](policy.md) of the namespace allows;
- `hostUsers: false`, Windows nodes, sandboxed runtime classes, and `hostNetwork` without a
  Secret: a mount can't work there, or not safely.

## What is warned of

The pod runs, and whoever creates it is warned: no resources, little memory for so many mounts, a
pod that stops being Guaranteed, too short a grace period for a full cache, a Secret that isn't
there, a container whose user can't write to the mount, init containers that run before it, a mesh
proxy that starts after it, plain http, a shared process namespace, a port of the pod's that the
mount's metrics would need, and keys of ours among the labels.

## What else changes in the pod

Two native sidecars in `initContainers` for all mounts together: `s3-mount-keeper`, which is
privileged and has no credentials, and `s3-mount-worker`, which has the credentials and no
privileges, and serves its metrics on a port named `s3mount-metrics`. Volumes named `s3-mount-…`,
and one `volumeMount` for each mount in the containers that get it.
In [node mode](node.md) there is no keeper: each mount is an inline volume `s3-mount-bucket-NAME` of
the node's plugin.
`terminationGracePeriodSeconds` is raised to the platform's minimum (60 s) when a mount can be
written to, so that what is dirty reaches S3. Nothing is removed or replaced otherwise.
"""


def markdown() -> str:
    """Return the whole of docs/annotations.md."""
    rows = [
        "| annotation | default | meaning | rule | example |",
        "|---|---|---|---|---|",
        *(_row(annotation) for annotation in ANNOTATIONS),
    ]
    named = [f"`{a.key}`" for a in ANNOTATIONS if not a.per_mount]
    note = f"\n{', '.join(named)} speak of the whole pod and take no `.NAME`.\n"
    return "\n".join([_INTRO, *rows, note]) + _OUTRO


def _row(annotation: Annotation) -> str:
    cells = (
        f"`{annotation.key}`",
        annotation.default,
        annotation.meaning,
        annotation.rule.removeprefix("must be "),
        f"`{annotation.example}`",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def plain() -> str:
    """Return a table for a terminal."""
    rows = [(a.key, a.default.replace("`", ""), a.example) for a in ANNOTATIONS]
    return render_table(("ANNOTATION", "DEFAULT", "EXAMPLE"), rows)
