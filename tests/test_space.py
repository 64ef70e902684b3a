import math
from itertools import combinations, pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storyd.space import Axis, Grid, Prompt, Rows, Slot, Template, Wording, below, draw, parse, permute

SEEDS = st.integers(0, 2**64)


def wording(text, **others):
    return Wording(parse(text), **{name: parse(said) for name, said in others.items()})


def grid(text="{a}", **axes):
    return Grid(wording(text), tuple(Axis(name, values) for name, values in axes.items()))


# ── the permutation ───────────────────────────────────────────────────────────────────────────────


@given(SEEDS, st.integers(1, 500))
def test_a_permutation_meets_every_number_once(seed, size):
    assert sorted(permute(seed, size, index) for index in range(size)) == list(range(size))


@given(SEEDS, st.integers(2**64, 2**700), st.data())
def test_sizes_beyond_64_bits_collide_nowhere(seed, size, data):
    some = data.draw(st.sets(st.integers(0, size - 1), min_size=2, max_size=40))
    ends = {0, 1, size - 2, size - 1}
    sent = [permute(seed, size, index) for index in some | ends]
    assert len(set(sent)) == len(some | ends)
    assert all(0 <= rank < size for rank in sent)


@pytest.mark.parametrize("size", [2**64 - 1, 2**64, 2**64 + 1, 10**12, 10**50, math.comb(5000, 60)])
def test_neighbours_are_sent_far_apart(size):
    sent = sorted(permute(1, size, index) for index in range(2000))
    assert len(set(sent)) == 2000
    assert sent[0] < size // 100 and sent[-1] > size - size // 100
    assert max(b - a for a, b in pairwise(sent)) < size // 100


@pytest.mark.parametrize("index", [-1, 10, 10**30])
def test_an_index_outside_of_the_space_is_refused(index):
    with pytest.raises(IndexError):
        permute(1, 10, index)


def test_another_seed_is_another_order():
    orders = {tuple(permute(seed, 50, index) for index in range(50)) for seed in range(20)}
    assert len(orders) == 20


def test_the_order_of_a_seed_never_changes():
    assert [permute(7, 1000, index) for index in range(6)] == [793, 383, 833, 353, 95, 512]
    assert permute(7, 10**40, 0) == 3175665188412066196117249594398371490795


@pytest.mark.slow
def test_the_first_million_of_a_trillion_hold_no_repeat():
    assert len({permute(3, 10**12, index) for index in range(10**6)}) == 10**6


def test_the_first_of_a_trillion_prompts_hold_no_repeat():
    values = tuple(f"v{n}" for n in range(10**3))
    space = grid("{a} {b} {c} {d}", a=values, b=values, c=values, d=values)
    assert space.size == 10**12
    assert len({space.prompt(3, index).text for index in range(20_000)}) == 20_000


# ── drawing ───────────────────────────────────────────────────────────────────────────────────────


@given(SEEDS, st.integers(0, 10**9), st.integers(1, 10**40))
def test_below_stays_below(seed, index, size):
    assert 0 <= below(seed, index, "x", size) < size


def test_below_reaches_everything_equally():
    counts = [0] * 7
    for index in range(7000):
        counts[below(1, index, "x", 7)] += 1
    assert min(counts) > 850 and max(counts) < 1150


def test_a_draw_depends_on_each_of_its_arguments():
    assert len({draw(1, 2, "a"), draw(2, 2, "a"), draw(1, 3, "a"), draw(1, 2, "b")}) == 4


@given(st.lists(st.just(0.0) | st.floats(1e-9, 1e9), min_size=1, max_size=9).filter(any), SEEDS)
def test_a_weighted_draw_never_picks_what_weighs_nothing(weights, seed):
    values = tuple(f"v{n}" for n in range(len(weights)))
    axis = Axis("a", values, weights=tuple(weights))
    for index in range(20):
        assert weights[values.index(axis.draw(seed, index))] > 0


def test_weights_are_kept_on_average():
    axis = Axis("a", ("rare", "common"), weights=(1, 9))
    rare = sum(axis.draw(1, index) == "rare" for index in range(5000))
    assert 400 < rare < 600


@pytest.mark.parametrize("bits", [0, 2**64 - 1])
def test_the_first_and_the_last_bits_of_a_draw_are_in_range(bits, monkeypatch):
    monkeypatch.setattr("storyd.space.draw", lambda *_: bits)
    axis = Axis("a", ("x", "y"), weights=(0.1, 0.7))
    assert axis.draw(1, 0) == ("y" if bits else "x")


