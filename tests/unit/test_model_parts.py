"""A sequence in parts reads as one tuple, and tells what is different without a look into what is the same."""

from __future__ import annotations

from fairway.model.parts import Part, Parts, derived, derived_each, difference, parts_of


def test_it_reads_as_one_tuple_and_equals_it() -> None:
    whole = Parts([(1, 2), (), (3,)])
    assert (len(whole), list(whole), whole[1], whole[1:]) == (3, [1, 2, 3], 2, (2, 3))
    assert whole == (1, 2, 3)
    assert whole == Parts([(1,), (2, 3)])
    assert hash(whole) == hash((1, 2, 3))
    assert whole != (1, 2)
    assert whole != [1, 2, 3]


def test_what_both_begin_and_end_with_does_not_differ() -> None:
    one, two, three = (1, 2), (3, 4, 5), (6, 7)
    changed, other = (3, 9, 5), (8,)
    assert difference(Parts([one, two, three]), Parts([one, changed, three])) == (((4,),), ((9,),))
    assert difference(Parts([one, two, three]), Parts([one, other, changed, three])) == ((two,), (other, changed))
    assert difference(Parts([one, two]), Parts([one, two])) == ((), ())
    assert difference(one, one) == ((), ())
    assert difference(one, (1, 2)) == ((), ())
    assert difference((), one) == ((), (one,))
    assert difference((1, 1, 1), (1, 1)) == (((1,),), ())
    assert parts_of(Parts([one, two])) == (one, two)


def test_a_part_that_was_replaced_is_known() -> None:
    whole = Parts([(1, 2), (), (3, 4)])
    changed = whole.replaced(2, (3,)).replaced(1, (8, 9))
    assert (list(changed), len(changed)) == ([1, 2, 8, 9, 3], 5)
    assert difference(whole, changed) == (((), (3, 4)), ((8, 9), (3,)))
    assert difference(whole, later := whole.replaced(2, (3, 5))) == (((4,),), ((5,),))
    assert later != whole
    assert whole.replaced(0, (1, 2)) == whole == whole.replaced(0, ()).replaced(0, (1, 2))
    assert whole.replaced(0, ())[0] == 3


def test_many_replacements_one_after_the_other() -> None:
    whole, items = Parts([(1,), (2,), (3,)]), [1, 2, 3]
    for number in range(200):
        before, at = whole, number % 3
        whole, items[at] = whole.replaced(at, (number,)), number
        assert difference(before, whole) == ((before.part(at),), (whole.part(at),))
        assert before.part(at) != whole.part(at) == (number,)
    assert list(whole) == items
    assert whole.parts == tuple((one,) for one in items)
    assert whole == Parts(whole.parts)


def test_what_is_made_of_a_part_is_made_once_and_of_a_plain_tuple_each_time() -> None:
    asked: list[tuple[int, ...]] = []

    def total(part: tuple[int, ...]) -> int:
        asked.append(part)
        return sum(part)

    kept, other = Part((1, 2)), Part((3,))
    assert derived(kept, total) == 3
    assert derived_each([kept, other, (5,)], total) == [3, 3, 5]
    assert derived_each([kept, other, (5,)], total) == [3, 3, 5]
    assert asked == [(1, 2), (3,), (5,), (5,)]
    assert derived(other, len) == 1
