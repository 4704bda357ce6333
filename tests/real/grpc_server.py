"""A gRPC server by grpcio. Tells of each call and of its end; what is held goes on when it is told so."""

import queue
import threading
from concurrent import futures

import grpc

from facts import tell, told

held = queue.Queue()


def begun(method, context):
    """Tells that a call has come, and of its end when that comes: whether it was cancelled before the answer was whole. To a
    method that streams requests grpcio shows a cancellation like the end of them, so theirs may seem finished."""
    metadata = dict(context.invocation_metadata())
    left = context.time_remaining()
    # grpcio says that there is no deadline by one that is ages away.
    left = left if left is not None and left < 1e6 else None
    tell("call", method=method, metadata=metadata, time_left=left)
    finished = threading.Event()
    context.add_callback(lambda: tell("over", method=method, cancelled=not finished.is_set()))
    return finished.set


def unary(request, context):
    finish = begun("unary", context)
    word = dict(context.invocation_metadata()).get("x-word", "")
    context.send_initial_metadata([("x-echo", word), ("x-bytes-bin", b"\x00\xff")])
    context.set_trailing_metadata([("x-trailer", word[::-1])])
    finish()
    return request


def fail(request, context):
    begun("fail", context)()
    context.set_trailing_metadata([("x-trailer", "with an error")])
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "50 % wäre zu viel")


def collect(requests, context):
    finish = begun("collect", context)
    answer = b"+".join(requests)
    finish()
    return answer


def count(request, context):
    finish = begun("count", context)
    for number in range(int(request)):
        yield b"%d" % number
    finish()


def talk(requests, context):
    finish = begun("talk", context)
    for request in requests:
        yield request.upper()
    finish()


def held_unary(request, context):
    finish = begun("held_unary", context)
    held.get()
    finish()
    return request


def held_stream(request, context):
    """Sends a message of each size that it is told, until it is told none."""
    finish = begun("held_stream", context)
    while context.is_active():
        try:
            size = held.get(timeout=0.05)
        except queue.Empty:
            continue
        if size is None:
            finish()
            return
        yield b"x" * size


def flood(request, context):
    """Sends without an end, as fast as it is read."""
    begun("flood", context)
    while context.is_active():
        yield b"x" * int(request)


handlers = {
    "unary": grpc.unary_unary_rpc_method_handler(unary),
    "fail": grpc.unary_unary_rpc_method_handler(fail),
    "held_unary": grpc.unary_unary_rpc_method_handler(held_unary),
    "collect": grpc.stream_unary_rpc_method_handler(collect),
    "count": grpc.unary_stream_rpc_method_handler(count),
    "held_stream": grpc.unary_stream_rpc_method_handler(held_stream),
    "flood": grpc.unary_stream_rpc_method_handler(flood),
    "talk": grpc.stream_stream_rpc_method_handler(talk),
}
server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test", handlers)])
port = server.add_insecure_port("127.0.0.1:0")
server.start()
tell("listening", port=port)
for line in told():
    held.put(line["size"])