def test_an_independent_draw_repeats_itself_and_a_unique_one_does_not():
    axes = (Axis("a", ("x", "y")), Axis("b", ("x", "y")))
    independent = Grid(wording("{a}{b}"), axes, draw="independent")
    unique = Grid(wording("{a}{b}"), axes)
    assert len({unique.prompt(1, index).text for index in range(4)}) == 4
    assert {independent.prompt(1, index).text for index in range(60)} == {"xx", "xy", "yx", "yy"}


# ── choosing several ──────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
def test_choices_are_all_subsets_in_order(count, least, most):
    least, most = sorted((least, min(most, count)))
    values = tuple("abcdefgh"[:count])
    axis = Axis("a", values, choose=(least, most))
    every = [chosen for size in range(least, most + 1) for chosen in combinations(values, size)]
    assert axis.size == len(every)
    assert [axis.pick(rank) for rank in range(axis.size)] == every
    with pytest.raises(IndexError):
        axis.pick(axis.size)


@given(st.integers(100, 3000), st.integers(1, 30), st.data())
def test_the_subsets_of_a_long_list_are_ranked_too(count, size, data):
    values = tuple(f"v{n:04d}" for n in range(count))
    axis = Axis("a", values, choose=(size, size))
    ranks = data.draw(st.lists(st.integers(0, axis.size - 1), min_size=2, max_size=6, unique=True))
    chosen = [axis.pick(rank) for rank in sorted(ranks)]
    assert chosen == sorted(set(chosen))
    assert all(list(one) == sorted(set(one)) and len(one) == size for one in chosen)


# ── grids ─────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def spaces(draw):
    axes = []
    for name in draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True)):
        values = tuple(f"{name}{n}" for n in range(draw(st.integers(1, 5))))
        choose = draw(st.none() | st.tuples(st.integers(0, len(values)), st.integers(1, len(values))))
        axes.append(Axis(name, values, choose if choose and choose[0] <= choose[1] else None))
    slots = " ".join("{" + axis.name + "}" for axis in axes)
    return Grid(wording(slots), tuple(axes), repeats=draw(st.integers(1, 3)))


@given(spaces(), SEEDS)
def test_no_combination_comes_twice_before_all_have_come(space, seed):
    count = min(space.combinations, 400)
    seen = [space.prompt(seed, index * space.repeats) for index in range(count)]
    assert len({repr(sorted(prompt.traits.items())) for prompt in seen}) == count
    assert len({prompt.text for prompt in seen}) == count
    assert space.size == space.combinations * space.repeats


