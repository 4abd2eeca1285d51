"""The ingestion service's messages, compiled from tests/proto when the first test asks for them."""

from __future__ import annotations

import tempfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

if TYPE_CHECKING:
    from google.protobuf.message import Message

SERVICE = "ingestion.v1alpha.IngestionService"
METHOD = "CollectEvents"
_PROTO = Path(__file__).parents[2] / "proto" / "ingestion.proto"


@cache
def request_class() -> type[Message]:
    return _message("ingestion.v1alpha.CollectEventsRequest")


@cache
def empty_class() -> type[Message]:
    return _message("google.protobuf.Empty")


def _message(name: str) -> type[Message]:
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(_compiled()).file:
        pool.Add(file)
    return pool


def _compiled() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "ingestion.binpb"
        includes = [f"-I{_PROTO.parent}", f"-I{resources.files('grpc_tools') / '_proto'}"]
        arguments = ["protoc", *includes, "--include_imports", f"--descriptor_set_out={output}", _PROTO.name]
        if protoc.main(arguments) != 0:
            raise RuntimeError(f"{_PROTO.name} does not compile")
        return output.read_bytes()
