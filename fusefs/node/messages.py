"""The messages of the two gRPC interfaces between kubelet and plugin, with the fields used here.

Made from a table at import, so that there is no generated code. Field numbers and names are those
of the published definitions: `csi.proto` of the Container Storage Interface 1.9 (package `csi.v1`),
and the kubelet's `pluginregistration/v1/api.proto`. What isn't in the table is skipped when read,
as protobuf does with any unknown field.

protobuf is imported here only. No state, usable from any thread.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

CSI, REGISTRATION = "csi.v1", "pluginregistration"
_KINDS = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "strings": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "map": descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,  # map<string, string>
}
_REPEATED = {"strings", "map"}

# package -> message -> (field, number, kind)
_MESSAGES: dict[str, dict[str, tuple[tuple[str, int, str], ...]]] = {
    CSI: {
        "GetPluginInfoRequest": (),
        "GetPluginInfoResponse": (("name", 1, "string"), ("vendor_version", 2, "string")),
        "GetPluginCapabilitiesRequest": (),
        "GetPluginCapabilitiesResponse": (),
        "ProbeRequest": (),
        "ProbeResponse": (),
        "NodePublishVolumeRequest": (
            ("volume_id", 1, "string"),
            ("target_path", 4, "string"),
            ("readonly", 6, "bool"),
            ("volume_context", 8, "map"),
        ),
        "NodePublishVolumeResponse": (),
        "NodeUnpublishVolumeRequest": (("volume_id", 1, "string"), ("target_path", 2, "string")),
        "NodeUnpublishVolumeResponse": (),
        "NodeGetCapabilitiesRequest": (),
        "NodeGetCapabilitiesResponse": (),
        "NodeGetInfoRequest": (),
        "NodeGetInfoResponse": (("node_id", 1, "string"),),
    },
    REGISTRATION: {
        "InfoRequest": (),
        "PluginInfo": (
            ("type", 1, "string"),
            ("name", 2, "string"),
            ("endpoint", 3, "string"),
            ("supported_versions", 4, "strings"),
        ),
        "RegistrationStatus": (("plugin_registered", 1, "bool"), ("error", 2, "string")),
        "RegistrationStatusResponse": (),
    },
}


def _pool() -> descriptor_pool.DescriptorPool:
    """Return a pool with all messages, apart from whatever else the process may load."""
    pool = descriptor_pool.DescriptorPool()
    for package, messages in _MESSAGES.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=f"{package}.proto", package=package, syntax="proto3"
        )
        for name, fields in messages.items():
            message = file.message_type.add(name=name)
            for field, number, kind in fields:
                _add_field(message, package, field, number, kind)
        pool.Add(file)
    return pool


def _add_field(message: Any, package: str, name: str, number: int, kind: str) -> None:
    proto = descriptor_pb2.FieldDescriptorProto
    label = proto.LABEL_REPEATED if kind in _REPEATED else proto.LABEL_OPTIONAL
    field = message.field.add(name=name, number=number, type=_KINDS[kind], label=label)
    if kind != "map":
        return
    # A map is a repeated message of keys and values, named after its field (protobuf's encoding).
    entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
    entry.options.map_entry = True
    for key, place in (("key", 1), ("value", 2)):
        entry.field.add(name=key, number=place, type=proto.TYPE_STRING, label=proto.LABEL_OPTIONAL)
    field.type_name = f".{package}.{message.name}.{entry.name}"


_POOL = _pool()


def message_class(package: str, name: str) -> Any:
    """Return the class of a message; KeyError where the table has none of that name."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{package}.{name}"))
