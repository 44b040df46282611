"""Safety of the page: other sites, people without the token, and hostile ids get nothing."""

import socket
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.browse.app import page_files
from nightrain.pipelines.browse.guard import CONTENT_POLICY, Access, Guard, host_name
from nightrain.pipelines.browse.server import listen
from support.browsing import HOST, ORIGIN, client_of

TOKEN = "a-token-of-this-test"


@pytest.mark.parametrize(
    "path",
    ["/", "/sample/none", "/static/app.js", "/static/none", "/api/dataset", "/api/samples?x=1",
     "/thumbnail/none", "/nothing"],
)  # fmt: skip
def test_every_answer_has_the_headers(client: TestClient, path: str) -> None:
    for host in (HOST, "evil.example"):
        headers = client.get(path, headers={"host": host}).headers
        assert headers["content-security-policy"] == CONTENT_POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        if path.startswith("/api"):
            assert headers["cache-control"] == "no-store"


def test_the_policy_allows_this_server_and_nothing_else() -> None:
    parts = dict(part.split(" ", 1) for part in CONTENT_POLICY.split("; "))
    assert parts.pop("default-src") == "'none'" and "unsafe" not in CONTENT_POLICY
    own = {name for name, value in parts.items() if value == "'self'"}
    assert own == {"script-src", "style-src", "img-src", "connect-src"}
    assert {value for name, value in parts.items() if name not in own} == {"'none'"}


def test_the_page_loads_nothing_from_elsewhere_and_parses_no_data() -> None:
    files = page_files()
    assert {"index.html", "style.css", "app.js", "icon.svg"} <= files.keys()
    for name, content in files.items():
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text and "//cdn" not in text, name
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"):
            assert word not in text, name
    assert "<style" not in files["index.html"].decode() and "onclick=" not in (
        files["index.html"].decode()
    )


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        (HOST, True), ("localhost", True), ("localhost:9000", True), ("[::1]:8321", True),
        ("evil.example", False), ("evil.example:8321", False), ("127.0.0.1.evil.example", False),
        ("127.0.0.1@evil.example", False), ("localhost@evil.example", False), ("", False),
        ("127.0.0.1:x", False), ("localhost/evil", False), ("192.168.1.7:8321", False),
        ("[::1", False), ("2130706433", False),
    ],
)  # fmt: skip
def test_the_host_must_be_this_machine(client: TestClient, host: str, allowed: bool) -> None:
    status = client.get("/api/dataset", headers={"host": host}).status_code
    assert status == (200 if allowed else 400)


def test_two_host_headers_are_refused(client: TestClient) -> None:
    headers = [("host", HOST), ("host", "evil.example")]
    assert client.get("/", headers=headers).status_code == 400
    assert host_name("LOCALHOST:1") == "localhost"


def review(client: TestClient, key: str, headers: dict[str, str], **body: str) -> int:
    given = {"key": key, "verdict": "reject", **body}
    return client.post("/api/review", json=given, headers=headers).status_code


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),  # another server of this machine
        ({**ORIGIN, "sec-fetch-site": "cross-site"}, 403),
        ({**ORIGIN, "sec-fetch-site": "same-site"}, 403),
        ({**ORIGIN, "content-type": "text/plain"}, 415),
        ({**ORIGIN, "content-type": "application/x-www-form-urlencoded"}, 415),
        ({**ORIGIN, "host": "evil.example", "origin": "http://evil.example"}, 400),
    ],
)
def test_only_this_page_changes_something(
    copied: Path, headers: dict[str, str], status: int
) -> None:
    client = client_of(copied)
    key = client.get("/api/samples", params={"kind": "variant"}).json()["items"][0]["key"]
    assert review(client, key, headers) == status
    assert not (copied / "_reviews").exists()
    for method in ("PUT", "DELETE", "PATCH", "POST"):
        assert client.request(method, "/api/review", headers=headers).status_code in (status, 415)
    assert not (copied / "_reviews").exists()


