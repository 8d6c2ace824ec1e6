"""An HTTP proxy in front of a real server that fails as networks and servers do."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What becomes of a request: None, or one of `Proxy.FAULTS`.
Fault = Callable[[str, str], "str | None"]


class Proxy:
    """Answers as the server behind it, but where `fault(method, path)` names a fault.

    Faults: ``"500"`` and ``"503"`` without asking the server; ``"hang"``, no answer
    until the end; ``"refuse"``, closed without asking; ``"drop"``, the server has done
    it and its answer is lost; ``"cut"``, half of the answer's body.
    """

    FAULTS = ("500", "503", "refuse", "drop", "cut")

    def __init__(self, port: int) -> None:
        self.fault: Fault = lambda method, path: None
        self.seen: list[tuple[str, str]] = []
        self._end = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                outer._handle(self, port)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _any

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def heal(self) -> None:
        """From now on nothing fails."""
        self.fault = lambda method, path: None

    def _handle(self, request: BaseHTTPRequestHandler, port: int) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        self.seen.append((request.command, request.path))
        fault = self.fault(request.command, request.path)
        # Whoever keeps a connection open would keep the proxy from ending.
        request.close_connection = True
        if fault == "hang":
            self._end.wait(60)
        if fault in {"hang", "refuse"}:
            return
        if fault in {"500", "503"}:
            self._answer(request, int(fault), {}, b"<Error><Code>SlowDown</Code></Error>", None)
            return
        server = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            server.request(request.command, request.path, body, dict(request.headers))
            answer = server.getresponse()
            content = answer.read()
        finally:
            server.close()
        if fault != "drop":
            cut = len(content) // 2 if fault == "cut" and content else None
            self._answer(request, answer.status, dict(answer.getheaders()), content, cut)

    def _answer(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str],
        content: bytes,
        cut: int | None,
    ) -> None:
        request.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.send_header("Connection", "close")
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content[:cut])
