"""Clients that people really use, through nginx with the shipped sample: what passes is counted."""

import json
import shutil
import subprocess

import openai
import pytest
from support.helpers import chromium
from support.nginx_front import CORS, DISTRIBUTION, Upstream, envelope, uncommented
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.nginx


@pytest.fixture
def customer(team):
    return team()[1]


@pytest.fixture
def front(customer, start_front):
    return start_front(customer.service, around=DISTRIBUTION)


def test_curl_in_each_form(customer, front, upstreams, command):
    curl = shutil.which("curl")
    assert curl
    key, secret = customer.credential.split(".")

    def call(path, *options):
        url, trust = f"https://localhost:{front.port}{path}", front.folder / "gateway.crt"
        given = [curl, "-sS", "--cacert", trust, "-d", "{}", *options, url]
        return subprocess.run(given, capture_output=True, text=True, check=True).stdout

    basic, bearer = ("-u", f"{key}:{secret}"), ("-H", f"Authorization: Bearer {key}.{secret}")
    api_key = ("-H", f"X-API-Key: {key}.{secret}")
    assert call("/rpc", *basic) == "hello"
    assert call("/rpc", *bearer) == "hello"
    assert call("/rpc", *api_key) == "hello"
    assert call("/rpc", *basic, *api_key) == "hello"
    assert call(f"/rpc/{key}.{secret}") == "hello"
    assert call(f"/rpc/{key}.{secret}/deep/er?a=b") == "hello"
    assert customer.counts() == (6, 6)
    for wrong in ((), ("-u", f"{key}:{'x' * 48}"), ("-H", f"X-API-Key: {key}")):
        message = json.loads(call("/rpc", *wrong))["header"]["message"]
        for way in ("HTTP Basic", "Bearer KEY.SECRET", "X-API-Key: KEY.SECRET", "/rpc/KEY.SECRET"):
            assert way in message
    for both in (basic, bearer, api_key):
        assert envelope(call(f"/rpc/{key}.{secret}", *both)) == 1001
    command("pool", "add", "blue")
    command("project", "assign", 1, "blue")
    assert call(f"/blue/rpc/{key}.{secret}/x") == "hello"
    assert envelope(call(f"/rpc/{key}.{secret}/x")) == 1001
    assert customer.counts() == (7, 7)
    assert [path for path, _ in upstreams[0].seen] == ["/rpc"] * 5 + ["/rpc/deep/er?a=b"]
    assert [path for path, _ in upstreams[1].seen] == ["/rpc/x"]


def test_openai(customer, front, reached):
    http = openai.DefaultHttpxClient(verify=front.trust)
    base = f"https://localhost:{front.port}/rpc/v1"
    question = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    with openai.OpenAI(base_url=base, api_key=customer.credential, http_client=http) as client:
        answer = client.chat.completions.create(**question)
        assert answer.choices[0].message.content == "hello"
        assert customer.counts() == (1, 1)
        words = []
        for chunk in client.chat.completions.create(**question, stream=True):
            words.append(chunk.choices[0].delta.content)
            reached.first_word_arrived.set()  # until then, the second word is not sent
        assert words == ["hello", "world"]
        assert customer.counts() == (2, 2)
        for wrong in (customer.credential[:-1], customer.token):
            with pytest.raises(openai.AuthenticationError) as refusal:
                client.with_options(api_key=wrong).chat.completions.create(**question)
            assert "Bearer KEY.SECRET" in refusal.value.response.json()["header"]["message"]
    assert customer.counts() == (2, 2)
    for path, headers in reached.seen:
        assert path == "/rpc/v1/chat/completions"
        assert not {"Authorization", "X-API-Key"} & set(headers)


def test_websockets_in_each_form(customer, front, reached):
    for headers in customer.forms.values():
        front.talk("/ws", headers)
    front.talk(f"/ws/{customer.credential}", {})
    front.talk(f"/ws/{customer.credential}/feed/1?a=b", {})
    for path, headers in (
        ("/ws", {}),
        (f"/ws/{customer.wrong_credential}", {}),
        (f"/ws/{customer.credential}", {"X-API-Key": customer.credential}),
    ):
        with pytest.raises(InvalidStatus) as refusal:
            front.talk(path, headers)
        assert refusal.value.response.status_code == 401
    assert customer.counts() == (5, 5)
    assert [path for path, _ in reached.seen] == ["/ws"] * 4 + ["/ws/feed/1?a=b"]


