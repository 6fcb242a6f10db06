"""An OpenAI-compatible endpoint with a fixed service time and a capacity, which counts what it is asked.

    python -m benchmarks.labels_endpoint CAPACITY SECONDS

At most CAPACITY calls are worked on at once, SECONDS each; further ones wait in a queue. GET /state tells every call:
its question, when it came and when it was answered, by the system's monotonic clock. The address is the first line
printed; the end of standard input ends it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from typing import Any


class Endpoint:
    """Calls so far: [question, came, answered or None]."""

    def __init__(self, capacity: int, seconds: float) -> None:
        self.slots = asyncio.Semaphore(capacity)
        self.seconds = seconds
        self.calls: list[list[Any]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while (request := await _request(reader)) is not None:
                path, body = request
                answer = {"calls": self.calls} if path == "/state" else await self.complete(json.loads(body))
                data = json.dumps(answer).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
                writer.write(head.encode() + data)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Wait for a slot, work, answer."""
        question = body["messages"][-1]["content"]
        call = [question, time.monotonic(), None]
        self.calls.append(call)
        async with self.slots:
            await asyncio.sleep(self.seconds)
        call[2] = time.monotonic()
        message = {"role": "assistant", "content": f"answer to {question}"}
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "benchmark",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }


async def _request(reader: asyncio.StreamReader) -> tuple[str, bytes] | None:
    """Path and body of the next request; None at the end of the connection."""
    first = await reader.readline()
    if not first:
        return None
    length = 0
    while (line := await reader.readline()).strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return first.split()[1].decode(), await reader.readexactly(length)


async def main() -> None:
    """Serve on a free port of the loopback interface."""
    endpoint = Endpoint(int(sys.argv[1]), float(sys.argv[2]))
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


def _end_with_parent() -> None:
    while sys.stdin.read(1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asyncio.run(main())
