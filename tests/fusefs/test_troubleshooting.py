"""docs/troubleshooting.md quotes what the code says, and its recipes work."""

import re
from pathlib import Path

from fusefs.disk.space import Space
from fusefs.write.staged import Record, Staged
from tests.sources import PACKAGES

REPOSITORY = Path(__file__).parents[2]
TEXT = (REPOSITORY / "docs/troubleshooting.md").read_text()
# Not ours: messages of the kernel, of S3 and of the API server, and commands.
OTHERS = {
    "503 Slow Down",
    "Transport endpoint is not connected",
    "No space left on device",
    "Could not connect",
    "timed out",
    "device or resource busy",
    "no params found",
    "failed to find resource referenced by paramKind",
    "fusermount3 -u -z MOUNTPOINT",
}


def source() -> str:
    """Return all code, and the guards, with string literals that continue each other made one."""
    code = [path for name in PACKAGES for path in (REPOSITORY / name).rglob("*.py")]
    files = [*code, *(REPOSITORY / "deploy").rglob("*.yaml")]
    text = "\n".join(path.read_text() for path in files)
    return re.sub(r'"\s*\n\s*f?"', "", text) + " ".join(text.split())


def quoted() -> set[str]:
    """Return the sentences in code spans: what has blanks and is neither command nor format."""
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    sentences = {span for span in re.findall(r"`([^`\n]+)`", prose) if " " in span}
    other = re.compile(r"python -m|fusefs \w+ |kill -|kubectl |[-\"]|[wztr] |s3mount_")
    formats = {span for span in sentences if other.match(span)}
    return sentences - formats - OTHERS


def test_every_quoted_line_is_one_the_code_says() -> None:
    """Word for word; `…` stands for what differs."""
    said = source()
    assert len(quoted()) > 25
    missing = {
        sentence
        for sentence in quoted()
        if not all(part.strip() in said for part in sentence.split("…"))
    }
    assert missing == set()


def test_a_file_that_was_new_is_whole_in_its_data(tmp_path: Path) -> None:
    """No script is needed for it."""
    staged = Staged(tmp_path / "x", Record("k", "*", None, 0), Space(tmp_path, 1 << 30, 0))
    staged.write(0, b"first ")
    staged.write(6, b"second")
    assert staged.keep_as_conflict(tmp_path / "c").read_bytes() == b"first second"
