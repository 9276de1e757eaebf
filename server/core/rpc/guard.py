"""What stands before every call of agents: a message is bounded before it is built, and again field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from hilnas.v1 import artifacts_pb2, control_pb2
from server.core.errors import InvalidValueError
from server.core.rpc.bounds import read_message, violation
from server.core.rpc.errors import answering
from server.core.rpc.wire_bounds import MAX_CONTROL_BYTES, MAX_MESSAGE_BYTES_BY_METHOD, WIRE_BOUNDS

REQUESTS: Mapping[str, type[Any]] = {
    f"/{service.full_name}/{method.name}": GetMessageClass(method.input_type)
    for file in (control_pb2.DESCRIPTOR, artifacts_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
}
"""Every method that agents call, with the message it takes."""


class BoundedMessages(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Answers INVALID_ARGUMENT to what is no such message, too large, or beyond a bound.

    gRPC itself would build any message up to its limit, whatever its fields take in memory, and answer bytes that are
    none with INTERNAL, which agents repeat.
    """

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of a call of ours; others (health) are gRPC's own."""
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        kind = REQUESTS.get(method)
        if handler is None or kind is None:
            return handler
        max_bytes = MAX_MESSAGE_BYTES_BY_METHOD.get(method, MAX_CONTROL_BYTES)
        unary: Callable[..., Any] | None = handler.unary_unary
        stream: Callable[..., Iterator[Any]] | None = handler.unary_stream

        def answer(data: bytes, context: grpc.ServicerContext) -> Any:
            assert unary is not None
            return unary(_checked(kind, data, max_bytes, context), context)

        def answers(data: bytes, context: grpc.ServicerContext) -> Iterator[Any]:
            assert stream is not None
            yield from stream(_checked(kind, data, max_bytes, context), context)

        if stream is not None:
            return grpc.unary_stream_rpc_method_handler(answers, response_serializer=handler.response_serializer)
        return grpc.unary_unary_rpc_method_handler(answer, response_serializer=handler.response_serializer)


def _checked(kind: type[Any], data: bytes, max_bytes: int, context: grpc.ServicerContext) -> Any:
    with answering(context):
        message = read_message(kind, data, max_bytes)
        if found := violation(message, WIRE_BOUNDS):
            raise InvalidValueError(found)
        return message
