"""What a forked child closes of its parent's."""

import os

from callsheet.forks import Descriptors
from support.descriptors import no_descriptor_left


def test_what_is_the_parents_is_closed_also_when_no_descriptor_is_left() -> None:
    ends = [os.pipe(), os.pipe()]
    shared = Descriptors()
    for _, writing in ends:
        shared.add(writing)

    with no_descriptor_left():
        shared.close_in_child()

    for reading, writing in ends:
        assert os.read(reading, 1) == b""  # nobody can write there any more
        os.close(reading)
        os.close(writing)  # the number was kept, for whoever closes it some day
