"""The container image: `make image` builds it from a base that is made here, without an engine."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from urllib.request import Request, urlopen

import pytest
from support.helpers import PASSWORD, basic
from support.servers import ROOT, Server, free_port

TOOLS = ("buildah", "mmdebstrap", "make")
pytestmark = [
    pytest.mark.image,
    pytest.mark.skipif(os.geteuid() != 0, reason="building without an engine needs root"),
    pytest.mark.skipif(
        not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)} (Debian has them)"
    ),
]
# What an engine gives to a container of compose.yaml: only the volume and /tmp can be written.
READ_ONLY = """
mount --bind {root} {root} && mount -o remount,bind,ro {root} && mount -t proc proc {root}/proc &&
mount --bind /dev {root}/dev && mount -t tmpfs tmpfs {root}/tmp &&
mount --bind {volume} {root}/var/lib/gateway && exec chroot --userspec={user} {root} "$@"
"""


def run(*command, **kwargs):
    done = subprocess.run(command, text=True, capture_output=True, check=False, **kwargs)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.strip()


def debian_sources():
    """Return where this machine gets its packages from, as apt says it."""
    form = "deb $(REPO_URI) $(CODENAME) $(COMPONENT)"
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    sources = run(
        "apt-get", "indextargets", "--format", form, "Created-By: Packages", f"Codename: {suite}"
    )
    return suite, "\n".join(sorted(set(sources.splitlines())))


@pytest.fixture(scope="module")
def image(tmp_path_factory, packages):
    """Build the image; return a folder with its files, and its configuration."""
    folder = tmp_path_factory.mktemp("image")
    suite, sources = debian_sources()
    base = folder / "base"
    base.mkdir()
    run(
        *("mmdebstrap", "--variant=minbase", "--include=python3,python3-venv", suite),
        base / "base.tar",
        "-",
        input=sources,
    )
    (base / "Containerfile").write_text("FROM scratch\nADD base.tar /\n")
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
    )
    environment = {
        **os.environ,
        "BUILDAH_ISOLATION": "chroot",
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
    }
    run("buildah", "build", "--tag", "localhost/base", base, env=environment)
    # What pip would fetch, because the mirror of this machine may not be one of the container's.
    wheels = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "wheel", "--wheel-dir", wheels, "setuptools>=77"]
    (wheel,) = (package for package in packages if package.suffix == ".whl")
    run(*pip, "--constraint", ROOT / "constraints.txt", f"{wheel}[postgres,metrics]")
    (folder / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    options = f"--volume {wheels}:/wheels:ro --volume {folder}/pip.conf:/etc/pip.conf:ro"
    run(
        *("make", "--no-print-directory", "image", "BUILDER=buildah"),
        f"BUILD_OPTIONS=--build-arg BASE=localhost/base {options}",
        cwd=ROOT,
        env=environment,
    )
    container = run("buildah", "from", "gateway", env=environment)
    inspected = json.loads(run("buildah", "inspect", "gateway", env=environment))
    yield run("buildah", "mount", container, env=environment), inspected["Docker"]["config"]
    run("buildah", "rm", "--all", env=environment)
    run("buildah", "rmi", "--all", "--force", env=environment)


@pytest.fixture
def container(image, tmp_path):
    """Return a function that gives the command that runs another one in the container."""
    root, config = image
    user = config["User"]
    os.chown(tmp_path, *map(int, user.split(":")))
    script = READ_ONLY.format(root=root, volume=tmp_path, user=user)

    def command(port, arguments):
        variables = (f"GATEWAY_BIND=127.0.0.1:{port}", "GATEWAY_MAIL_SUPPRESS_SEND=1")
        environment = ["env", "-i", *config["Env"], *variables]
        return ["unshare", "--mount", "sh", "-ec", script, "sh", *environment, *arguments]

    return command


def ask(port, path, body=None, **headers):
    content = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"http://127.0.0.1:{port}{path}", content, headers), timeout=10) as reply:
        text = reply.read()
    return json.loads(text)["data"] if text else None


def test_the_image_serves_from_a_read_only_file_system_and_ends_when_told(
    image, container, tmp_path
):
    config, port = image[1], free_port()
    assert config["User"].split(":")[0] not in ("", "0", "root")
    assert list(config["Volumes"]) == ["/var/lib/gateway"]
    server = Server(container(port, config["Cmd"]), tmp_path, port)
    try:
        server.wait_for("serving on")
        lory = {"user_name": "lory", "email": "lory@example.com"}
        ask(port, "/api/v1/auth-code", lory)
        code = server.wait_for(r"code is (\d{6})\b")
        ask(port, "/api/v1/register", {**lory, "password": PASSWORD, "reg_code": code})
        login = {"user_name": "lory", "password": PASSWORD}
        token = ask(port, "/api/v1/login", login)["auth_token"]
        body = {"project_type": 1, "project_name": "first"}
        project = ask(port, "/api/v1/project/create", body, Authorization=token)
        credential = basic(project["project_key"], project["project_secret"])
        ask(port, "/api/v1/project/verify", Authorization=credential)
        kind, *check = config["Healthcheck"]["Test"]
        assert kind == "CMD"
        check = [argument.replace(":8082/", f":{port}/") for argument in check]
        run(*container(port, check))
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 15
        assert server.process.returncode == 0
    finally:
        if server.process.poll() is None:
            server.kill()
    assert {"gateway.db", "secret_key"} <= {path.name for path in tmp_path.iterdir()}
