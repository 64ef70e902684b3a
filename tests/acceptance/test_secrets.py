"""A key stands in no log, no error, no file and no process list, whatever fails."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from .conftest import Workplace, simulating

KEY = "sk-live-0123456789abcdefghijklmnop"
FAULTS = ["401", "429", "insufficient_quota", "500", "503", "reset", "refuse", "truncated", "html", "empty"]
FAULTS += ["content_type", "error_200", "redirect", "400", "context_length_exceeded", "hang", "drip"]


def command_lines() -> bytes:
    """The command lines of all processes of this machine."""
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes()
        except OSError:
            continue
    return found


def shown_nowhere(here: Workplace, *said: str) -> None:
    assert KEY not in "".join(said)
    assert KEY[3:] not in "".join(said), "half of it is still too much"
    for path in here.path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_no_failure_of_a_provider_shows_the_key(here: Workplace, fault: str) -> None:
    known = [] if fault == "401" else [f"{fault}=1"]
    arguments = [word for spell in known for word in ("--fault", spell)]
    with simulating("--key", "another" if fault == "401" else KEY, *arguments) as simulator:
        job = here.job(simulator.url, stories=20)
        job.write_text(job.read_text().replace('/v1"}', '/v1", key: env:MY_KEY, timeouts: {first_byte: 2}}'))
        process = here.start("-v", "run", job, env=os.environ | {"MY_KEY": KEY})
        time.sleep(1.2)
        listed = command_lines().replace(b"--key\0" + KEY.encode(), b"")  # the simulator's own argument
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    shown_nowhere(here, out, err, listed.decode(errors="replace"))


def test_no_refusal_of_a_job_file_shows_the_key(here: Workplace) -> None:
    job = here.job("https://gpu.example/v1")
    for wrong in (KEY, f"env:{KEY}", f"file:{KEY}", f"[{KEY}]", f"{{a: {KEY}}}"):
        text = job.read_text()
        job.write_text(text.replace('/v1"}', f'/v1", key: {wrong}}}'))
        done = here.call("-v", "run", job)
        job.write_text(text)
        assert done.returncode == 2, done.stderr
        if wrong == KEY:
            shown_nowhere(here, done.stdout, done.stderr)
