"""One thing that is wrong with a pod, and the one message that tells about all of them.

Not an exception: a review collects every problem before it answers, so that nobody has to repair
a pod one denial at a time. Plain values, safe to share between threads.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

# Long enough to recognise a value, short enough for an event in `kubectl describe`.
SHOWN_VALUE = 120
# The longest honest one lists every option of s3fs.
SHOWN_PROBLEM = 3000
# The API server's own limit for what a webhook may say is larger; people's patience isn't.
SHOWN_PROBLEMS = 20
_USERINFO = re.compile(r"//[^/\s]*@")


@dataclass(frozen=True)
class Problem:
    """What is wrong: where it stands, the value found, the rule it breaks, and what to do."""

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
    """A remedy that shows how it would be right."""
    return f"Example: {text}"


def quoted(value: str) -> str:
    """The value as one line of printable text, shortened: control characters stay visible.

    What stands for a user and a password in a URL is left out: denials are logged.
    """
    value = _USERINFO.sub("//…@", value)
    if len(value) > SHOWN_VALUE:
        value = value[:SHOWN_VALUE] + "…"
    return json.dumps(value, ensure_ascii=True) if not value.isprintable() else f'"{value}"'


def message(pod: str, problems: Sequence[Problem]) -> str:
    """The text of a denial: which pod, how many problems, each on a line of its own."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"s3mount can't give pod {pod} its buckets, {count}:"]
    lines += [f"{n}. {problem}" for n, problem in enumerate(problems[:SHOWN_PROBLEMS], 1)]
    if len(problems) > SHOWN_PROBLEMS:
        lines.append(f"… and {len(problems) - SHOWN_PROBLEMS} more")
    return "\n".join(lines)
