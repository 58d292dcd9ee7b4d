"""The part of a kubelet that the API server asks for a container's log (`kubectl logs`, with its options)."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.kubernetes import log_file
from tests.kubernetes.pod_life import PodLife

PodFinder = Callable[[str, str], PodLife]
"""From namespace and name; IndexError when there is none."""


class LogServer:
    """Answers on a port of loopback, with the certificate of the control plane, until `stop`."""

    def __init__(self, port: int, certificate: Path, find: PodFinder) -> None:
        self._stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(find, self._stopping))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="kubelet logs")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def _handler(find: PodFinder, stopping: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            _, namespace, name, *_ = address.path.strip("/").split("/")
            try:
                life = find(namespace, name)
            except IndexError:
                self.send_error(404, "no such container")
                return
            self.send_response(200)
            self.end_headers()
            query = {key: values[0] for key, values in parse_qs(address.query).items()}
            # A reader may leave in the middle.
            with suppress(OSError):
                for piece in _pieces(life, query, stopping):
                    self.wfile.write(piece)

        def log_message(self, *_: object) -> None:
            """Tests print nothing."""

    return Handler


def _pieces(life: PodLife, query: dict[str, str], stopping: threading.Event) -> Iterator[bytes]:
    """What is there, and with `follow` what comes until the container has ended."""
    with life.log.open("rb") as log:
        yield from log_file.select(log.read().splitlines(keepends=True), query)
        later = {"timestamps": query.get("timestamps", "")}
        while query.get("follow") == "true" and not stopping.is_set():
            ended = life.ended
            lines = log.read().splitlines(keepends=True)
            yield from log_file.select(lines, later)
            if ended and not lines:
                return
            time.sleep(0.05)
