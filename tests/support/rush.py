"""A client that asks one page over many connections as fast as it can, in a process of its own.

python rush.py PORT CERTIFICATE CONNECTIONS METHOD PATH [BODY]

It prints "ready" when all connections are open, and rushes until its input ends. Then it prints how
often it got each status.
"""

import asyncio
import os
import ssl
import sys
from collections import Counter

ADDRESS = ("127.0.0.66", 0)  # another client than the tests' own


async def main(port, certificate, connections, method, path, body=""):
    trust = ssl.create_default_context(cafile=certificate)
    request = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    statuses, go = Counter(), asyncio.Event()
    ready = asyncio.Semaphore(0)

    async def connect():
        return await asyncio.open_connection(
            "127.0.0.1", port, ssl=trust, server_hostname="localhost", local_addr=ADDRESS
        )

    async def ask_again_and_again():
        reader, writer = await connect()
        ready.release()
        await go.wait()
        while True:
            try:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                statuses[int(head.split()[1])] += 1
            except (OSError, asyncio.IncompleteReadError):
                statuses["closed"] += 1
                reader, writer = await connect()

    tasks = [asyncio.create_task(ask_again_and_again()) for _ in range(int(connections))]
    for _ in tasks:
        await ready.acquire()
    print("ready", flush=True)
    go.set()
    await asyncio.to_thread(sys.stdin.read)
    print(dict(statuses), flush=True)


if __name__ == "__main__":
    asyncio.new_event_loop().run_until_complete(main(*sys.argv[1:]))
    os._exit(0)  # the connections end with the process
