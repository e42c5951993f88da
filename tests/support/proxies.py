"""Each proxy with the shipped sample, edited as its comments ask."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import sys
from contextlib import closing, suppress
from pathlib import Path

from support.helpers import until
from support.nginx_front import DEPLOY, Front, NginxFront, replaced, write_certificate
from support.servers import Server, free_port

BIN = Path(sys.executable).parent
HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
NAMES = ("nginx", "caddy", "traefik", "envoy", "haproxy")


def missing(name):
    """Tell whether a proxy's program is not here."""
    if name == "nginx":
        return False
    return not (HAPROXY if name == "haproxy" else (BIN / name).exists())


def start(name, folder, node, main, blue):
    """Run a proxy; its sample has a pool blue and lets /rpc/v1/images cost 20.

    :param node: the port of gateway's node; ``main``, ``blue``: those of the servers.
    """
    if name == "nginx":
        changes = {'# "~^/rpc/v1/images': '"~^/rpc/v1/images', "rate=100r/s": "rate=9999r/s"}
        return NginxFront(folder, [node], main, blue, changes)
    return OtherFront(name, folder, node, main, blue)


class OtherFront(Front):
    """Caddy, Traefik, Envoy or HAProxy."""

    def __init__(self, name, folder, node, main, blue):
        self.folder, self.port = folder, free_port()
        write_certificate(folder)
        self.trust = ssl.create_default_context(cafile=folder / "gateway.crt")
        certificate, key = ((folder / f"gateway.{end}").read_text() for end in ("crt", "key"))
        (folder / "gateway.pem").write_text(certificate + key)
        ports = {
            "127.0.0.1:8082": f"127.0.0.1:{node}",
            "127.0.0.1:9000": f"127.0.0.1:{main}",
            "10.0.1.1:9000": f"127.0.0.1:{blue}",
        }
        command = getattr(self, name)(ports, node, main, blue)
        home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        self.server = Server(command, folder, self.port, **home)
        self.server.wait_for(READY[name]) if READY[name] else self.wait_until_it_listens()

    def write(self, file, changes, examples, new_name=None):
        """Write an edited sample; lines of examples that match are no comments any more."""
        paragraphs = (DEPLOY / file).read_text().split("\n\n")
        for number, paragraph in enumerate(paragraphs):
            if "blue" in paragraph or "images" in paragraph:
                paragraphs[number] = re.sub(examples, r"\1\2", paragraph, flags=re.MULTILINE)
        text = "\n\n".join(paragraphs)
        (self.folder / (new_name or file)).write_text(replaced(text, changes))

    def caddy(self, ports, *_):
        changes = {
            **ports,
            "auto_https disable_redirects": "admin off\n\tauto_https disable_redirects",
            "\napi.example.com {": f"\nhttps://localhost:{self.port} {{\n\tbind 127.0.0.1",
        }
        self.write("Caddyfile", changes, r"^(\t+)# ((?:vars )?@|handle @|\timport|\})")
        return [BIN / "caddy", "run", "--config", "Caddyfile"]

    def traefik(self, ports, *_):
        changes = {**ports, "api.example.com": "localhost", "/etc/traefik/": f"{self.folder}/"}
        self.write(
            "traefik.yaml", changes, r"^( +)# ((?:blue|images|ask-[a-z]+):| +\w+:)", "gateway.yaml"
        )
        options = [f"--entryPoints.https.address=127.0.0.1:{self.port}", "--log.level=INFO"]
        options += ["--entryPoints.https.http.aliasHeadersStrategy=delete"]
        return [BIN / "traefik", *options, "--providers.file.filename=gateway.yaml"]

    def envoy(self, _ports, node, main, blue):
        changes = {
            "address: 0.0.0.0, port_value: 443": f"address: 127.0.0.1, port_value: {self.port}",
            "port_value: 8082": f"port_value: {node}",
            "address: 127.0.0.1, port_value: 9000": f"address: 127.0.0.1, port_value: {main}",
            "address: 10.0.1.1, port_value: 9000": f"address: 127.0.0.1, port_value: {blue}",
            "[api.example.com, ": "[localhost, ",
            '"api.example.com:*"]': '"localhost:*"]',
        }
        self.write("envoy.yaml", changes, r"^( +)# ( *- (?:match|name)|  +\S)")
        options = ["--concurrency", "2", "--use-dynamic-base-id", "-l", "info"]
        return [BIN / "envoy", "-c", "envoy.yaml", *options]

    def haproxy(self, ports, *_):
        changes = {
            **ports,
            "127.0.0.1:8081": f"127.0.0.1:{free_port()}",
            "bind :443": f"bind 127.0.0.1:{self.port}",
        }
        example = r"^( *)# ((?:backend|    server|http-request (?:set-var|replace-path)).*)"
        self.write("haproxy.cfg", changes, example)
        asked = {"127.0.0.1:8081": changes["127.0.0.1:8081"]}
        self.write("haproxy.lua", asked, "()()^$")
        return [HAPROXY, "-db", "-f", "haproxy.cfg"]

    def wait_until_it_listens(self):
        def listens():
            connection = self.connect()
            with closing(connection), suppress(OSError):
                connection.connect()
                return True
            return False

        until(listens)


READY = {
    "caddy": "serving initial configuration",
    "traefik": None,
    "envoy": "starting main dispatch loop",
    "haproxy": None,
}
