"""What was asked and answered."""

from storyd.tally import Tally


def test_questions_and_answers_are_counted_by_key():
    tally = Tally(None)
    assert [tally.ask(key) for key in ("a", "b", "a")] == [0, 0, 1]
    tally.deliver("a")
    report = tally.report()
    assert (report["asked"], report["answered"]) == (3, 1)
    assert report["asked_keys"] == {"a": 2, "b": 1} and report["keys"] == {"a": 1}


def test_the_peak_is_remembered():
    tally = Tally(None)
    tally.enter()
    tally.enter()
    tally.in_flight -= 2
    assert (tally.report()["in_flight"], tally.report()["peak"]) == (0, 2)


def test_answers_are_remembered_in_a_file_at_once(tmp_path):
    first = Tally(tmp_path / "state")
    first.deliver("a")
    first.deliver("a")
    again = Tally(tmp_path / "state")
    again.deliver("b")
    assert again.report()["keys"] == {"a": 2, "b": 1}
    first.close()
    again.close()
    assert (tmp_path / "state").read_text() == "a\na\nb\n"
