"""Unit tests of `fairway.proxy.switching`: the words of a refusal."""

from __future__ import annotations

import pytest

from fairway.model.view import FrontendKey, Key
from fairway.modes.equivalence import Difference, Equivalence
from fairway.proxy.site import Target
from fairway.proxy.switching import not_the_same

ONE = Difference(
    service=Key("shop", "web"),
    frontend=FrontendKey("10.96.0.7", "TCP", 80),
    client="a pod",
    was="refused",
    becomes="dropped",
)
ENDING = "; --accept-differences switches all the same"


@pytest.mark.parametrize(
    ("differing", "lacking", "words"),
    [
        (1, 0, "is not the same for 1 kind of clients of frontends"),
        (2, 0, "is not the same for 2 kinds of clients of frontends"),
        (0, 1, "lacks 1 thing that mode ipvs does"),
        (2, 3, "is not the same for 2 kinds of clients of frontends, and lacks 3 things that mode ipvs does"),
    ],
)
def test_a_refusal_names_only_what_there_is(differing: int, lacking: int, words: str) -> None:
    found = Equivalence(4, 12, (ONE,) * differing, ("no scheduler",) * lacking, ())
    said = not_the_same(found, Target("iptables", "nft"), Target("ipvs"))
    assert said == f"mode iptables (nft) {words}{ENDING}"
