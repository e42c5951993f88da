"""Connect to the first of a host's addresses that works, as RFC 8305 describes."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections import deque
from typing import Any

NEXT_ADDRESS = 0.5  # seconds until the next address is tried beside those that have not answered
READY = b"2"  # the first byte of a greeting from a relay that is ready


def dial(host: str, port: int, timeout: float, *, greets: bool) -> socket.socket:
    """Return a connection to one of a host's addresses.

    One dead address does not use up the time: the next one is tried beside it, and the first that
    works is taken.

    :param greets: whether the server speaks first. An address works when its greeting begins, or,
        if the server does not speak first, when it accepts the connection.
    :raises OSError: when no address works.
    """
    deadline = time.monotonic() + timeout
    addresses = deque(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
    if len(addresses) == 1:
        greets = False  # there is no choice; who reads the greeting can be interrupted
    failure: OSError = TimeoutError("timed out")
    start_next = time.monotonic()
    with selectors.DefaultSelector() as waiting:
        try:
            while (now := time.monotonic()) < deadline:
                if addresses and (now >= start_next or not waiting.get_map()):
                    start_next = now + NEXT_ADDRESS
                    try:
                        _begin(addresses.popleft(), waiting)
                    except OSError as error:
                        failure = error
                    continue
                if not waiting.get_map():
                    break
                for key, _ in waiting.select((start_next if addresses else deadline) - now):
                    is_last = not addresses and len(waiting.get_map()) == 1
                    try:
                        works = _works(key, waiting, greets=greets, is_last=is_last)
                    except OSError as error:
                        failure = error
                        _forget(key, waiting).close()
                        continue
                    if works:
                        connection = _forget(key, waiting)
                        connection.settimeout(timeout)
                        return connection
            raise failure
        finally:
            for key in list(waiting.get_map().values()):
                _forget(key, waiting).close()


def _begin(address: Any, waiting: selectors.BaseSelector) -> None:
    """Begin to connect to an address, as getaddrinfo describes it."""
    family, kind, protocol, _, where = address
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setblocking(False)
        connection.connect(where)
    except BlockingIOError:
        pass
    except OSError:
        connection.close()
        raise
    waiting.register(connection, selectors.EVENT_WRITE)


def _works(
    key: selectors.SelectorKey, waiting: selectors.BaseSelector, *, greets: bool, is_last: bool
) -> bool:
    """Tell whether a connection, of which something is known now, works.

    :param is_last: no other address is left, so a bad greeting is as good as any.
    :raises OSError: when it never will.
    """
    connection: Any = key.fileobj
    if key.events == selectors.EVENT_WRITE:
        if status := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(status, os.strerror(status))
        waiting.modify(connection, selectors.EVENT_READ)
        return not greets
    start: bytes = connection.recv(1, socket.MSG_PEEK)
    if start != READY and not is_last:
        raise ConnectionAbortedError("the relay is not ready")
    return True


def _forget(key: selectors.SelectorKey, waiting: selectors.BaseSelector) -> socket.socket:
    connection: Any = key.fileobj
    waiting.unregister(connection)
    return connection  # type: ignore[no-any-return]
