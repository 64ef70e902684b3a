import orjson
import pytest

from storyd import harvest
from storyd.harvest import Harvest


def job(folder, shards: list[list[str]], size: int = 3):
    for name in ("stories", "seals"):
        (folder / name).mkdir(parents=True)
    (folder / "job.json").write_bytes(
        orjson.dumps({"job": {"stories": len(shards) * size, "shard_size": size}})
    )
    for number, stories in enumerate(shards):
        lines = [
            {
                "id": f"{folder.name}/{number * size + at}",
                "index": number * size + at,
                "story": story,
                "traits": {},
            }
            for at, story in enumerate(stories)
        ]
        (folder / "stories" / f"{number:05d}.jsonl").write_bytes(
            b"".join(orjson.dumps(one) + b"\n" for one in lines)
        )
        seal = {"records": len(lines), "digest": f"d{number}"}
        (folder / "seals" / f"{number:05d}.json").write_bytes(orjson.dumps(seal))
    return folder


def test_records_are_rows_across_shards_empty_ones_included(tmp_path, monkeypatch):
    monkeypatch.setattr(harvest, "SHARDS_KEPT", 1)
    rows = Harvest(job(tmp_path / "j", [["a", "b"], [], ["c"], ["d", "e", "f"]]))
    assert [row["story"] for row in rows] == list("abcdef")
    assert [rows[at]["id"] for at in (5, 0, 2)] == ["j/11", "j/0", "j/6"]
    assert rows.digest == ["d0", "d1", "d2", "d3"]
    with pytest.raises(IndexError):
        rows[6]


def test_a_shard_is_looked_through_when_it_is_first_needed(tmp_path):
    folder = job(tmp_path / "j", [["a"], ["b"]])
    (folder / "stories" / "00001.jsonl").unlink()
    rows = Harvest(folder)
    assert (len(rows), rows[0]["story"]) == (2, "a")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"job": {"stories": "x", "shard_size": 0}}', b'{"job": 1}']
)
def test_a_broken_job_json_is_told(tmp_path, content):
    folder = job(tmp_path / "j", [["a"]])
    (folder / "job.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"job\.json cannot be read"):
        Harvest(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"records": "x", "digest": "d"}', b'{"records": 1}'])
def test_a_broken_seal_seals_nothing(tmp_path, content):
    folder = job(tmp_path / "j", [["a"], ["b"]])
    (folder / "seals" / "00001.json").write_bytes(content)
    with pytest.raises(ValueError, match="1 of 2 shards are sealed"):
        Harvest(folder)
