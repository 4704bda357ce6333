"""So many WebSocket clients by the library websockets, which read a feed, check that no message is cut, tell of the end that
the library saw, and come back once. The first argument is the address, the second their number."""

import asyncio
import re
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from facts import tell

url = f"ws://{sys.argv[1]}/feed"


def is_whole(message, number):
    return re.fullmatch(f"{number}:x{{{number % 40}}}!", message) is not None


async def client(number):
    async with connect(url) as connection:
        extensions = [extension.name for extension in connection.protocol.extensions]
        tell("open", client=number, name=await connection.recv(), extensions=extensions)
        whole = broken = 0
        try:
            while True:
                message = await connection.recv()
                if is_whole(message, whole):
                    whole += 1
                else:
                    broken += 1
        except ConnectionClosed as closed:
            received = closed.rcvd
            code, reason = (received.code, received.reason) if received else (None, None)
            sent = closed.sent.code if closed.sent else None
            tell("closed", client=number, code=code, reason=reason, sent=sent, whole=whole, broken=broken)
    async with connect(url) as connection:
        tell("again", client=number, name=await connection.recv())


async def main():
    await asyncio.gather(*(client(number) for number in range(int(sys.argv[2]))))


asyncio.run(main())
