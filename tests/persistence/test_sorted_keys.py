from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.persistence.sorted_keys import SortedKeys


@given(st.lists(st.integers(0, 5_000)), st.none() | st.integers(0, 5_000))
def test_it_is_a_sorted_set_whatever_comes_and_goes(toggled: list[int], after: int | None) -> None:
    keys: SortedKeys[int] = SortedKeys()
    model: set[int] = set()
    for key in toggled:
        if key in model:
            keys.remove(key)
        else:
            keys.add(key)
        model ^= {key}
    assert list(keys.after(after)) == sorted(key for key in model if after is None or key > after)


def test_many_keys_stay_in_order_through_splits_and_emptied_blocks() -> None:
    keys: SortedKeys[int] = SortedKeys()
    scattered = [number * 7_919 % 10_007 for number in range(10_007)]
    for key in scattered:
        keys.add(key)
    assert list(keys.after(None)) == list(range(10_007))
    for key in scattered:
        if not 4_000 <= key < 4_003:
            keys.remove(key)
    assert list(keys.after(None)) == [4_000, 4_001, 4_002]
    assert list(keys.after(4_001)) == [4_002]


def test_a_copy_goes_its_own_way() -> None:
    keys: SortedKeys[int] = SortedKeys()
    keys.add(1)
    twin = keys.copy()
    twin.add(2)
    keys.remove(1)
    assert (list(keys.after(None)), list(twin.after(None))) == ([], [1, 2])
