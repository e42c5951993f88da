"""The console in Firefox, driven by its own remote protocol, WebDriver BiDi."""

import json
import shutil
from itertools import count

import pytest
from support.helpers import TIMEOUT, TYPED
from support.servers import Server, free_port
from websockets.sync.client import connect

FIND = """async (selector, text) => {
    for (let n = 0; n < 1200; n++) {
        const found = document.querySelector(selector);
        if (found?.textContent.includes(text)) { found.focus(); return found.textContent; }
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`${selector} ${text}: ${document.body.innerText}`);
}"""


class Firefox:
    """A running Firefox with one tab."""

    def __init__(self, socket):
        self.socket, self.ids = socket, count(1)
        self.send("session.new", capabilities={})
        self.tab = self.send("browsingContext.getTree")["contexts"][0]["context"]

    def send(self, method, **params):
        number = next(self.ids)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            reply = json.loads(self.socket.recv(timeout=TIMEOUT))
            if reply.get("id") == number:
                assert reply["type"] == "success", reply
                return reply["result"]

    def find(self, selector, text=""):
        """Wait until an element holds a text; focus it and return all of its text."""
        words = [{"type": "string", "value": value} for value in (selector, text)]
        called = {"functionDeclaration": FIND, "awaitPromise": True, "arguments": words}
        reply = self.send("script.callFunction", target={"context": self.tab}, **called)
        assert reply["type"] == "success", reply
        return reply["result"]["value"]

    def press(self, keys):
        """Type as a person does; "\ue007" is Enter."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        source = {"type": "key", "id": "keyboard", "actions": actions}
        self.send("input.performActions", context=self.tab, actions=[source])


@pytest.fixture
def firefox(tmp_path):
    path = shutil.which("firefox-esr")
    if not path:
        pytest.skip("there is no firefox-esr here; Debian's package has one")
    port = free_port()
    command = [path, "--headless", "--profile", tmp_path, "--remote-debugging-port", str(port)]
    server = Server(command, tmp_path, port, HOME=str(tmp_path))
    try:
        address = server.wait_for(r"WebDriver BiDi listening on (ws://\S+)")
        with connect(f"{address}/session", open_timeout=TIMEOUT, max_size=None) as socket:
            yield Firefox(socket)
    finally:
        server.kill()


def test_a_person_logs_in_and_sees_a_project(firefox, person):
    project = person.create("Shop")
    url = f"http://127.0.0.1:{person.service.port}/"
    firefox.send("browsingContext.navigate", context=firefox.tab, url=url, wait="complete")
    firefox.find("input[name=user_name]")
    firefox.press(person.name)
    firefox.find("input[name=password]")
    firefox.press(f"{TYPED}\ue007")
    firefox.find(".rows .name", "Shop")
    firefox.press("\ue007")
    assert project["project_key"] in firefox.find(".values")
