"""For how long answers are remembered, for those that ask again."""

from __future__ import annotations

from callsheet.actors.coordinator.answers import FEW, KEPT_US, MOST, Answers
from callsheet.actors.messages import Accepted

ANSWER = Accepted("k", (1,), True)


def with_answers(count: int, elapsed: int = 0) -> Answers:
    answers = Answers()
    for number in range(count):
        answers.keep(str(number), ANSWER, elapsed)
    return answers


def known(answers: Answers, count: int) -> int:
    return sum(answers.find(str(number)) is not None for number in range(count))


def test_an_answer_is_kept_for_its_time_however_many_come_after_it() -> None:
    answers = with_answers(20 * FEW)
    answers.keep("last", ANSWER, KEPT_US)
    assert known(answers, 20 * FEW) == 20 * FEW


def test_the_latest_are_kept_however_old_they_are() -> None:
    answers = with_answers(FEW)
    answers.keep("last", ANSWER, 100 * KEPT_US)
    assert known(answers, FEW) == FEW - 1


def test_what_is_old_is_forgotten_two_for_each_that_comes() -> None:
    answers = with_answers(FEW + 1_000)
    for number in range(1_000):
        answers.keep(f"new {number}", ANSWER, 2 * KEPT_US)
    assert known(answers, FEW + 1_000) == FEW - 1_000


def test_never_more_than_a_quarter_of_a_million_are_kept() -> None:
    answers = with_answers(MOST + 10)
    assert known(answers, MOST + 10) == MOST
