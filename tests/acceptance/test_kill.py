"""kill -9 at any moment: nothing accepted is lost or doubled, nothing noted is asked again."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from .conftest import Workplace, kill, simulating

STORIES, WIDTH, KILLS = 5000, 32, 30
WEATHER = ("--invalid", "0.3", "--fault", "500=0.04", "--fault", "reset=0.03", "--fault", "html=0.03")


@pytest.mark.slow
def test_thirty_kills_change_nothing(tmp_path: Path) -> None:
    undisturbed, killed = Workplace(tmp_path / "undisturbed"), Workplace(tmp_path / "killed")
    for place in (undisturbed, killed):
        place.path.mkdir()
    with simulating(*WEATHER) as simulator:
        job = undisturbed.job(simulator.url, stories=STORIES, shard_size=250, width=WIDTH)
        assert undisturbed.call("run", job).returncode == 0
    moments = random.Random(1)
    with simulating(*WEATHER, "--latency", "0.12") as simulator:
        job = killed.job(simulator.url, stories=STORIES, shard_size=250, width=WIDTH)
        asked_then: list[tuple[set[str], dict[str, int]]] = []
        for _ in range(KILLS):
            process = killed.start("run", job)
            time.sleep(moments.uniform(0.3, 2.2))
            assert process.poll() is None, f"it ended before it was killed: {process.communicate()}"
            kill(process)
            time.sleep(0.3)  # what was on its way to the simulator arrives
            if (killed.folder() / "job.json").exists():  # else it was killed before anything was begun
                killed.verify()
            asked_then.append((set(killed.noted()), simulator.counts()["keys"]))
        finished = killed.call("run", job)
        assert finished.returncode == 0, finished.stderr
        counts = simulator.counts()["keys"]
    report = killed.verify()
    assert report["digest"] == undisturbed.verify()["digest"]
    assert report["unsettled"] == 0 and report["accepted"] + report["abandoned"] == STORIES
    for noted, asked in asked_then:
        again = {key for key in noted if counts[key] > asked[key]}
        assert not again, f"asked again although noted: {sorted(again)[:5]}"
    assert sum(count - 1 for count in counts.values()) <= KILLS * WIDTH
    assert all(count == 1 for count in killed.noted().values())
    undisturbed.close()
    killed.close()
