"""What the measuring commands share: driving wrk, reading a process's CPU time and memory, preparing a server."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "harness"))
import server as harness  # noqa: E402

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SECRETS = 1000
POLICY = """
path "bench/data/*"       { capabilities = ["create", "read", "update"] }
path "bench/metadata/*"   { capabilities = ["read", "list"] }
path "auth/token/create"  { capabilities = ["update"] }
path "database/creds/+"   { capabilities = ["read"] }
path "pki/issue/web"      { capabilities = ["update"] }
path "transit/encrypt/*"  { capabilities = ["update"] }
"""


class MeasureError(Exception):
    """A measurement that would mean nothing: the load generator or the server failed."""


@dataclass(frozen=True)
class Workload:
    """What wrk sends; see workload.lua for `{n}`."""

    name: str
    method: str
    path: str
    count: int = 1
    token: str = ""
    body: str = ""


@dataclass
class Outcome:
    """One run of a workload; times in microseconds."""

    requests: int
    per_second: float
    p50_us: int
    p99_us: int
    p999_us: int
    cpu_us: float | None
    errors: int


def cpu_s(pid):
    """User and system time that a process has used, all its threads, in seconds."""
    # The command's name, in brackets, may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def memory_mib(pid, which="VmRSS"):
    """Resident memory now (VmRSS) or at its highest (VmHWM), in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(which + ":"):
            return int(line.split()[1]) / 1024
    raise MeasureError(f"no {which} for process {pid}")


def disk_mib(folder):
    """What a directory occupies, in MiB: allocated blocks, so that a sparse file counts what it uses."""
    return sum(f.stat().st_blocks for f in Path(folder).rglob("*") if f.is_file()) * 512 / 2**20


def wrk(address, workload, seconds, connections, pid=None):
    """Loads a server with one workload; `pid` is the process whose CPU time counts."""
    threads = min(2, os.cpu_count() or 1, connections)
    before = cpu_s(pid) if pid else None
    ran = subprocess.run(
        ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(HERE / "workload.lua"),
         address, "--", workload.method, workload.path, str(workload.count), workload.token, workload.body],
        capture_output=True, text=True)
    lines = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
    if ran.returncode != 0 or not lines:
        raise MeasureError(f"wrk failed on {workload.name}: {ran.stderr or ran.stdout}")
    result = json.loads(lines[0].removeprefix("RESULT "))
    if result["requests"] == 0:
        raise MeasureError(f"{workload.name}: no request was answered")
    used = (cpu_s(pid) - before) * 1e6 / result["requests"] if pid else None
    return Outcome(result["requests"], result["requests"] / (result["duration_us"] / 1e6), result["p50_us"], result["p99_us"],
                   result["p999_us"], used, result["status_errors"] + result["socket_errors"])


def prepare(connection):
    """Mounts, policies, secrets and logins that the workloads use; returns the workloads."""
    connection.post("sys/mounts/bench", {"type": "kv", "options": {"version": "2"}})
    connection.post("sys/auth/approle", {"type": "approle"})
    connection.expect(204, "PUT", "sys/policies/acl/bench", {"policy": POLICY})
    secret = {"username": "application", "password": "correct horse battery staple", "note": "x" * 200}
    body = json.dumps({"data": secret})
    for _ in range(100):
        # A version 2 mount may still be getting ready.
        if connection.post("bench/data/s1", body.encode()).status == 200:
            break
        time.sleep(0.1)
    for n in range(1, SECRETS + 1):
        connection.expect(200, "POST", f"bench/data/s{n}", body.encode())
    token = connection.expect(200, "POST", "auth/token/create", {"policies": ["bench"], "ttl": "24h"}).json["auth"]["client_token"]
    logins = {}
    for kind in ("service", "batch"):
        role = f"auth/approle/role/bench-{kind}"
        connection.expect(204, "POST", role, {"token_policies": "bench", "token_type": kind, "token_ttl": "1h"})
        logins[kind] = json.dumps({
            "role_id": connection.expect(200, "GET", f"{role}/role-id").data["role_id"],
            "secret_id": connection.expect(200, "POST", f"{role}/secret-id").data["secret_id"]})
    login = "/v1/auth/approle/login"
    return [
        Workload("KV v2 read", "GET", "/v1/bench/data/s{n}", SECRETS, token),
        Workload("KV v2 write", "POST", "/v1/bench/data/s{n}", SECRETS, token, body),
        Workload("token lookup-self", "GET", "/v1/auth/token/lookup-self", 1, token),
        Workload("token create", "POST", "/v1/auth/token/create", 1, token, json.dumps({"ttl": "1h"})),
        Workload("AppRole login, service", "POST", login, 1, "", logins["service"]),
        Workload("AppRole login, batch", "POST", login, 1, "", logins["batch"]),
    ]


def need_wrk():
    if shutil.which("wrk") is None:
        raise SystemExit("bench: wrk is missing: run scripts/install-test-deps")


def machine():
    """The machine that the figures are from, in a few words."""
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown processor")
    return f"{os.cpu_count()} × {model}, Linux {os.uname().release}"


def table(head, rows):
    """Rows under a head, the first column to the left and numbers to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(text.ljust(w) if column < 3 else text.rjust(w)
                        for column, (text, w) in enumerate(zip(row, widths, strict=True))).rstrip())
