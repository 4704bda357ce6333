"""A WebSocket server by the library websockets. `/echo` sends everything back, and `/feed` sends messages in fragments,
compressed, with time between them. Says its name first, and tells how each connection ended."""

import asyncio
import logging
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from facts import tell

name = sys.argv[1]
logging.disable(logging.CRITICAL)


async def fragments(number):
    """A message that tells its number, its length, and where it ends."""
    for part in (f"{number}:", "x" * (number % 40), "!"):
        yield part
        await asyncio.sleep(0.02)


async def feed(connection):
    await connection.send(name)
    number = 0
    while True:
        await connection.send(fragments(number))
        number += 1


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def handle(connection):
    try:
        await (feed if connection.request.path == "/feed" else echo)(connection)
    except ConnectionClosed:
        pass
    await connection.wait_closed()
    tell("closed", code=connection.close_code)


async def main():
    async with serve(handle, "127.0.0.1", 0, max_size=None) as server:
        tell("listening", port=server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()


asyncio.run(main())
