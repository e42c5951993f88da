"""OpenAI's and Anthropic's JavaScript SDKs in a browser, through nginx with the CORS block."""

import shutil
import subprocess

import pytest
from support.helpers import chromium
from support.nginx_front import CORS, Upstream, uncommented

pytestmark = [pytest.mark.proxies, pytest.mark.browser]

PACKAGES = ("openai@6.49.0", "@anthropic-ai/sdk@1.14.0", "esbuild@0.28.2")
ENTRY = """export { default as OpenAI } from "openai";
export { default as Anthropic } from "@anthropic-ai/sdk";"""
BUNDLE = ("--bundle", "--platform=browser", "--format=iife", "--global-name=sdk")
OPENAI = """async ([base, apiKey]) => {
    const client = new sdk.OpenAI({baseURL: `${base}/v1`, apiKey, dangerouslyAllowBrowser: true});
    const messages = [{role: "user", content: "hi"}];
    const answer = await client.chat.completions.create({model: "m", messages});
    return answer.choices[0].message.content;
}"""
ANTHROPIC = """async ([baseURL, apiKey]) => {
    const client = new sdk.Anthropic({baseURL, apiKey, dangerouslyAllowBrowser: true});
    const messages = [{role: "user", content: "hi"}];
    const answer = await client.messages.create({model: "m", max_tokens: 9, messages});
    return answer.content[0].text;
}"""
FETCH = """([url, method, key]) =>
    fetch(url, {method, headers: {"X-API-Key": key, "X-Stainless-OS": "Linux"}})
        .then((reply) => reply.text())"""


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because these tests are about the way to it."""
    return sqlite_uri


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The path of a script with both SDKs."""
    npm = shutil.which("npm")
    if not npm:
        pytest.skip("there is no npm here")
    folder = tmp_path_factory.mktemp("sdks")
    (folder / "entry.mjs").write_text(ENTRY)
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    if subprocess.run(install, cwd=folder, timeout=300, check=False).returncode:
        pytest.skip("npm cannot install the SDKs here")
    esbuild = folder / "node_modules" / ".bin" / "esbuild"
    command = [esbuild, "entry.mjs", *BUNDLE, "--outfile=sdk.js"]
    subprocess.run(command, cwd=folder, timeout=300, check=True)
    return folder / "sdk.js"


@pytest.fixture
def other_site():
    """The address of a server with a page, at another origin than nginx's."""
    site = Upstream()
    yield f"http://127.0.0.1:{site.port}"
    site.close()


def test_sdks_of_a_page_of_another_origin(bundle, other_site, team, start_front, reached):
    _, customer = team()
    block = uncommented(CORS).replace("https://app.example.com", other_site)
    front = start_front(customer.service, changes={CORS: block})
    base = f"https://localhost:{front.port}/rpc"
    with chromium() as browser:
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(f"{other_site}/")
        page.add_script_tag(path=bundle)
        assert page.evaluate(OPENAI, [base, customer.credential]) == "hello"
        assert page.evaluate(ANTHROPIC, [base, customer.credential]) == "hello"
        for method in ("PUT", "DELETE"):
            asked = [f"{base}/v1/files/1", method, customer.credential]
            assert page.evaluate(FETCH, asked) == "hello"
    assert customer.counts() == (4, 4)  # the browser's preflights count as nothing
    paths = ["/rpc/v1/chat/completions", "/rpc/v1/messages", *["/rpc/v1/files/1"] * 2]
    assert [path for path, _ in reached.seen] == paths
    wanted = "authorization,x-stainless-os,x-of-tomorrow"
    preflight = {"Access-Control-Request-Headers": wanted, "Access-Control-Request-Method": "PUT"}
    status, headers, _ = front.ask("/rpc/v1/x", method="OPTIONS", Origin=other_site, **preflight)
    assert (status, headers["Access-Control-Allow-Headers"]) == (204, wanted)
