"""An OpenAI-compatible endpoint that rewrites by rule, counts what it was asked, and fails when told to."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LanguageModel:
    """Replies `reply`; answers 500 while `broken`."""

    def __init__(self, reply="where does the otter live"):
        self.reply, self.broken, self.asked = reply, False, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked.append(body["messages"][-1]["content"])
                message = {"role": "assistant", "content": outer.reply}
                answer = {
                    "id": "x",
                    "object": "chat.completion",
                    "created": 1,
                    "model": "rule",
                    "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                    "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107},
                }
                data = json.dumps(answer).encode()
                self.send_response(500 if outer.broken else 200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
