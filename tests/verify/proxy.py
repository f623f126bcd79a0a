"""A TCP proxy in front of a service: its connections can be cut and delayed, and it can move to another address."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

CHUNK = 64 * 1024


class Proxy:
    """Passes connections on to the same port of another address; a thread of its own does the work."""

    def __init__(self, port: int, target: str) -> None:
        self.delay = 0.0
        self._port, self._target = port, target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def listen(self, host: str) -> None:
        """Listen at this address, and no longer at the one before."""
        self._run(self._listen(host))

    def cut(self) -> int:
        """Cut all connections; return their number."""
        return self._run(self._cut())

    def close(self) -> None:
        """End everything."""
        self._run(self._listen(None))
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _listen(self, host: str | None) -> None:
        if self._server:
            self._server.close()
            await self._cut()
        self._server = await asyncio.start_server(self._serve, host, self._port) if host else None

    async def _cut(self) -> int:
        connections = list(self._open)
        for writer in connections:
            writer.transport.abort()
        # Each connection has two ends.
        return len(connections) // 2

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_service = await asyncio.open_connection(self._target, self._port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, to_service[1]}
        self._open |= ends
        try:
            await asyncio.gather(self._pass_on(reader, to_service[1]), self._pass_on(to_service[0], writer))
        finally:
            self._open -= ends

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()
        writer.close()
