"""Reading `-o NAME=VALUE,…` in s3fs's spelling.

`s3fsoptions` has the options and what they change; here a list of them is parsed, every mistake is
reported at once, and the table of docs/options.md is written. Pure functions.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fusefs.cli.s3fsoptions import ACCEPTED, BY_NAME, REFUSED, SET, Option
from fusefs.mount.settings import MountSettings


@dataclass(frozen=True, slots=True)
class OptionList:
    """A parsed list of options: values by name, and a sentence for each mistake."""

    values: dict[str, Any]
    problems: tuple[str, ...] = ()

    def applied(self, mount: MountSettings) -> MountSettings:
        """Return `mount` with the options applied; long options override them later."""
        for option in SET:
            if option.name in self.values and option.change is not None:
                mount = option.change(mount, self.values[option.name])
        return mount

    @property
    def idle(self) -> list[str]:
        """The given options that have no effect here."""
        return [option.name for option in ACCEPTED if option.name in self.values]


def read(lists: Iterable[str]) -> OptionList:
    """Parse comma separated lists; a backslash escapes a comma in a value. The last value wins."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    unknown = False
    for word in (word for text in lists for word in _words(text)):
        name, equals, value = word.partition("=")
        option = BY_NAME.get(name)
        if option is None:
            unknown = True
            problems.append(f"-o {_shortened(name)}: unknown{_nearest(name)}")
        elif option.fate == "refused":
            problems.append(f"-o {name}: refused: {option.why}")
        else:
            try:
                values[name] = option.value.read(value if equals else None)
            except ValueError:
                problems.append(_wrong(option))
    if unknown:
        problems.append("known options: " + ", ".join(o.name for o in (*SET, *ACCEPTED)))
    return OptionList(values, tuple(dict.fromkeys(problems)))


def _words(text: str) -> list[str]:
    words = [""]
    escaped = False
    for letter in text:
        if letter == "," and not escaped:
            words.append("")
        elif letter == "\\" and not escaped:
            escaped = True
            continue
        else:
            words[-1] += letter
        escaped = False
    return [word.strip() for word in words if word.strip()]


def _shortened(name: str) -> str:
    return ascii(name)[1:-1][:40]


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, BY_NAME, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _wrong(option: Option) -> str:
    # Without the value: it may be a secret.
    sentence = f"-o {option.name}: the value must be {option.value.rule}"
    if not option.value.example:
        return sentence
    return f"{sentence}; for example {option.name}={option.value.example}"


def markdown() -> str:
    """Return the three tables of docs/options.md."""
    return "\n".join(
        [
            "## Options that set something\n",
            "| option | value | what it sets |\n|---|---|---|",
            *(f"| `{o.name}` | {_cell(o.value.rule)} | {_cell(o.why)} |" for o in _named(SET)),
            "\n## Options that are accepted and change nothing\n",
            "| option | why nothing has to be done |\n|---|---|",
            *(f"| `{o.name}` | {_cell(o.why)} |" for o in _named(ACCEPTED)),
            "\n## Options that are refused\n",
            "| option | why, and what to do |\n|---|---|",
            *(f"| `{o.name}` | {_cell(o.why)} |" for o in _named(REFUSED)),
            "",
        ]
    )


def _named(options: Iterable[Option]) -> list[Option]:
    return sorted(options, key=lambda option: option.name)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
