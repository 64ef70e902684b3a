import asyncio
import contextlib
import shutil
import socket
import ssl
import struct
import subprocess
import traceback

import anyio
import pytest
from yarl import URL

from storyd import wire
from storyd.errors import ConfigError, Fatal, Transient
from storyd.settings import Secret, Timeouts
from storyd.wire import Unreached

KEY = "sk-verysecret0123456789"
BRISK = Timeouts(connect=0.5, first_byte=0.5, total=1.0)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextlib.asynccontextmanager
async def server(talk, tls=None):
    """A server whose every connection is `talk(reader, writer)`, after a request has come."""

    tasks = set()

    async def served(reader, writer):
        tasks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                if await talk(head, writer) is None:
                    break
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    one = await asyncio.start_server(served, "127.0.0.1", 0, ssl=tls)
    try:
        yield URL(f"{'https' if tls else 'http'}://127.0.0.1:{one.sockets[0].getsockname()[1]}/v1/x")
    finally:
        one.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def saying(*pieces, pause=0.0):
    """A server's talk: these bytes, a pause before each, and the connection is closed."""

    async def talk(head, writer):
        for piece in pieces:
            await asyncio.sleep(pause)
            writer.write(piece)
            await writer.drain()

    return talk


async def posted(url, timeouts=BRISK, bound=100_000):
    async with wire.client(timeouts) as client:
        with anyio.fail_after(5):
            return await client.post(url, {"Authorization": f"Bearer {KEY}"}, b"{}", bound)


async def fault(url, timeouts=BRISK, kind=Transient):
    """The error that a call ends with; whatever it is, it does not tell the key."""
    with pytest.raises(kind) as caught:
        await posted(url, timeouts)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert KEY not in shown
    assert "\n" not in str(caught.value)
    return caught.value


async def test_a_reply_comes_back_whole():
    async with server(saying(b"HTTP/1.1 418 T\r\nX-A: b\r\nContent-Length: 5\r\n\r\nstory")) as url:
        reply = await posted(url)
    assert (reply.status, reply.body, reply.whole, reply.headers["x-a"]) == (418, b"story", True, "b")
    assert 0 < reply.seconds < 5


async def test_the_request_asks_for_plain_json_and_sends_no_cookie():
    heads = []

    async def talk(head, writer):
        heads.append(head.decode().lower())
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
        return True

    async with server(talk) as url, wire.client(BRISK) as client:
        for _ in range(2):
            await client.post(url, {}, b"{}", 10)
    assert "accept-encoding: identity" in heads[0]
    assert "content-type: application/json" in heads[0]
    assert not any("cookie" in head for head in heads)


async def test_connections_are_kept():
    peers = []

    async def talk(head, writer):
        peers.append(writer.get_extra_info("peername"))
        writer.write(OK)
        return True

    async with server(talk) as url, wire.client(BRISK) as client:
        for _ in range(3):
            await client.post(url, {}, b"{}", 10)
    assert len(set(peers)) == 1


