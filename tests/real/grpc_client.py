"""A gRPC client by grpcio: one channel to the address it is given. Makes the calls that it is told, each by itself, and tells
of what comes."""

import collections
import sys
import threading
import time

import grpc

from facts import tell, told

channel = grpc.insecure_channel(sys.argv[1], [("grpc.default_authority", "shop.test")])
KINDS = {
    "unary": channel.unary_unary,
    "fail": channel.unary_unary,
    "held_unary": channel.unary_unary,
    "collect": channel.stream_unary,
    "count": channel.unary_stream,
    "held_stream": channel.unary_stream,
    "flood": channel.unary_stream,
    "talk": channel.stream_stream,
}


def requests(call):
    """The messages of a call that streams them; with `open` it stays open behind them."""
    yield from (text.encode() for text in call["requests"])
    if call.get("open"):
        threading.Event().wait()


def texts(metadata):
    return {name: value if isinstance(value, str) else value.hex() for name, value in metadata or ()}


def make(call):
    method = call["method"]
    stub = KINDS[method](call.get("path", f"/test/{method}"), None, None)
    streams_up = method in ("collect", "talk")
    request = requests(call) if streams_up else call["requests"][0].encode()
    streams_down = method in ("count", "held_stream", "flood", "talk")
    begin = stub if streams_down else stub.future
    metadata = [("x-word", call.get("word", "none"))]
    rpc = begin(request, timeout=call.get("timeout"), metadata=metadata)
    name = call.get("name", method)
    messages = []
    try:
        for message in rpc if streams_down else [rpc.result()]:
            shown = message.decode() if len(message) < 100 else f"{len(message)} bytes"
            messages.append(shown)
            if method != "flood" or len(messages) == 1:
                tell("message", name=name, message=shown)
            if len(messages) == call.get("cancel_after"):
                rpc.cancel()
    except (grpc.RpcError, grpc.FutureCancelledError):
        pass
    tell(
        "end",
        name=name,
        code=rpc.code().name,
        details=rpc.details(),
        messages=messages if method != "flood" else sorted(set(messages)),
        head=texts(rpc.initial_metadata()),
        trailers=texts(rpc.trailing_metadata()),
    )


def repeat(call):
    """Makes the same short call again and again, and tells how they ended."""
    codes = collections.Counter()
    for _ in range(call["times"]):
        rpc = channel.unary_unary("/test/unary").future(b"x")
        codes[rpc.code().name] += 1
        time.sleep(0.005)
    tell("codes", codes=codes)


for line in told():
    work = repeat if "times" in line else make
    threading.Thread(target=work, args=(line,), daemon=True).start()
