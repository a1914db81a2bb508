"""Removes from an environment what no process of s3mount imports; the build of the image runs it.

Half of what pip installs is this: a second, asynchronous client of Kubernetes with the HTTP library
that only it uses, and boto3's descriptions of 400 services that aren't S3. Usage: prune.py SITE,
the site-packages directory. It fails when something it knows isn't there any more.
"""

import compileall
import json
import py_compile
import shutil
import sys
from pathlib import Path

# Services that boto3 asks: S3, and where credentials come from.
SERVICES = {"s3", "sts", "sso", "sso-oidc", "signin"}
# Of the asynchronous client of Kubernetes alone.
UNUSED = ["kubernetes/aio"]
DISTRIBUTIONS = [
    "aiohttp-retry",
    "aiohttp",
    "aiohappyeyeballs",
    "aiosignal",
    "frozenlist",
    "multidict",
    "propcache",
    "yarl",
]
# Generated classes, imported all at once and read by nobody: compiled, without their source.
GENERATED = ["kubernetes/client/models", "kubernetes/client/api"]
FOR_TOOLS = ["*.pyi", "*.pxd", "*.pyx", "*.c", "py.typed"]


def prune(site: Path) -> None:
    """Remove it all."""
    for name in UNUSED:
        shutil.rmtree(site / name)
    for name in DISTRIBUTIONS:
        _uninstall(site, name)
    for folder in [path for path in (site / "botocore/data").iterdir() if path.is_dir()]:
        if folder.name not in SERVICES:
            shutil.rmtree(folder)
    for folder in [path for path in site.rglob("*") if path.name == "tests" and path.is_dir()]:
        shutil.rmtree(folder)
    for pattern in FOR_TOOLS:
        for path in list(site.rglob(pattern)):
            path.unlink()
    for name in GENERATED:
        _without_source(site / name)


def _uninstall(site: Path, name: str) -> None:
    """Remove what a distribution installed, its own record with it, so that the SBOM is true."""
    name = name.replace("-", "_")
    (record,) = site.glob(f"{name}-*.dist-info")
    for line in (record / "RECORD").read_text().splitlines():
        (site / line.partition(",")[0]).unlink(missing_ok=True)
    for path in (site / name, record):
        shutil.rmtree(path, ignore_errors=True)


def _without_source(folder: Path) -> None:
    checked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(folder, legacy=True, quiet=1, invalidation_mode=checked):
        raise SystemExit(f"{folder} can't be compiled")
    for path in list(folder.rglob("*.py")):
        path.unlink()


if __name__ == "__main__":
    site = Path(sys.argv[1])
    prune(site)
    left = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    print(json.dumps({"site": str(site), "MiB": left >> 20}))
