"""A real HTTP server that misbehaves on demand."""

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from distillir.teachers import Endpoint, EndpointSettings, Message, Retry

ZERO = Retry(attempts=4, first=0.0)


def user(text, **_):
    return (Message("user", text),)


def completion(*texts, model="m-2026", usage=(7, 3), logprobs=None, **more):
    """What an endpoint sends back."""
    choices = [
        {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        | ({"logprobs": {"content": logprobs}} if logprobs is not None else {})
        for i, text in enumerate(texts)
    ]
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": choices}
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return body | more


@dataclass
class Say:
    """One answer of the server: `body` is sent as JSON unless it is text; `cut`: the connection ends half way."""

    body: object = ""
    status: int = 200
    headers: dict = field(default_factory=dict)
    kind: str = "application/json"
    wait: float = 0.0
    cut: bool = False


class Server:
    """Says what it was told to, one answer a call, the last one again and again; remembers what it was asked.

    Attributes:
        asked: bodies of the calls, in order; headers: of them; times: of their arrival.
        most: calls there ever were at once.
    """

    def __init__(self):
        self.script, self.asked, self.headers, self.times = [], [], [], []
        self.now = self.most = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.lock:
                    outer.times.append(time.monotonic())
                    outer.asked.append(json.loads(body))
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                    outer.now += 1
                    outer.most = max(outer.most, outer.now)
                    say = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                try:
                    self.say(say(outer.asked[-1]) if callable(say) else say)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    with outer.lock:
                        outer.now -= 1

            def say(self, say):
                time.sleep(say.wait)
                text = say.body if isinstance(say.body, str) else json.dumps(say.body)
                data = text.encode()
                self.send_response(say.status)
                self.send_header("Content-Type", say.kind)
                self.send_header("Content-Length", str(len(data)))
                for name, value in say.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if say.cut else data)
                self.wfile.flush()
                self.close_connection = self.close_connection or say.cut

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def endpoint(self, **settings):
        """An endpoint at this server, without waits between attempts."""
        fields = {"base_url": self.url, "retry": ZERO, "total": 10.0, "connect": 2.0, "read": 10.0} | settings
        return Endpoint(EndpointSettings("m", **fields))

    def ask(self, *questions, **settings):
        """Their answers, asked all at once."""

        async def all_of_them():
            async with self.endpoint(**settings) as endpoint:
                return await asyncio.gather(*(endpoint.ask(question) for question in questions))

        answers = asyncio.run(all_of_them())
        return answers[0] if len(questions) == 1 else answers


def answers(model, *questions):
    """What a model says to questions asked all at once."""

    async def all_of_them():
        async with model:
            return await asyncio.gather(*(model.ask(question) for question in questions))

    return asyncio.run(all_of_them())
