"""An application that writes down what it was promised, and the comparison with the bucket.

It runs in a pod as `python -c SOURCE`: it writes files, calls fsync or close, reads them back, and
only then prints a line `NAME SHA256`. Whatever it printed must be in the bucket afterwards. Each
pod has a directory of its own.
"""

from __future__ import annotations

import hashlib

from tests.servers.s3 import Bucket

SOURCE = """
import hashlib, os, signal, sys
ends = []
signal.signal(signal.SIGTERM, lambda *_: ends.append(1))
here, number = "/data/" + os.uname().nodename, 0
os.makedirs(here, exist_ok=True)
while not ends:
    number += 1
    path = f"{here}/{number:05d}"
    content = os.urandom(1000 + 977 * (number % 90))
    with open(path, "wb") as file:
        for at in range(0, len(content), 4096):
            file.write(content[at : at + 4096])
        if number % 3 == 0:
            file.flush()
            os.fsync(file.fileno())
    with open(path, "rb") as file:
        assert file.read() == content, path
    with open(here + ".log", "a") as file:
        file.write(f"{number}\\n")
    print(path.removeprefix("/data/"), hashlib.sha256(content).hexdigest(), flush=True)
print("end", flush=True)
"""
COMMAND = ["python", "-c", SOURCE]


def promises(log: str) -> dict[str, str]:
    """Return the digest of each file that the application was told is safe."""
    pairs = (line.split() for line in log.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def broken(promised: dict[str, str], bucket: Bucket) -> dict[str, str]:
    """Return the promises that the bucket does not keep, and how."""
    found = {}
    for key, digest in promised.items():
        try:
            stored = hashlib.sha256(bucket.get(key)).hexdigest()
        except KeyError:
            found[key] = "is not there"
            continue
        if stored != digest:
            found[key] = "has other content"
    return found
