"""Without etcd nobody pays for it, and without grpcio it is named."""

from __future__ import annotations

import subprocess
import sys

from fairway.apiserver.storage.etcd_client import EtcdClient

ADDRESS = "fairway.apiserver.storage.etcd_address.EtcdAddress(endpoints=('http://127.0.0.1:1',))"


def python(program: str) -> str:
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return ended.stdout.strip()


def test_a_server_that_needs_no_etcd_loads_no_grpc() -> None:
    assert python("import sys, fairway.apiserver.server; print('grpc' in sys.modules)") == "False"


def test_grpcio_is_named_where_it_is_missing() -> None:
    module = EtcdClient.__module__
    program = f"""
import sys; sys.modules["grpc"] = None
import {module}
try:
    {module}.EtcdClient({ADDRESS})
except fairway.apiserver.storage.contract.StorageError as error:
    print(error)
"""
    assert python(program) == "etcd needs the Python package grpcio: pip install 'fairway[etcd]'"
