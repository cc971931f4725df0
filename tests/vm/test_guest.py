"""What a guest is: a kernel of its own over this machine's files, gone afterwards. The last tests run inside."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fairway.cli import main
from fairway.cli.output import EXIT_USAGE
from fairway.kernel.links import Links
from fairway.lab.vm.guest import SHARED, run, started
from fairway.lab.vm.kind import GuestError, Job
from fairway.lab.vm.kinds import UML
from fairway.lab.vm.uml import MODULES

ENOUGH = 110.0
WEB = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default, labels: {app: web}}
spec: {containers: [{name: web, image: web, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.96.77.7, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
outside = pytest.mark.skipif(bool(UML.missing()), reason=UML.missing())


@outside
def test_a_program_has_the_machines_files_and_its_own_kernel(tmp_path: Path) -> None:
    (tmp_path / "left.txt").write_text("as it was")
    script = "cat left.txt; echo changed > left.txt; uname -r; cat /run/job/told; exit 7"
    code, output = run(Job(argv=["sh", "-c", script], directory=tmp_path, files={"told": "hello"}), seconds=ENOUGH)
    assert code == 7
    assert output.splitlines()[0] == "as it was" + next(one.name for one in MODULES.iterdir())
    assert "hello" in output
    assert (tmp_path / "left.txt").read_text() == "as it was"


@outside
def test_a_guest_without_its_program_says_so() -> None:
    code, output = run(Job(argv=["/no/such/program"]), seconds=ENOUGH)
    assert code == 255
    assert "/no/such/program" in output


@outside
def test_a_command_prints_here_what_it_prints_in_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["conform", "--mode", "ipvs", "--guest", "uml", "--scenario", "hairpin", "--output", "json"]) == 0
    assert [one["name"] for one in json.loads(capfd.readouterr().out)["passed"]] == ["hairpin"]


@outside
def test_a_command_complains_here_when_it_complains_in_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["conform", "--mode", "nftables", "--guest", "uml", "--scenario", "hairpin"]) == 1
    told = capfd.readouterr()
    assert told.out == ""
    assert "this machine cannot do the nftables mode" in told.err


@outside
def test_a_lab_in_mode_ipvs_comes_up_by_one_command(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(WEB)
    lab = (
        f"fairway lab up --mode ipvs --nodes 1 --manifest {tmp_path}/web.yaml && fairway lab exec node-1 -- ipvsadm -Sn"
    )
    assert main.run(["lab", "guest", "--memory", "1024", "--", "sh", "-c", f"{lab}; exit 3"]) == 3
    shown = capfd.readouterr().out
    assert "All checks passed" in shown
    assert "-A -t 10.96.77.7:80 -s rr" in shown
    assert main.run(["lab", "guest"]) == EXIT_USAGE
    assert "say what to run" in capfd.readouterr().err


@outside
def test_a_guest_ends_with_the_process_that_started_it() -> None:
    program = (
        "import sys\n"
        "from fairway.lab.vm.guest import Job, started\n"
        "with started(Job(argv=['sh', '-c', 'echo up; sleep 1000'])) as guest:\n"
        f"    next(guest.lines({ENOUGH}))\n"
        "    print(guest.process, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    guest = os.pidfd_open(int(parent.stdout.readline()))
    try:
        parent.send_signal(signal.SIGKILL)
        parent.wait(ENOUGH)
        assert select.select([guest], [], [], ENOUGH)[0], "the guest has outlived its parent"
    finally:
        os.close(guest)
        parent.communicate()


@outside
def test_a_guest_is_gone_after_the_block() -> None:
    with started(Job(argv=["sh", "-c", "echo up; sleep 1000"])) as guest:
        assert next(guest.lines(ENOUGH)) == "up"
        directory = guest.directory
        with pytest.raises(GuestError, match=r"not done after 1 s\n  up"):
            guest.wait(1)
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(guest.process, 0)


@pytest.mark.vm
def test_this_runs_in_a_guest() -> None:
    assert os.geteuid() == 0
    assert (MODULES / os.uname().release).is_dir()
    assert SHARED.is_mount()


@pytest.mark.vm
def test_links_work_in_a_guest() -> None:
    with Links() as links:
        links.set_up("lo")
        assert "lo" in links.names()
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), 30).close()