@pytest.mark.parametrize("head", [b"Content-Length: 900000\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_long_reply_is_cut_at_the_bound(head):
    sent = 0

    async def talk(_, writer):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(90):
                piece = b"x" * 10_000
                writer.write(piece if b"Length" in head else b"2710\r\n" + piece + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.001)
                sent += 1

    async with server(talk) as url:
        reply = await posted(url, bound=30_000)
        await asyncio.sleep(0.05)
    assert not reply.whole
    assert reply.body == b"x" * 30_000
    assert sent < 80, "the connection is closed, not drained"


async def test_a_redirect_is_not_followed():
    async with server(
        saying(b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")
    ) as url:
        assert (await posted(url)).status == 302


async def test_a_compressed_body_is_not_unpacked():
    async with server(
        saying(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nbomb")
    ) as url:
        assert (await posted(url)).body == b"bomb"


# ── weather ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_hung_server():
    async def talk(head, writer):
        await asyncio.sleep(3)

    async with server(talk) as url:
        assert "no byte for 0.5 s" in str(await fault(url))


async def test_a_server_that_stops_in_the_middle():
    async def talk(head, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nOnce")
        await asyncio.sleep(3)

    async with server(talk) as url:
        assert "no byte for 0.5 s" in str(await fault(url))


async def test_a_dripping_server():
    drops = [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", *[b"x"] * 30]
    async with server(saying(*drops, pause=0.1)) as url:
        assert "not answered within 1 s" in str(await fault(url))


async def test_late_calls_end_alone():
    async def talk(head, writer):
        await asyncio.sleep(0.3 if b"/slow" in head else 0)
        writer.write(OK)
        return True

    async with server(talk) as url, wire.client(Timeouts(first_byte=0.1)) as client:
        with pytest.raises(Transient):
            await client.post(url.with_path("/slow"), {}, b"{}", 10)
        assert (await client.post(url, {}, b"{}", 10)).status == 200
        await anyio.sleep(0.01)  # nothing of the cancellation is left


async def test_a_cancelled_call_is_no_fault():
    async def talk(head, writer):
        await asyncio.sleep(3)

    async with server(talk) as url:
        with anyio.move_on_after(0.1) as scope:
            await posted(url)
    assert scope.cancelled_caught


async def test_a_reset_connection():
    async def talk(head, writer):
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        writer.transport.abort()

    async with server(talk) as url:
        assert "reset by peer" in str(await fault(url))


async def test_a_server_that_hangs_up():
    async with server(saying()) as url:
        assert "closed the connection without an answer" in str(await fault(url))


async def test_a_truncated_body():
    async with server(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")) as url:
        assert "broke off" in str(await fault(url))


async def test_no_http():
    async with server(saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")) as url:
        assert "does not speak HTTP" in str(await fault(url))


async def test_a_refused_connection_sent_nothing():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = URL(f"http://127.0.0.1:{taken.getsockname()[1]}/")
        assert "connection refused" in str(await fault(url, kind=Unreached))


async def test_an_unknown_name_sent_nothing():
    assert "cannot be resolved" in str(await fault(URL("http://nowhere.invalid/"), kind=Unreached))


async def test_tls_to_a_plain_port_sent_nothing():
    async def plain(reader, writer):
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as one:
        url = URL(f"https://127.0.0.1:{one.sockets[0].getsockname()[1]}/")
        assert "no connection" in str(await fault(url, kind=Unreached))


@pytest.fixture
def unknown_to_all(tmp_path):
    """A certificate that nobody has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    files = [str(tmp_path / name) for name in ("cert", "key")]
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=other -days 1"
    subprocess.run([*make.split(), "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*files)
    return tls


async def test_a_wrong_certificate_parks(unknown_to_all):
    async with server(saying(OK), unknown_to_all) as url:
        said = await fault(url, kind=Fatal)
    assert "certificate" in str(said)
    assert said.fix


# ── where to ──────────────────────────────────────────────────────────────────────────────────────


def test_an_endpoint_is_a_path_below_the_url():
    assert str(wire.endpoint("https://host/v1/", "chat", Secret(KEY))) == "https://host/v1/chat"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8/v1", "http://localhost/v1", "http://[::1]:8/v1"])
def test_a_key_may_travel_within_the_machine(url):
    wire.endpoint(url, "chat", Secret(KEY))


def test_a_key_does_not_travel_in_clear_text_unless_told_to():
    with pytest.raises(ConfigError, match="clear text"):
        wire.endpoint("http://gpu1.example/v1", "chat", Secret(KEY))
    wire.endpoint("http://gpu1.example/v1", "chat", Secret(KEY), insecure=True)
    wire.endpoint("http://gpu1.example/v1", "chat", None)


@pytest.mark.parametrize(
    "url", ["", "host/v1", "ftp://host/v1", "http://", "http://[::1/v1", "http://h:99999/"]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ConfigError):
        wire.endpoint(url, "chat", None)


def test_a_password_in_an_address_is_refused_and_not_shown():
    with pytest.raises(ConfigError) as caught:
        wire.endpoint("https://me:hunter2@host/v1", "chat", None)
    assert "hunter2" not in str(caught.value)


async def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(monkeypatch):
    asked = []

    async def proxy(head, writer):
        asked.append(head.split()[1])
        writer.write(OK)

    async with server(proxy) as at, server(saying(OK)) as here:
        monkeypatch.setenv("http_proxy", str(at.origin()))
        assert (await posted(URL("http://nowhere.invalid/v1"))).status == 200
        assert (await posted(here)).status == 200
    assert asked == [b"http://nowhere.invalid/v1"]