OPEN_WEBSOCKET = """(url) => new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = () => socket.send("hello");
    socket.onmessage = (event) => { resolve(event.data); socket.close(); };
    socket.onerror = () => resolve("refused");
})"""
FETCH = """([url, headers, method = "POST"]) => fetch(url, {method, headers, body: "{}"}).then(
    async (reply) => [reply.status, await reply.text(), reply.headers.get("X-Request-ID"),
                      reply.headers.get("RateLimit-Remaining")],
    () => "refused")"""


@pytest.fixture
def other_site():
    """A server with a page, at another origin than nginx's; one that nobody intercepts."""
    site = Upstream()
    site.origin = f"http://127.0.0.1:{site.port}"
    yield site
    site.close()


@pytest.fixture
def page(other_site):
    with chromium() as browser:
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.set_default_timeout(30_000)
        page.goto(f"{other_site.origin}/")
        yield page


@pytest.mark.browser
def test_a_websocket_of_a_browser(page, customer, front, reached):
    base = f"wss://localhost:{front.port}/ws"
    assert page.evaluate(OPEN_WEBSOCKET, f"{base}/{customer.credential}") == "hello"
    assert page.evaluate(OPEN_WEBSOCKET, f"{base}/{customer.credential}/feed?a=b") == "hello"
    assert customer.counts() == (2, 2)
    assert page.evaluate(OPEN_WEBSOCKET, f"{base}/{customer.wrong_credential}") == "refused"
    assert page.evaluate(OPEN_WEBSOCKET, base) == "refused"
    assert customer.counts() == (2, 2)
    assert [path for path, _ in reached.seen] == ["/ws", "/ws/feed?a=b"]
    assert customer.credential not in str([headers for _, headers in reached.seen])


@pytest.mark.browser
def test_a_page_of_another_origin(page, other_site, customer, start_front):
    block = uncommented(CORS).replace("https://app.example.com", other_site.origin)
    front = start_front(customer.service, changes={CORS: block})
    base = f"https://localhost:{front.port}"
    for n, headers in enumerate(customer.forms.values(), start=1):
        status, body, request_id, remaining = page.evaluate(FETCH, [f"{base}/rpc", headers])
        assert (status, body, remaining) == (200, "hello", str(30 - n))
        assert len(request_id) == 32
    sdk = {"Authorization": f"Bearer {customer.credential}", "X-Stainless-OS": "Linux"}
    for method in ("PUT", "PATCH", "DELETE"):  # as OpenAI's and Anthropic's SDKs send them
        assert page.evaluate(FETCH, [f"{base}/rpc/v1/files/1", sdk, method])[0] == 200
    status, body, request_id, _ = page.evaluate(FETCH, [f"{base}/rpc", {"X-API-Key": "x"}])
    assert (status, envelope(body), len(request_id)) == (401, 1001, 32)
    assert customer.counts() == (6, 6)
    status, body, *_ = page.evaluate(FETCH, [f"{base}/api/v1/project/list", {}])
    assert (status, envelope(body)) == (401, 1001)


@pytest.mark.browser
def test_a_page_of_another_origin_while_cors_is_off(page, customer, front, reached):
    base = f"https://localhost:{front.port}"
    for headers in customer.forms.values():
        assert page.evaluate(FETCH, [f"{base}/rpc", headers]) == "refused"
    assert page.evaluate(FETCH, [f"{base}/api/v1/login", {}]) == "refused"
    assert (reached.seen, customer.counts()) == ([], (0, 0))


def test_a_cross_site_request_to_the_api_is_refused(customer, front):
    for path in ("/api/v1/login", "/api/v1/project/list"):
        status, _, body = front.ask(path, body=b"{}", **{"Sec-Fetch-Site": "cross-site"})
        assert (status, envelope(body)) == (403, 403)
        assert "CORS is off" in json.loads(body)["header"]["message"]
        for site in ("same-origin", "same-site", "none"):
            status, *_ = front.ask(path, body=b"{}", **{"Sec-Fetch-Site": site})
            assert status in (400, 401)
