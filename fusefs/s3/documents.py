"""The XML documents of requests and answers, in the shapes of boto3. Pure.

An answer that isn't the expected document is a ValueError or one of `NONSENSE`: S3 sends errors
with status 200, too.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree

NONSENSE = (ElementTree.ParseError, ValueError, KeyError)  # of an answer that isn't understood
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def completion(parts: Sequence[Mapping[str, Any]]) -> bytes:
    """Write a CompleteMultipartUpload: what is told of each part, by S3's own names."""
    root = ElementTree.Element("CompleteMultipartUpload", xmlns=NAMESPACE)
    for part in parts:
        element = ElementTree.SubElement(root, "Part")
        for name, value in part.items():
            ElementTree.SubElement(element, name).text = str(value)
    return ElementTree.tostring(root)


def page(body: bytes) -> dict[str, Any]:
    """Read a ListBucketResult; keys in it are encoded as in URLs where it says so."""
    root = _xml(body, "ListBucketResult")
    page: dict[str, Any] = {"Contents": [], "CommonPrefixes": []}
    for child in root:
        name = _name(child)
        if name == "Contents":
            item: dict[str, Any] = {_name(part): part.text or "" for part in child}
            item["Size"] = int(item["Size"])
            item["LastModified"] = datetime.fromisoformat(item["LastModified"])
            page[name].append(item)
        elif name == "CommonPrefixes":
            page[name] += [{"Prefix": part.text or ""} for part in child]
        else:
            page[name] = child.text or ""
    if page.get("EncodingType") == "url":
        for item in page["Contents"]:
            item["Key"] = unquote_plus(item["Key"])
        for item in page["CommonPrefixes"]:
            item["Prefix"] = unquote_plus(item["Prefix"])
    page["IsTruncated"] = page["IsTruncated"] == "true"
    return page


def copied(body: bytes) -> dict[str, Any]:
    """Read a CopyObjectResult."""
    told = _texts(body, "CopyObjectResult")
    modified = datetime.fromisoformat(told["LastModified"])
    return {"CopyObjectResult": {"ETag": told["ETag"], "LastModified": modified}}


def begun(body: bytes) -> dict[str, Any]:
    """Read an InitiateMultipartUploadResult."""
    return {"UploadId": _texts(body, "InitiateMultipartUploadResult")["UploadId"]}


def completed(body: bytes) -> dict[str, Any]:
    """Read a CompleteMultipartUploadResult, by whatever name: it can't be asked for again."""
    return {"ETag": _texts(body, None)["ETag"]}


def copied_part(body: bytes) -> dict[str, Any]:
    """Read a CopyPartResult."""
    told: dict[str, Any] = _texts(body, "CopyPartResult")
    if not told["ETag"]:
        raise ValueError("no ETag")
    return {"CopyPartResult": told}


def _texts(body: bytes, name: str | None) -> dict[str, str]:
    return {_name(part): part.text or "" for part in _xml(body, name)}


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _xml(body: bytes, name: str | None) -> ElementTree.Element:
    """Parse a document of the expected kind; None for any but an error."""
    # While a long copy runs, S3 sends white space.
    root = ElementTree.fromstring(body.strip())  # noqa: S314 - from our store; expat expands no externals
    if _name(root) != name and (name is not None or _name(root) == "Error"):
        raise ValueError(f"not a {name} but a {root.tag}")
    return root
