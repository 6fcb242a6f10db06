"""A service on a real port, and what is asked of it."""

import threading
import time

import httpx
import uvicorn

from distillir.serving import ServeSettings, app_of, open_service

CHAT = ("what does the otter eat", "The otter eats fish.", "and where does it live?")


def messages(*texts):
    """Question, answer, question, …"""
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


class Live:
    """A service that answers at `url`."""

    def __init__(self, source, settings=None, token="", **options):
        self.service = open_service(source, settings or ServeSettings(timeout=20.0), **options)
        config = uvicorn.Config(
            app_of(source, self.service, token), port=0, log_level="error", lifespan="on", timeout_graceful_shutdown=5
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        until = time.monotonic() + 20
        while not self.server.started and self.thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def post(self, path, body, **options):
        return self.client.post(path, json=body, **options)

    def search(self, *texts, **options):
        reply = self.post("/v1/search", {"messages": messages(*texts), **options})
        assert reply.status_code == 200, reply.text
        return reply.json()

    def stop(self):
        self.client.close()
        self.server.should_exit = True
        self.thread.join(15)
        assert not self.thread.is_alive()
