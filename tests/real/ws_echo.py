"""A WebSocket server by the library websockets that sends every message back before it looks at what follows it, however
the bytes come: the library's own servers read all that has come before they hand out the first message of it, so that their
answers depend on how TCP has cut the frames."""

import asyncio
import codecs

from websockets.extensions.permessage_deflate import enable_server_permessage_deflate
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from facts import tell


class Cutter:
    """Cuts bytes where frames end (RFC 6455, section 5.2)."""

    def __init__(self):
        self.head = b""
        self.left = 0

    def pieces(self, data):
        while data:
            if self.left == 0:
                self.head += data[:1]
                yield data[:1]
                data = data[1:]
                self.left = self.length()
            else:
                yield data[: self.left]
                here = min(self.left, len(data))
                self.left -= here
                data = data[here:]
            if self.left == 0 and self.is_whole():
                self.head = b""

    def size(self):
        """Bytes of the head, as far as it is known."""
        if len(self.head) < 2:
            return 2
        extended = {126: 2, 127: 8}.get(self.head[1] & 127, 0)
        return 2 + extended + (4 if self.head[1] & 128 else 0)

    def is_whole(self):
        return len(self.head) >= 2 and len(self.head) == self.size()

    def length(self):
        """Bytes of the payload, once the head is whole."""
        if not self.is_whole():
            return 0
        short = self.head[1] & 127
        extended = {126: 2, 127: 8}.get(short, 0)
        return int.from_bytes(self.head[2 : 2 + extended], "big") if extended else short


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.protocol = ServerProtocol(max_size=None, extensions=enable_server_permessage_deflate(None))
        self.cutter = Cutter()
        self.message = []
        self.opcode = None

    def data_received(self, data):
        if self.protocol.state is not OPEN:
            self.protocol.receive_data(data)
            self.answer()
            return
        for piece in self.cutter.pieces(data):
            self.protocol.receive_data(piece)
            self.answer()

    def eof_received(self):
        self.protocol.receive_eof()
        self.answer()

    def answer(self):
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                self.echo(event)
            else:
                self.protocol.send_response(self.protocol.accept(event))
        for data in self.protocol.data_to_send():
            if self.transport.is_closing():
                return
            if data:
                self.transport.write(data)
            else:
                self.transport.write_eof()

    def echo(self, frame):
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self.opcode, self.message = frame.opcode, []
            self.text = codecs.getincrementaldecoder("utf-8")()
        elif frame.opcode != Opcode.CONT:
            return
        if self.opcode == Opcode.TEXT:
            try:
                self.text.decode(bytes(frame.data), frame.fin)
            except UnicodeDecodeError:
                self.protocol.fail(CloseCode.INVALID_DATA)
                return
        self.message.append(bytes(frame.data))
        if frame.fin and self.protocol.state is OPEN:
            send = self.protocol.send_text if self.opcode == Opcode.TEXT else self.protocol.send_binary
            send(b"".join(self.message))


async def main():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    tell("listening", port=server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


asyncio.run(main())
