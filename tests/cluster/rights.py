"""The rights of the webhook's service account: as the API server lists them, and as the docs do."""

from __future__ import annotations

import re
from typing import Any

from kubernetes import client

from tests.cluster.cluster import Cluster
from tests.cluster.installation import SYSTEM
from tests.sources import REPOSITORY

# A verb, the plural of a kind, and the only name it is for, or nothing.
Right = tuple[str, str, str]
ROW = re.compile(
    r"^\| (?P<verbs>(`\w+`(, )?)+) \| (?P<kind>\w+)( `(?P<name>[^`]+)`)?", re.MULTILINE
)


def documented() -> set[Right]:
    """Return the rights of the table in docs/security.md, without those of an option."""
    text = (REPOSITORY / "docs" / "security.md").read_text()
    section = text.partition("### Rights of the service account")[2].partition("\n##")[0]
    return {
        (verb, _plural(row["kind"]), row["name"] or "")
        for row in ROW.finditer(section)
        for verb in re.findall(r"\w+", row["verbs"])
    }


def granted(cluster: Cluster) -> set[Right]:
    """Return the account's rights in its namespace, beyond those of any service account."""
    return _rights(cluster, "s3mount-webhook") - _rights(cluster, "default")


def _rights(cluster: Cluster, account: str) -> set[Right]:
    api = client.ApiClient()
    api.set_default_header("Impersonate-User", f"system:serviceaccount:{SYSTEM}:{account}")
    review: Any = client.AuthorizationV1Api(api).create_self_subject_rules_review(
        {"spec": {"namespace": SYSTEM}}
    )
    return {
        (verb, resource, name)
        for rule in review.status.resource_rules
        for verb in rule.verbs
        for resource in rule.resources
        for name in rule.resource_names or [""]
    }


def _plural(kind: str) -> str:
    lower = kind.lower()
    return lower if lower.endswith("s") else f"{lower}s"
