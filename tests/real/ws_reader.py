"""So many WebSocket clients by the library websockets, each at a path of its own, which tell what has come by their end. The
arguments are an address and how many there are. The key is that of the protocol's own example, so that a script can answer."""

import asyncio
import sys

import websockets.client
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from facts import tell

websockets.client.generate_key = lambda: "dGhlIHNhbXBsZSBub25jZQ=="


async def client(number):
    url = f"ws://{sys.argv[1]}/held/tunnel/{number}"
    async with connect(url, compression=None) as connection:
        messages = []
        try:
            while True:
                message = await connection.recv()
                messages.append(message if isinstance(message, str) else message.decode())
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
            sent = closed.sent.code if closed.sent else None
            tell("closed", client=number, code=code, sent=sent, messages=messages)


async def main():
    await asyncio.gather(*(client(number) for number in range(int(sys.argv[2]))))


asyncio.run(main())
