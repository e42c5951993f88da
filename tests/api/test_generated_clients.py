"""Clients that other people's generators make from the description live with the service.

Each client registers an account, logs in, creates a project, uses it, deletes it and logs out.
"""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from support.helpers import PASSWORD, basic, run_program

CLIENTS = Path(__file__).parent / "clients"
EMAIL = "generated@126.com"
NPM_PACKAGES = {"openapi-typescript": "7.13.0", "openapi-fetch": "0.17.0", "typescript": "5.9.3"}
STRICT = ["--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes"]
# Of Debian's libjackson2-databind-java, libjsr305-java and libgeronimo-annotation-1.3-spec-java.
JARS = [
    Path("/usr/share/java", f"{name}.jar")
    for name in (
        *("jackson-annotations", "jackson-core", "jackson-databind"),
        *("jsr305", "geronimo-annotation-1.3-spec"),
    )
]
MODULES = ["--module", "nodenext", "--target", "es2022", "--types", "node"]


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because these tests are about clients."""
    return sqlite_uri


@pytest.fixture
def service(start_service):
    service = start_service(workers=1)
    service.url = f"http://127.0.0.1:{service.port}"
    return service


def save_description(service, folder):
    path = folder / "openapi.json"
    with urlopen(f"{service.url}/openapi.json") as reply:
        path.write_bytes(reply.read())
    return path


def run(*command, cwd, **kwargs):
    """Run a command; fail with what it says."""
    done = run_program(command, cwd, 300, **kwargs)
    assert done.returncode == 0, f"{command[0]}:\n{done.stdout}"


# Python: openapi-python-client


@pytest.fixture
def generated(service, tmp_path, monkeypatch):
    """Return a function that imports a module of the generated client."""
    if sys.version_info < (3, 11):
        pytest.skip("the generator writes code for Python 3.11 and newer")
    bin_folder = Path(sys.executable).parent
    run(
        bin_folder / "openapi-python-client",
        "generate",
        "--fail-on-warning",
        "--meta=none",
        f"--path={save_description(service, tmp_path)}",
        f"--output-path={tmp_path / 'generated'}",
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"},
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name: importlib.import_module(f"generated.{name}")
    for name in [name for name in sys.modules if name.split(".")[0] == "generated"]:
        del sys.modules[name]


class PythonClient:
    """The generated Python client of one server."""

    def __init__(self, generated, url):
        self.generated, self.url, self.models = generated, url, generated("models")
        self.client = generated("client").Client(base_url=url)

    def use(self, token, prefix="Bearer"):
        """Send these credentials from now on."""
        self.client.get_httpx_client().close()
        kind = self.generated("client").AuthenticatedClient
        self.client = kind(base_url=self.url, token=token, prefix=prefix)

    def send(self, operation, *body, **kwargs):
        """Call an operation like accounts.login; return the whole response."""
        kwargs |= {"body": body[0]} if body else {}
        return self.generated(f"api.{operation}").sync_detailed(client=self.client, **kwargs)

    def ask(self, operation, *body, **kwargs):
        """Call an operation; return its reply as the client understands it."""
        return self.send(operation, *body, **kwargs).parsed

    def verify(self, project):
        """Ask, as nginx does, whether a request of a project may pass."""
        scheme, credentials = basic(project.project_key, project.project_secret).split()
        self.use(credentials, scheme)
        return self.send("nginx.verify_project")


@pytest.fixture
def api(generated, service):
    api = PythonClient(generated, service.url)
    yield api
    api.client.get_httpx_client().close()


NAME = {"user_name": "generated"}


@pytest.fixture
def token(api, service):
    """Register an account and log in with the generated client; return the token."""
    models = api.models
    asked = api.ask(
        "accounts.auth_code",
        models.AuthCodeRequest(**NAME, email=EMAIL),
        accept_language="zh-CN",
    )
    assert isinstance(asked, models.Done)
    assert asked.header.code == 0
    assert re.search("[\u4e00-\u9fff]", service.relay.mails[-1]["Subject"])
    new = {**NAME, "password": PASSWORD, "email": EMAIL}
    account = models.RegisterRequest(**new, reg_code=service.relay.codes[EMAIL])
    assert api.ask("accounts.register", account).header.code == 0
    assert api.ask("accounts.register", account).header.code == 1018

    wrong = models.LoginRequest(**NAME, password="something else")
    refused = api.ask("accounts.login", wrong)
    assert (refused.header.code, refused.data) == (1002, models.Login())
    login = api.ask("accounts.login", models.LoginRequest(**NAME, password=PASSWORD))
    assert isinstance(login.data, models.Login)
    assert login.data.role == ""
    return login.data.auth_token


def test_a_generated_python_client_lives_a_whole_life(api, token):
    models = api.models
    listing = models.ListRequest()
    nobody = api.send("projects.list_projects", listing)  # without a token
    assert (nobody.status_code, nobody.parsed.header.code) == (401, 1001)
    assert isinstance(nobody.parsed, models.Refusal)

    bad = api.send("accounts.login", models.LoginRequest(user_name="\0", password=PASSWORD))
    assert (bad.status_code, bad.parsed.header.code) == (400, 1003)
    lost = models.ResetPasswordRequest(email=EMAIL, reg_code="123456", password=PASSWORD)
    assert api.ask("accounts.reset_password", lost).header.code == 1008
    assert api.ask("nginx.readyz").header.code == 0

    api.use(token)
    change = models.ChangePasswordRequest(old_password=PASSWORD, new_password="green bottles")
    assert api.ask("accounts.change_password", change).header.code == 0
    wish = models.CreateRequest(project_type=1, project_name="我的ChatGPT项目")
    made = api.ask("projects.create_project", wish).data
    assert isinstance(made, models.KeyAndSecret)
    listed = api.ask("projects.list_projects", listing)
    (project,) = listed.data.list_
    assert listed.header.total == 1
    assert project.project_secret == made.project_secret
    assert project.additional_properties == {}  # every field is described
    rotated = api.ask("projects.rotate_project", models.RotateRequest(id=project.id)).data
    assert rotated.project_key == made.project_key

    passed = api.verify(rotated)
    assert (passed.status_code, passed.headers["X-Gateway-Project"]) == (204, str(project.id))
    refused = api.verify(made)  # with the secret before the rotation
    assert (refused.status_code, refused.parsed.header.code) == (401, 1001)

    api.use(token)
    (after,) = api.ask("projects.list_projects", listing).data.list_
    assert after.request_total == 1
    deletion = models.DeleteRequest(id=project.id)
    assert api.ask("projects.delete_project", deletion).header.code == 0
    assert api.ask("projects.delete_project", deletion).header.code == 1006
    assert api.ask("projects.list_projects", listing).data.list_ == []
    assert api.ask("accounts.logout", models.LogoutRequest()).header.code == 0
    assert api.ask("accounts.logout", models.LogoutRequest()).header.code == 1001


# TypeScript: openapi-typescript and openapi-fetch


@pytest.fixture
def typescript(pytestconfig):
    """Return the folder of the generator and the compiler, which npm installs once."""
    if os.environ.get("SKIP_NOTHING"):
        pytest.skip("needs npm, which .ci/run does not install")
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("there is no npm here")
    folder = Path(pytestconfig.cache.mkdir("typescript"))
    wanted = json.dumps({"private": True, "dependencies": {**NPM_PACKAGES, "@types/node": "20"}})
    manifest = folder / "package.json"
    if not (folder / "node_modules").is_dir() or manifest.read_text() != wanted:
        manifest.write_text(wanted)
        install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        install += ["--fetch-retries=0", "--fetch-timeout=30000"]
        done = subprocess.run(
            install, cwd=folder, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            shutil.rmtree(folder / "node_modules", ignore_errors=True)
            pytest.skip(f"npm cannot install the generator here: {done.stderr[-200:]}")
    return folder


def test_a_generated_typescript_client_lives_a_whole_life(service, typescript, tmp_path):
    folder = tmp_path / "typescript"
    folder.mkdir()
    (folder / "node_modules").symlink_to(typescript / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    shutil.copy(CLIENTS / "life.ts", folder / "life.mts")
    tools = typescript / "node_modules" / ".bin"
    description = save_description(service, tmp_path)
    run(tools / "openapi-typescript", description, "-o", "schema.d.ts", cwd=folder)
    run(tools / "tsc", *STRICT, *MODULES, "life.mts", cwd=folder)
    run("node", "life.mjs", service.url, cwd=folder)
    run("node", "life.mjs", service.url, service.relay.codes["typed@126.com"], cwd=folder)


# Go and Java: openapi-generator, from the extra "generators", which brings its jar


@pytest.fixture
def generate(service, tmp_path):
    """Return a function that makes a client and returns its folder."""
    command = Path(sys.executable).with_name("openapi-generator-cli")
    if not (command.exists() and shutil.which("java")):
        pytest.skip("needs java and openapi-generator-cli")
    description = save_description(service, tmp_path)

    def generate(language, *options):
        folder = tmp_path / language
        made = ["generate", "-i", description, "-g", language, "-o", folder, *options]
        run(command, *made, cwd=tmp_path)
        return folder

    return generate


@pytest.mark.generators
def test_a_generated_go_client_understands_a_refusal_and_a_list(service, generate):
    if not shutil.which("go"):
        pytest.skip("needs go")
    folder = generate("go")
    (folder / "life").mkdir()
    shutil.copy(CLIENTS / "life.go", folder / "life" / "main.go")
    service.sign_up("lory")
    go = {"GOCACHE": str(folder / "cache"), "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    run("go", "run", "./life", service.url, PASSWORD, cwd=folder, env={**os.environ, **go})


@pytest.mark.generators
def test_a_generated_java_client_understands_a_refusal_and_a_list(service, generate, tmp_path):
    if not (shutil.which("javac") and all(jar.exists() for jar in JARS)):
        pytest.skip(f"needs javac and {', '.join(map(str, JARS))}")
    options = "openApiNullable=false,hideGenerationTimestamp=true"
    folder = generate("java", "--library", "native", f"--additional-properties={options}")
    # Two of its files need a module that Debian does not have; ours stand in for them.
    sources = {path.name: path for path in folder.glob("src/main/**/*.java")}
    del sources["RFC3339InstantDeserializer.java"]
    sources |= {path.name: path for path in (CLIENTS / "java").iterdir()}
    path = ":".join(map(str, [*JARS, tmp_path / "classes"]))
    run(
        "javac", "-nowarn", "-cp", path, "-d", tmp_path / "classes", *sources.values(), cwd=tmp_path
    )
    service.sign_up("lory")
    run("java", "-cp", path, "Life", service.url, PASSWORD, cwd=tmp_path)
