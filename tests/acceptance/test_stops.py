"""Every way a run can stop: what the user reads, the exit code, and going on afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Workplace, eventually, kill, one_line, simulating


def settled(place: Workplace) -> int:
    return len(place.noted())


def test_a_run_ends_with_sealed_shards_and_three_stories(here: Workplace) -> None:
    with simulating() as simulator:
        done = here.call("run", here.job(simulator.url))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("── job/") == 3
    report = here.verify()
    assert (report["sealed"], report["open"], report["accepted"], report["unsettled"]) == (4, 0, 200, 0)
    assert not list(here.folder().glob("**/*.open")) and not list(here.folder().glob("reserve*"))


def test_a_finished_job_asks_nothing_more(here: Workplace) -> None:
    with simulating() as simulator:
        job = here.job(simulator.url)
        assert here.call("run", job).returncode == 0
        asked = simulator.counts()["asked"]
        assert here.call("run", job).returncode == 0
        assert simulator.counts()["asked"] == asked


def test_json_prints_one_object_and_nothing_else(here: Workplace) -> None:
    with simulating() as simulator:
        done = here.call("--json", "run", here.job(simulator.url))
    assert json.loads(done.stdout)["accepted"] == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains_and_the_next_run_goes_on(here: Workplace, number: signal.Signals) -> None:
    with simulating("--latency", "0.3") as simulator:
        job = here.job(simulator.url)
        process = here.start("run", job)
        eventually(lambda: here.folder().exists() and settled(here) > 20)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 128 + number, err
        assert "run it again to go on" in one_line(err) and "Traceback" not in err
        counts = simulator.counts()["keys"]
        assert counts == here.noted(), "an answer that was under way was dropped"
        assert here.call("run", job).returncode == 0
        assert all(count == 1 for count in simulator.counts()["keys"].values())
    assert here.verify()["accepted"] == 200


def test_the_second_signal_stops_at_once(here: Workplace) -> None:
    with simulating("--latency", "20", "--jitter", "0") as simulator:
        process = here.start("run", here.job(simulator.url))
        eventually(lambda: simulator.counts()["asked"] > 4)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None, "it should be waiting for its answers"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        assert process.returncode == 130 and "Traceback" not in err, err
    here.verify()


def test_a_second_process_is_told_who_holds_the_shards(here: Workplace) -> None:
    with simulating("--latency", "0.5") as simulator:
        job = here.job(simulator.url)
        first = here.start("run", job)
        eventually(lambda: here.folder().exists() and settled(here) > 0)
        second = here.call("run", job)
        assert second.returncode == 4
        assert f"process {first.pid}" in one_line(second.stderr)
        third = here.call("restart-shard", "job", "0")
        assert third.returncode == 4 and f"process {first.pid}" in one_line(third.stderr)
        kill(first)


def test_two_processes_share_a_job_by_shards(here: Workplace) -> None:
    with simulating("--latency", "0.05") as simulator:
        job = here.job(simulator.url)
        first, second = here.start("run", job, "--shards", "0-1"), here.start("run", job, "--shards", "2-3")
        for process in (first, second):
            _, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
        assert max(simulator.counts()["keys"].values()) == 1
    assert here.verify()["sealed"] == 4


# ── the provider ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fault", "said"), [("insufficient_quota", "quota"), ("redirect", "redirect"), ("400", "400")]
)
def test_a_provider_that_refuses_the_account_parks_the_job(here: Workplace, fault: str, said: str) -> None:
    with simulating("--fault", f"{fault}=1") as simulator:
        job = here.job(simulator.url)
        done = here.call("run", job)
        assert done.returncode == 4, done.stderr
        assert said in one_line(done.stderr).lower()
        report = here.verify()
        assert (report["accepted"], report["abandoned"]) == (0, 0)
        simulator.change(faults={})
        assert here.call("run", job).returncode == 0


def test_a_wrong_key_parks_and_is_never_shown(here: Workplace) -> None:
    key = "sk-live-0123456789abcdefghijklmnop"
    with simulating("--key", "another") as simulator:
        job = here.job(simulator.url)
        job.write_text(job.read_text().replace('/v1"}', '/v1", key: env:MY_KEY}'))
        done = here.call("run", job, "-v", env=os.environ | {"MY_KEY": key})
    assert done.returncode == 4
    assert "MY_KEY" in one_line(done.stderr.splitlines()[-1]) or "key" in done.stderr
    assert key not in done.stdout + done.stderr
    assert not [path for path in here.path.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


@pytest.mark.slow
def test_a_dead_provider_is_waited_for(here: Workplace) -> None:
    outage(here, seconds=12)


@pytest.mark.slow
@pytest.mark.skipif("STORYD_LONG" not in os.environ, reason="ten minutes of outage: set STORYD_LONG=1")
def test_an_outage_of_ten_minutes_abandons_nothing(here: Workplace) -> None:
    outage(here, seconds=600)


def outage(here: Workplace, seconds: float) -> None:
    """Half of the time connections are refused, then the server answers 503."""
    with simulating("--latency", "0.2") as simulator:
        process = here.start("run", here.job(simulator.url, stories=2500, shard_size=500, width=16))
        eventually(lambda: simulator.counts()["answered"] > 300)
        simulator.change(schedule=[f"refuse=0-{seconds / 2}", f"503={seconds / 2}-{seconds}"])
        time.sleep(seconds / 2 + 0.5)  # nobody can ask the simulator anything before
        before = simulator.counts()["asked"]
        time.sleep(seconds / 2 - 1.5)
        probes = simulator.counts()["asked"] - before
        time.sleep(1 + 10)
        then = simulator.counts()["answered"]
        time.sleep(3)
        pace = (simulator.counts()["answered"] - then) / 3
        assert process.poll() is not None or pace > 0.8 * 16 / 0.2, f"{pace} answers/s ten seconds later"
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert probes <= 2 + seconds / 2 / 3, f"{probes} requests into the outage"
    assert here.verify()["abandoned"] == 0


# ── the disk ──────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def small_disk(path: Path, size: str = "1500k") -> Iterator[None]:
    path.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("mounting a small disk takes root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_parks_with_all_that_was_paid_for(here: Workplace) -> None:
    with small_disk(here.path / "shards"), simulating("--latency", "0.02") as simulator:
        job = here.job(simulator.url, stories=2500, shard_size=1000)
        done = here.call("run", job)
        assert done.returncode == 4, done.stderr
        assert "no space left" in one_line(done.stderr) and "free some space" in one_line(done.stderr)
        assert simulator.counts()["keys"] == here.noted(), "an answer was paid for and not noted"
        again = here.call("run", job)
        assert again.returncode == 4 and "no space left" in one_line(again.stderr)
        subprocess.run(["mount", "-o", "remount,size=200m", here.path / "shards"], check=True)
        assert here.call("run", job).returncode == 0
        assert max(simulator.counts()["keys"].values()) == 1
        assert here.verify()["accepted"] == 2500


def test_a_read_only_folder_is_one_clear_line(here: Workplace) -> None:
    with small_disk(here.path / "shards"), simulating() as simulator:
        job = here.job(simulator.url)
        subprocess.run(["mount", "-o", "remount,ro", here.path / "shards"], check=True)
        done = here.call("run", job)
        assert done.returncode == 4 and "read-only" in one_line(done.stderr)
        subprocess.run(["mount", "-o", "remount,rw", here.path / "shards"], check=True)
        assert here.call("run", job).returncode == 0


# ── asking again ──────────────────────────────────────────────────────────────────────────────────


def test_restart_shard_asks_new_questions_and_keeps_the_old_files(here: Workplace) -> None:
    with simulating("--invalid", "0.2") as simulator:
        job = here.job(simulator.url)
        here.call("run", job)
        usd = here.verify()
        done = here.call("restart-shard", "job", "1")
        assert done.returncode == 0 and "trash" in done.stdout
        assert here.verify()["unsettled"] >= 49
        assert here.call("run", job).returncode == 0
        assert max(simulator.counts()["keys"].values()) == 1, "a question was repeated"
    assert list(here.folder().glob("trash/*/stories-00001.jsonl"))
    assert here.verify()["digest"] != usd["digest"]


def test_retry_reopens_only_what_was_abandoned(here: Workplace) -> None:
    with simulating("--invalid", "0.6") as simulator:
        job = here.job(simulator.url)
        job.write_text(job.read_text().replace("invalid: 8", "invalid: 2"))
        first = here.call("run", job)
        assert first.returncode == 3 and "retry.tolerate" in one_line(first.stderr)
        before = here.verify()
        done = here.call("--json", "retry", "job")
        assert json.loads(done.stdout)["reopened"] == before["abandoned"] > 20
        here.call("run", job)
        after = here.verify()
        assert after["accepted"] > before["accepted"] and after["unsettled"] == 0
        assert max(simulator.counts()["keys"].values()) == 1, "a question was repeated"


def test_a_job_may_grow_but_not_change(here: Workplace) -> None:
    with simulating() as simulator:
        job = here.job(simulator.url, stories=120)
        assert here.call("run", job).returncode == 0
        assert here.call("run", here.job(simulator.url, stories=200)).returncode == 0
        assert here.verify()["accepted"] == 200
        assert max(simulator.counts()["keys"].values()) == 1
        fewer = here.call("run", here.job(simulator.url, stories=100))
        assert fewer.returncode == 2 and "fewer" in one_line(fewer.stderr)
        other = here.call("run", here.job(simulator.url), "--set", "seed=8")
        assert other.returncode == 2 and "seed: changed" in one_line(other.stderr)
