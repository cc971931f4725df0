"""A machine whose kernel has no IPVS says so, with the modules' names."""

from __future__ import annotations

import pytest

from fairway.cli import main
from fairway.kernel.contract import Unsuitable
from fairway.kernel.ipvs import Ipvs, NoIpvs
from fairway.proxy.kernels import open_mode


def _has_ipvs() -> bool:
    try:
        Ipvs().close()
    except NoIpvs:
        return False
    return True


pytestmark = [pytest.mark.kernel, pytest.mark.skipif(_has_ipvs(), reason="this kernel has IPVS")]


def test_the_message_names_the_modules() -> None:
    with pytest.raises(Unsuitable, match=r"cannot do the ipvs mode: this kernel has no IPVS: .* ip_vs, ip_vs_rr"):
        open_mode("ipvs").__enter__()


def test_a_lab_says_so_before_anything_is_made_and_how_it_could_be_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["lab", "up", "--mode", "ipvs", "--name", "never"]) == 1
    said = capsys.readouterr().err
    assert "this kernel has no IPVS: it needs the modules ip_vs" in said
    assert "fairway lab guest -- fairway lab up --mode ipvs" in said
