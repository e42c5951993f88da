"""A client that asks one page over many connections as fast as it can, in a process of its own.

python rush.py PORT CERTIFICATE CONNECTIONS METHOD PATH [BODY [ADDRESSES]]

"{n}" in BODY is another number in each request. ADDRESSES is how many clients there are.
It prints "ready" when all connections are open, and rushes until its input ends. Then it prints how
often it got each status.
"""

import asyncio
import os
import ssl
import sys
from collections import Counter
from itertools import count


async def main(port, certificate, connections, method, path, body="", addresses="1"):
    trust = ssl.create_default_context(cafile=certificate)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
    number = count(os.getpid() * 10**6)
    statuses, go = Counter(), asyncio.Event()
    ready = asyncio.Semaphore(0)

    async def connect(client):
        # Other clients than the tests' own.
        address = (f"127.0.{client // 180}.{66 + client % 180}", 0)
        return await asyncio.open_connection(
            "127.0.0.1", port, ssl=trust, server_hostname="localhost", local_addr=address
        )

    async def ask_again_and_again(client):
        reader, writer = await connect(client)
        ready.release()
        await go.wait()
        while True:
            try:
                content = body.replace("{n}", str(next(number)))
                writer.write(f"{head}{len(content)}\r\n\r\n{content}".encode())
                answer = await reader.readuntil(b"\r\n\r\n")
                length = answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                statuses[int(answer.split()[1])] += 1
            except (OSError, asyncio.IncompleteReadError):
                statuses["closed"] += 1
                reader, writer = await connect(client)

    tasks = [
        asyncio.create_task(ask_again_and_again(each % int(addresses)))
        for each in range(int(connections))
    ]
    for _ in tasks:
        await ready.acquire()
    print("ready", flush=True)
    go.set()
    await asyncio.to_thread(sys.stdin.read)
    print(dict(statuses), flush=True)


if __name__ == "__main__":
    asyncio.new_event_loop().run_until_complete(main(*sys.argv[1:]))
    os._exit(0)  # the connections end with the process
