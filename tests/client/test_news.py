"""What is new in the history since the last look."""

from __future__ import annotations

from callsheet.actors.persistence.store import MAX_PAGE
from callsheet.actors.records import Event
from callsheet.client.news import MISSED, PAGES, News


def events(first: int, last: int) -> list[Event]:
    """Events as a page of the newest has them."""
    return [Event(number, "k") for number in range(last, first - 1, -1)]


def numbers(found: list[Event] | None) -> list[int]:
    assert found is not None
    return [event.at for event in found]


def test_what_came_since_the_last_look_is_told_once_and_oldest_first() -> None:
    news = News(Event(5, "k"))
    assert numbers(news.of(events(1, 8), 100)) == [6, 7, 8]
    assert numbers(news.of(events(1, 8), 100)) == []
    assert numbers(news.of(events(1, 9), 100)) == [9]


def test_everything_is_new_where_there_was_nothing() -> None:
    news = News(None)
    assert numbers(news.of([], 100)) == []
    assert numbers(news.of(events(1, 2), 100)) == [1, 2]


def test_a_page_that_is_new_from_end_to_end_is_asked_for_again_and_longer() -> None:
    news = News(Event(1, "k"))
    assert news.of(events(2, 101), PAGES[0]) is None
    assert numbers(news.of(events(1, 101), PAGES[1])) == list(range(2, 102))


def test_what_even_the_longest_page_leaves_out_is_told_as_missed() -> None:
    news = News(Event(1, "k"))
    found = news.of(events(1000, 999 + MAX_PAGE), MAX_PAGE)
    assert found is not None
    assert (found[0].kind, len(found)) == (MISSED, MAX_PAGE + 1)
    assert numbers(news.of(events(1001, 1000 + MAX_PAGE), MAX_PAGE)) == [1000 + MAX_PAGE]