@given(spaces(), SEEDS)
def test_a_shard_computed_alone_has_the_same_prompts(space, seed):
    indices = range(min(space.size, 60))
    inside = {index: space.prompt(seed, index) for index in reversed(indices)}
    alone = Grid(space.wording, space.axes, space.draw, space.repeats)
    assert all(alone.prompt(seed, index) == inside[index] for index in indices[len(indices) // 2 :])


def test_repeats_ask_each_prompt_so_often():
    space = Grid(wording("{a}"), (Axis("a", ("x", "y")),), draw="ordered", repeats=3)
    assert [space.prompt(1, index).text for index in range(6)] == ["x"] * 3 + ["y"] * 3


def test_ordered_goes_through_the_product_the_last_axis_first():
    space = Grid(wording("{a}{b}"), (Axis("a", ("x", "y")), Axis("b", ("1", "2"))), draw="ordered")
    assert [space.prompt(9, index).text for index in range(4)] == [
        "".join(pair) for pair in product("xy", "12")
    ]


def test_several_values_are_joined_in_the_text_and_apart_in_the_traits():
    space = Grid(wording("{a}."), (Axis("a", ("x", "y"), choose=(2, 2), join=" and "),))
    assert space.prompt(1, 0) == Prompt(0, "x and y.", {"a": ("x", "y")})


def test_system_prefill_and_examples_are_sent_around_the_text():
    space = Grid(wording("{a}!", system="Be {a}.", prefill="Once {a}"), (Axis("a", ("x",)),))
    prompt = space.prompt(1, 0)
    assert (prompt.system, prompt.text, prompt.prefill) == ("Be x.", "x!", "Once x")
    shown = Prompt(0, "t", {}, system="s", examples=(("user", "q"), ("assistant", "a")))
    assert shown.messages == (("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "t"))
    assert Prompt(0, "t", {}).messages == (("user", "t"),)


def test_values_may_hold_slots_of_other_axes():
    axes = (Axis("who", ("a cat", "the friend of {name}")), Axis("name", ("Ann", "{who}")))
    nested = {"who": {"the friend of {name}": parse("the friend of {name}")}}
    space = Grid(wording("{who} & {name}"), axes, "ordered", nested=nested, order=("name", "who"))
    texts = [space.prompt(1, index).text for index in range(4)]
    assert texts == [
        "a cat & Ann",
        "a cat & {who}",  # a plain value's braces are its own
        "the friend of Ann & Ann",
        "the friend of {who} & {who}",
    ]
    assert space.prompt(1, 2).traits == {"who": "the friend of Ann", "name": "Ann"}


def test_each_of_several_values_may_hold_slots():
    axes = (Axis("who", ("I", "{name}"), choose=(2, 2)), Axis("name", ("Ann",)))
    nested = {"who": {"{name}": parse("{name}")}}
    space = Grid(wording("{who}"), axes, nested=nested, order=("name", "who"))
    assert space.prompt(1, 0) == Prompt(0, "I, Ann", {"who": ("I", "Ann"), "name": "Ann"})


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────

ROWS = [{"prompt": f"p{n}", "kind": f"k{n}"} for n in range(5)]


def test_rows_come_in_their_order_or_in_the_seeds():
    asked = Rows(wording("Do {prompt}"), ROWS, traits=("kind",))
    assert asked.size == 5
    assert asked.prompt(1, 3) == Prompt(3, "Do p3", {"kind": "k3"})
    mixed = Rows(wording("{prompt}"), ROWS, draw="unique", repeats=2)
    texts = [mixed.prompt(4, index).text for index in range(mixed.size)]
    assert sorted(texts) == sorted(["p0", "p1", "p2", "p3", "p4"] * 2)
    assert texts[::2] == texts[1::2] != sorted(texts[::2])
    drawn = Rows(wording("{prompt}"), ROWS, draw="independent")
    assert {drawn.prompt(1, index).text for index in range(100)} == {f"p{n}" for n in range(5)}


# ── templates ─────────────────────────────────────────────────────────────────────────────────────


def filled(text, **values):
    return parse(text).fill(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{a}", "A"),
        ("{a}{a}", "AA"),
        ("{ a }", "{ a }"),
        ("{A}", "{A}"),
        ("{1a}", "{1a}"),
        ("{}", "{}"),
        ('{"a": {a}}', '{"a": A}'),
        ("{{a}}", "{a}"),
        ("{{{a}}}", "{{a}}"),
        ("{{a}", "{A"),
        ("{a}}", "A}"),
        ("{{b c}}", "{{b c}}"),
        ("100%", "100%"),
        ("%s %(a)s %% {a}%", "%s %(a)s %% A%"),
        ("{a!r} {a.b} {a[0]}", "{a!r} {a.b} {a[0]}"),
        ("x[[ and {a}]]y", "x and Ay"),
        ("x[[ and {e}]]y", "xy"),
        ("[[{e}{a}]]", "A"),
        ("[[{e}{e}]]", ""),
        ("[[no slot]]", "[[no slot]]"),
        ("[[{{a}}]]", "[[{a}]]"),
        ("[[1, 2], [3, 4]]", "[[1, 2], [3, 4]]"),
        ("open [[ {a}", "open [[ A"),
        ("shut ]] {a}", "shut ]] A"),
        ("[[a [[{a}]] b]]", "a [[A b]]"),
        ("[[50% {a}]] of 100%", "50% A of 100%"),
        ("[[50% {e}]] of 100%", " of 100%"),
        ("[[{a}]][[{e}]][[{a}]]", "AA"),
        ("line\r\n{a}\n", "line\r\nA\n"),
        ("{a}\u2028\x00{a}", "A\u2028\x00A"),
    ],
)
def test_only_a_name_in_braces_is_a_slot(text, expected):
    assert filled(text, a="A", e="") == expected


@pytest.mark.parametrize("value", ["{b}", "{{a}}", "%(b)s", "%", "[[{b}]]", "\\1", "{", "}}"])
def test_values_are_put_in_once_and_never_read_again(value):
    assert filled("<{a}> <{b}>", a=value, b="B") == f"<{value}> <B>"


@given(st.text("{}[]%ab \n", max_size=30))
def test_every_text_is_a_template(text):
    template = parse(text)
    filled = template.fill(dict.fromkeys(template.slots, "v"))
    if not template.slots and "{{" not in text:
        assert filled == text


@given(st.text("{}[]%xy ", max_size=12), st.text("{}[]%xy ", max_size=12))
def test_values_stand_in_the_text_as_they_are(first, second):
    assert filled("{a}-{b}", a=first, b=second) == f"{first}-{second}"


def test_slots_are_known_before_anything_is_filled():
    assert parse("{a} [[{b} {{c}}]]").slots == {"a", "b"}
    assert wording("{a}", system="{b}", prefill="{c}").slots == {"a", "b", "c"}
    assert parse("a {b}").parts == ("a ", Slot("b"))
    assert Template(()).fill({}) == ""
