"""A port that is listened on, or not."""

import socket

import pytest
from aiohttp import ClientConnectorError, ClientSession, web

from storyd.door import Door
from storyd.errors import Fatal


async def hello(request):
    return web.Response(text="hello")


async def knock(door):
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{door.port}/") as response:
        return await response.text()


async def test_a_shut_door_refuses_and_keeps_its_port():
    door = Door(hello, 0)
    port = door.port
    for _ in range(3):
        await door.open()
        await door.open()
        assert await knock(door) == "hello"
        door.shut()
        with pytest.raises(ClientConnectorError):
            await knock(door)
        assert door.port == port
        with pytest.raises(OSError), socket.socket() as other:
            other.bind(("127.0.0.1", port))
    await door.leave()


async def test_shutting_it_breaks_the_connections_there_are():
    door = Door(hello, 0)
    await door.open()
    async with ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{door.port}/") as response:
            assert await response.text() == "hello"
        door.shut()
        with pytest.raises(ClientConnectorError):
            await session.get(f"http://127.0.0.1:{door.port}/")
    await door.leave()


async def test_a_port_that_is_taken_is_told():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Fatal) as told:
            Door(hello, port)
    assert str(told.value) == f"port {port}: cannot listen: Address already in use (take another --port)"
