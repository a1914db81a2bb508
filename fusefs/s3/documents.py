"""The XML documents of requests and answers, in boto3's shapes. Pure.

An answer that isn't the expected document raises one of `NONSENSE`: S3 also sends errors with
status 200.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree

NONSENSE = (ElementTree.ParseError, ValueError, KeyError)  # for an answer that can't be parsed
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def completion(parts: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a CompleteMultipartUpload; each part is a mapping by S3's own element names."""
    root = ElementTree.Element("CompleteMultipartUpload", xmlns=NAMESPACE)
    for part in parts:
        element = ElementTree.SubElement(root, "Part")
        for name, value in part.items():
            ElementTree.SubElement(element, name).text = str(value)
    return ElementTree.tostring(root)


def page(body: bytes) -> dict[str, Any]:
    """Parse a ListBucketResult; keys and prefixes are URL-decoded where its EncodingType is url."""
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
    """Parse a CopyObjectResult."""
    fields = _texts(body, "CopyObjectResult")
    modified = datetime.fromisoformat(fields["LastModified"])
    return {"CopyObjectResult": {"ETag": fields["ETag"], "LastModified": modified}}


def begun(body: bytes) -> dict[str, Any]:
    """Parse an InitiateMultipartUploadResult."""
    return {"UploadId": _texts(body, "InitiateMultipartUploadResult")["UploadId"]}


def completed(body: bytes) -> dict[str, Any]:
    """Parse a CompleteMultipartUploadResult, under any root name: a retry would find no upload."""
    return {"ETag": _texts(body, None)["ETag"]}


def copied_part(body: bytes) -> dict[str, Any]:
    """Parse a CopyPartResult."""
    fields: dict[str, Any] = _texts(body, "CopyPartResult")
    if not fields["ETag"]:
        raise ValueError("no ETag")
    return {"CopyPartResult": fields}


def _texts(body: bytes, name: str | None) -> dict[str, str]:
    return {_name(part): part.text or "" for part in _xml(body, name)}


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _xml(body: bytes, name: str | None) -> ElementTree.Element:
    """Parse a document whose root element is `name`; None accepts any root but Error."""
    # S3 sends white space while a long copy runs.
    root = ElementTree.fromstring(body.strip())  # noqa: S314 - from our store; expat expands no externals
    if _name(root) != name and (name is not None or _name(root) == "Error"):
        raise ValueError(f"not a {name} but a {root.tag}")
    return root
