"""The API server's part in admission policies, with the reference implementation of CEL.

Requests are matched, conditions, variables and validations evaluated in the API server's order.
Everything is dynamically typed here: what the API server's type checker would refuse shows only in
the test against a real one.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings

Object = dict[str, Any]
_NAMES = ("object", "oldObject", "request", "variables", "params", "namespaceObject")


@dataclass(frozen=True)
class Request:
    """One admission request; `resource` with its subresource, as rules write it."""

    operation: str
    object: Object
    old: Object | None = None
    resource: str = "pods"
    groups: tuple[str, ...] = ("system:authenticated",)
    namespace: str = "team-a"
    labels: Object = field(default_factory=lambda: {"s3.mount/injection": "enabled"})
    params: Object | None = None

    def variables(self) -> Object:
        """What expressions can name."""
        user = {"username": "someone", "groups": list(self.groups)}
        request = {"operation": self.operation, "userInfo": user, "namespace": self.namespace}
        # What the API server has an object for; a condition that names another one is an error.
        return {"object": self.object, "oldObject": self.old, "request": request}

    def more(self) -> Object:
        """What variables and validations can name besides: not match conditions."""
        metadata = {"name": self.namespace, "labels": self.labels}
        return {"params": self.params, "namespaceObject": {"metadata": metadata}}


@cache
def _compiled(expression: str) -> Any:
    environment = cel.NewEnv(
        variables=dict.fromkeys(_NAMES, cel.Type.DYN),
        extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
    )
    return environment.compile(expression)


def evaluate(expression: str, variables: Object) -> Any:
    """The value of an expression; AssertionError for an error, which the API server counts too."""
    value = _compiled(expression).eval(data={"variables": {}, **variables})
    assert value.type() != cel.Type.ERROR, f"{expression}: {value.plain_value()}"
    return value.plain_value()


def matches(conditions: list[Object], request: Request) -> bool:
    """Whether all match conditions hold."""
    return all(evaluate(c["expression"], request.variables()) is True for c in conditions)


def selects(selector: Object | None, request: Request) -> bool:
    """Whether a namespaceSelector selects the request's namespace."""
    labels = {**request.labels, "kubernetes.io/metadata.name": request.namespace}
    wanted = (selector or {}).get("matchLabels", {})
    excluded = (selector or {}).get("matchExpressions", [])
    assert all(e["operator"] == "NotIn" for e in excluded)
    return wanted.items() <= labels.items() and not any(
        labels.get(e["key"]) in e["values"] for e in excluded
    )


def denials(policy: Object, request: Request) -> list[str]:
    """The messages with which a policy refuses a request; none when it passes or isn't matched."""
    spec = policy["spec"]
    constraints = spec["matchConstraints"]
    ruled = any(
        request.operation in rule["operations"] and request.resource in rule["resources"]
        for rule in constraints["resourceRules"]
    )
    if not ruled or not selects(constraints.get("namespaceSelector"), request):
        return []
    if not matches(spec.get("matchConditions", []), request):
        return []
    names = request.variables() | request.more()
    names["variables"] = {}
    for variable in spec.get("variables", []):
        names["variables"][variable["name"]] = evaluate(variable["expression"], names)
    failed = [v for v in spec["validations"] if evaluate(v["expression"], names) is not True]
    return [_message(validation, names) for validation in failed]


def _message(validation: Object, names: Object) -> str:
    if "messageExpression" in validation:
        return str(evaluate(validation["messageExpression"], names))
    return str(validation["message"])
