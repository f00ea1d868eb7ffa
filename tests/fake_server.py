"""A hand-written OpenAI-compatible server on loopback: it honours a schema, or misbehaves as a test asks it to.

with FakeServer(lambda messages: {"intent": "refund"}) as server:
    client = openai.OpenAI(base_url=server.url, api_key="none")
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema

Messages = list[dict[str, str]]
Answer = Callable[[Messages], Any]
TOKENS_IN, TOKENS_OUT = 11, 7


@dataclass(frozen=True)
class Request:
    """What the server was sent."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def messages(self) -> Messages:
        return self.body["messages"]


@dataclass
class FakeServer:
    """`answer` makes the object (or text) from the messages; the other fields may be switched at any time.

    behaviour: honest, hang, close, no_choice, refusal, empty, not_json, no_usage, html_page or broken_body.
    statuses: sent first, one per request, before the behaviour applies. refuses: options that are answered with 400.
    An answer that is not of the schema that was asked for is a mistake of the test, and stands in `problems`.
    """

    answer: Answer = lambda messages: {}
    behaviour: str = "honest"
    statuses: list[int] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)
    refuses_message: str = ""
    key: str = ""
    models: set[str] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __enter__(self) -> FakeServer:
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        """The address without a scheme, as OLLAMA_HOST may have it."""
        return f"127.0.0.1:{self._http.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/v1"

    def reply(self, request: Request) -> tuple[int, str, str]:
        """(status, content type, body); status 0 closes the connection without a word."""
        with self._lock:
            self.requests.append(request)
            status = self.statuses.pop(0) if self.statuses else 200
        said_key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if status != 200:
            return _error(status, f"the server is in a bad mood, dear {said_key}")
        if self.key and said_key != self.key:
            return _error(401, f"Incorrect API key provided: {said_key}.")
        if self.models and request.body["model"] not in self.models:
            return _error(404, f"The model {request.body['model']} does not exist")
        unwanted = sorted(self.refuses & set(request.body))
        if unwanted:
            return _error(400, f"Unsupported parameter: {unwanted[0]}")
        if self.refuses_message and self.refuses_message in request.messages[-1]["content"]:
            return _error(400, "This model's maximum context length is 8 tokens")
        return self._behave(request)

    def _behave(self, request: Request) -> tuple[int, str, str]:
        if self.behaviour == "hang":
            self._released.wait(30)
            return 0, "", ""
        if self.behaviour == "close":
            return 0, "", ""
        if self.behaviour == "html_page":
            return 200, "text/html", "<html><body>Welcome to nginx!</body></html>"
        if self.behaviour == "broken_body":
            return 200, "application/json", '{"choices": [{"mess'
        message: dict[str, Any] = {"role": "assistant", "content": self._text(request)}
        if self.behaviour == "refusal":
            message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
        if self.behaviour == "empty":
            message["content"] = ""
        body: dict[str, Any] = {
            "id": "fake",
            "object": "chat.completion",
            "created": 0,
            "model": request.body["model"],
            "choices": [] if self.behaviour == "no_choice" else [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT, "total_tokens": TOKENS_IN + TOKENS_OUT},
        }
        if self.behaviour == "no_usage":
            del body["usage"]
        return 200, "application/json", json.dumps(body)

    def _text(self, request: Request) -> str:
        """The bare object where a schema was asked for, else the object in a fence, as models without one like to do."""
        if self.behaviour == "not_json":
            return "Sure! The intent is refund."
        value = self.answer(request.messages)
        if isinstance(value, str):
            return value
        asked = request.body.get("response_format")
        if not asked:
            return f"```json\n{json.dumps(value)}\n```"
        issue = next(iter(jsonschema.Draft202012Validator(asked["json_schema"]["schema"]).iter_errors(value)), None)
        if issue is not None:
            self.problems.append(issue.message)
        return json.dumps(value)


def _error(status: int, message: str) -> tuple[int, str, str]:
    return status, "application/json", json.dumps({"error": {"message": message, "type": "fake", "code": None}})


def _handler(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, kind, text = server.reply(Request(self.path, headers, body))
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(text.encode())))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

    return Handler
