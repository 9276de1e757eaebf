"""A TCP wire that can be cut without either side being told: bytes just stop, as when a cable is pulled."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class CutWire:
    """Forwards a local port to another one until it is cut; connections made meanwhile hang as well."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._whole = threading.Event()
        self._whole.set()
        self._stranded: list[threading.Event] = []
        self._sockets: list[socket.socket] = [self._listener]
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Forward nothing from now on."""
        self._whole.clear()

    def mend(self) -> None:
        """Forward again, also what was held back."""
        self._whole.set()

    def strand(self) -> None:
        """Leave the connections there are half-open permanently; new ones work. As when a router forgets its table."""
        self._whole.clear()
        self._stranded.append(self._whole)
        self._whole = threading.Event()
        self._whole.set()

    def lead_to(self, target_port: int) -> None:
        """Lead to another port: connections break, and new ones go there. As when a load balancer loses a server."""
        self._target_port = target_port
        broken, self._sockets = self._sockets[1:], self._sockets[:1]
        for one in broken:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        """Close everything."""
        self._closed = True
        for whole in (self._whole, *self._stranded):
            whole.set()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:  # nobody there at the moment
                near.close()
                continue
            self._sockets += [near, far]
            threading.Thread(target=self._forward, args=(near, far, self._whole), daemon=True).start()

    def _forward(self, near: socket.socket, far: socket.socket, whole: threading.Event) -> None:
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError, ValueError):
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while not self._closed:
                for key, _ in selector.select(0.2):
                    whole.wait()
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    data = source.recv(65_536)
                    if not data:
                        near.close()
                        far.close()
                        return
                    key.data.sendall(data)
