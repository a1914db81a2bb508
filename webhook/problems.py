"""One problem of a pod, and the message with all problems of a pod.

Not an exception: a review collects every problem before it answers, so that a pod isn't repaired
one denial at a time. Plain values, safe to share between threads.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

# Long enough to recognise a value, short enough for an event in `kubectl describe`.
SHOWN_VALUE = 120
# The longest one lists every option of s3fs.
SHOWN_PROBLEM = 3000
# The API server's limit for a message is larger; more problems don't help a reader.
SHOWN_PROBLEMS = 20
_USERINFO = re.compile(r"//[^/\s]*@")


@dataclass(frozen=True)
class Problem:
    """A problem: its place, the value found, the rule it breaks, and the remedy."""

    where: str
    value: str | None
    rule: str
    remedy: str

    def __str__(self) -> str:
        found = "" if self.value is None else f": {quoted(self.value)}"
        stop = "" if self.rule.endswith("?") else "."
        text = f"{self.where}{found}: {self.rule}{stop} {self.remedy}"
        return text if len(text) <= SHOWN_PROBLEM else text[:SHOWN_PROBLEM] + "…"


def example(text: str) -> str:
    """Return a remedy that shows a valid value."""
    return f"Example: {text}"


def quoted(value: str) -> str:
    """Return the value as one line of printable text, shortened, control characters escaped.

    User and password in a URL are left out: denials are logged.
    """
    value = _USERINFO.sub("//…@", value)
    if len(value) > SHOWN_VALUE:
        value = value[:SHOWN_VALUE] + "…"
    return json.dumps(value, ensure_ascii=True) if not value.isprintable() else f'"{value}"'


def message(pod: str, problems: Sequence[Problem]) -> str:
    """Return the text of a denial: the pod, the number of problems, each on a line of its own."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"s3mount can't give pod {pod} its buckets, {count}:"]
    lines += [f"{n}. {problem}" for n, problem in enumerate(problems[:SHOWN_PROBLEMS], 1)]
    if len(problems) > SHOWN_PROBLEMS:
        lines.append(f"… and {len(problems) - SHOWN_PROBLEMS} more")
    return "\n".join(lines)