def test_a_body_that_is_too_long_or_wrong_is_refused(copied: Path) -> None:
    client = client_of(copied)
    key = client.get("/api/samples", params={"kind": "variant"}).json()["items"][0]["key"]
    assert review(client, key, ORIGIN, reason="x" * 20_000) == 413
    assert review(client, key, ORIGIN, reason="x" * 501) == 422
    assert review(client, key, ORIGIN, verdict="maybe") == 422
    assert review(client, key, ORIGIN, more="1") == 422
    for unknown in ("../../escape", "0" * 20, ""):
        assert review(client, unknown, ORIGIN) == 404
    assert not (copied / "_reviews").exists()
    assert review(client, key, ORIGIN, reason="a wall of lamps") == 200


@pytest.mark.parametrize(
    "key",
    ["..", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%5c..%5c", "%00", "/etc/passwd", "0" * 20,
     "x" * 5000, "%F0%9D%9B%91", "index.html", "~2", "'%20OR%201=1"],
)  # fmt: skip
def test_hostile_ids_are_unknown(client: TestClient, key: str) -> None:
    for path in (
        "/api/samples/{}",
        "/thumbnail/{}",
        "/picture/{}/image",
        "/sample/{}",
        "/static/{}",
    ):
        if (path, key) != ("/static/{}", "index.html"):
            status = client.get(path.format(key)).status_code
            assert status == 404 or (key == ".." and status in (200, 307)), path


def test_unknown_pictures_of_a_known_sample(client: TestClient) -> None:
    key = client.get("/api/samples").json()["items"][0]["key"]
    for name in ("none", "control-0", "label-99", "%2e%2e", "..%2f..%2fapp.py"):
        assert client.get(f"/picture/{key}/{name}").status_code == 404


# The token


@pytest.fixture
def guarded(judged: Path) -> TestClient:
    return client_of(judged, Access(any_address=True, token=TOKEN, cookie="key"))


def test_without_the_token_there_is_nothing(guarded: TestClient) -> None:
    for path in (
        "/",
        "/api/dataset",
        "/static/app.js",
        "/thumbnail/x",
        "/?token=",
        "/?token=wrong",
    ):
        assert guarded.get(path).status_code == 401
        assert guarded.get(path, headers={"cookie": "key=wrong; other=1"}).status_code == 401
    assert guarded.post("/api/review", json={}, headers=ORIGIN).status_code == 401
    assert guarded.get("/", headers={"host": "evil.example"}).status_code == 400
    headers = [(b"cookie", "key=é".encode("latin-1"))]
    assert guarded.get("/", headers=headers).status_code == 401


def test_the_token_becomes_a_cookie_and_leaves_the_address(guarded: TestClient) -> None:
    answer = guarded.get(f"/sample/x?condition=fog&token={TOKEN}&scene=a%26b")
    assert answer.status_code == 303 and TOKEN not in answer.headers["location"]
    assert answer.headers["location"] == "/sample/x?condition=fog&scene=a%26b"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert guarded.get("/api/dataset").status_code == 200  # the client keeps the cookie
    assert guarded.get("/api/dataset", headers={"host": "192.168.1.7:8321"}).status_code == 200


def test_the_way_on_never_leads_to_another_site() -> None:
    guard = Guard(unused, Access(token=TOKEN))
    query = f"token={TOKEN}".encode()
    scope = {"method": "GET", "raw_path": b"//evil.example/", "query_string": query}
    assert guard._token_in_address(scope) == "/evil.example/"


async def unused(scope: object, receive: object, send: object) -> None:
    raise AssertionError


# The socket


def test_loopback_needs_no_token_and_other_addresses_get_one() -> None:
    local = listen("127.0.0.1", 0)
    reached = listen("0.0.0.0", 0)
    try:
        assert local.access.token == "" and not local.access.any_address
        assert local.address == f"http://127.0.0.1:{local.socket.getsockname()[1]}/"
        assert len(reached.access.token) >= 32 and reached.access.any_address
        assert reached.address.endswith(f"/?token={reached.access.token}")
        assert reached.access.allows_host(socket.gethostname())
        assert not reached.access.allows_host("evil.example")
        with pytest.raises(InvalidRequest, match="another process listens there"):
            listen("127.0.0.1", local.socket.getsockname()[1])
    finally:
        local.socket.close()
        reached.socket.close()


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("192.0.2.1", "does not have that address"),
        ("no such host", "cannot be resolved"),
        ("x" * 255, "cannot be resolved"),
    ],
)
def test_other_addresses_are_refused(host: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        listen(host, 0)
