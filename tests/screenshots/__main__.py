"""Take the README's pictures of the console from a running service: ``make screenshots``.

A service with an empty database starts as ``make run`` starts it. A person registers on its console
and creates projects; only the usage of the days before is written into the database.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from support.console_page import Console  # noqa: E402
from support.helpers import chromium  # noqa: E402
from support.servers import GUNICORN, ROOT, Server, free_port  # noqa: E402

SIZE = {"width": 1280, "height": 880}
SETTINGS = {
    "GATEWAY_MAIL_SUPPRESS_SEND": "1",
    "GATEWAY_SERVICE_NAME": "Example API",
    "GATEWAY_REQUEST_MAX": "1000",
    "GATEWAY_END_POINTS": (
        '["https://api.example.com/{pool/}rpc", "wss://api.example.com/{pool/}ws/{credential}"]'
    ),
}
NAMES = ("Weather map", "我的ChatGPT项目", "Wallet", "Shop assistant")
# Of a project, from today backwards: four weeks with quiet week-ends.
REQUESTS = (840, 861, 902, 240, 198, 815, 790, 833, 764, 770, 205, 160, 742, 718, 751)


def main() -> None:
    """Start the service, use its console, and write the pictures beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**SETTINGS, "GATEWAY_INSTANCE_PATH": folder, "WEB_CONCURRENCY": "1"}
        gateway = Path(sys.executable).with_name("gateway")
        subprocess.run([gateway, "db", "upgrade"], env={**os.environ, **environment}, check=True)
        server = Server(GUNICORN, ROOT, free_port(), **environment)
        try:
            server.wait_for("serving on")
            with chromium() as browser:
                take_pictures(browser, server, Path(folder, "gateway.db"))
        finally:
            server.stop()


def take_pictures(browser: object, server: Server, database: Path) -> None:
    """Take the picture of a project in English, and of the list in Chinese and dark."""
    console = Console(browser, f"http://127.0.0.1:{server.port}/")
    console.page.set_viewport_size(SIZE)
    read_code = lambda _: server.wait_for(r"code is (\d+)\b")  # noqa: E731
    console.register("lory", "lory@example.com", read_code)
    for name in NAMES:
        console.create_project(name)
        console.open("projects")
        console.expect_title(console.words("projects"))
    write_usage(database)
    console.page.get_by_role("link", name=NAMES[-1]).click()
    console.expect_title(NAMES[-1])
    console.page.locator(".bar").first.wait_for()
    console.page.screenshot(path=HERE / "project.png")

    console.page.locator("#language").click()
    console.page.emulate_media(color_scheme="dark")
    console.open("projects")
    console.page.locator(".rows .name").nth(len(NAMES) - 1).wait_for()
    console.page.mouse.move(0, 0)
    console.page.set_viewport_size({**SIZE, "height": 640})
    console.page.screenshot(path=HERE / "projects-zh.png")
    console.context.close()


def write_usage(database: Path) -> None:
    """Give each project requests on each of the last 30 days."""
    today = datetime.now(timezone.utc).date()
    with closing(sqlite3.connect(database)) as connection:
        for project in range(1, len(NAMES) + 1):
            days = [REQUESTS[n % len(REQUESTS)] * project // 4 for n in range(30)]
            connection.executemany(
                "INSERT INTO project_days VALUES (?, 1, ?, ?, '2100-01-01 00:00:00.000000')",
                [(project, str(today - timedelta(days=n)), days[n]) for n in range(1, 30)],
            )
            connection.execute(
                "UPDATE projects SET request_day = ?, request_count = ?, request_total = ?"
                " WHERE id = ?",
                (str(today), 210 * project, sum(days), project),
            )
        connection.commit()


if __name__ == "__main__":
    main()
