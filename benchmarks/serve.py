"""Readers per second of `legible serve`, asked from outside its process.

Starts the server on a free port and lets many clients read at once, each its own texts, one request after the other,
streamed. Reports what a client waits for a whole answer and for its first reading, how evenly the clients were served
(fewest / most readings of one client), refusals and errors, and the server's memory before and after. The floor is one
client alone. Half of the clients' last requests are given up in the middle: the server must not go on with them.

    python benchmarks/serve.py --clients 32 --seconds 60
    python benchmarks/serve.py --checkpoint runs/tiny --tokens 16 --samples 5
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import numpy as np
import psutil
from support.table import last_line

from legible.languages.world import story_document


@dataclass
class Client:
    """What one client saw."""

    readings: int = 0
    whole: list[float] = field(default_factory=list)  # seconds to the end of an answer
    first: list[float] = field(default_factory=list)  # seconds to its first reading
    refused: int = 0
    errors: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="builtin")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the load; the client alone gets a third of it")
    parser.add_argument("--tokens", type=int, default=8, help="tokens read in one request")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--no-claims", action="store_true", help="explanations and scores alone")
    parser.add_argument("--threads", type=int, default=2, help="torch threads of the server")
    args = parser.parse_args()
    with serving(args.checkpoint, args.threads) as (base, token, process):
        asyncio.run(load(base, token, args, clients=1, seconds=1.0))  # warm-up
        alone, _ = asyncio.run(load(base, token, args, clients=1, seconds=args.seconds / 3))
        before = memory(process)
        crowd, took = asyncio.run(load(base, token, args, clients=args.clients, seconds=args.seconds))
        after = memory(process)
    result = summary(alone, crowd, took) | {
        "rss_before_mb": before,
        "rss_after_mb": after,
        **vars(args),
    }
    show(result)
    last_line(result)


@contextlib.contextmanager
def serving(checkpoint: str, threads: int) -> Iterator[tuple[str, str, psutil.Process]]:
    """A server in a process of its own: its address, its token, its process."""
    command = [sys.executable, "-m", "legible.cli.main", "serve", checkpoint, "--port", "0", "--no-open"]
    server = subprocess.Popen(
        [*command, "--threads", str(threads)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )
    try:
        assert server.stdout is not None
        base, _, token = server.stdout.readline().strip().partition("#token=")
        if not token:
            raise SystemExit("the server did not start: try `legible serve` by hand")
        yield base, token, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


async def load(
    base: str, token: str, args: argparse.Namespace, *, clients: int, seconds: float
) -> tuple[list[Client], float]:
    """Every client reads until the time is up; answers begun before it are counted when they are whole."""
    limits = httpx.Limits(max_connections=clients * 2, max_keepalive_connections=clients * 2)
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=120, limits=limits) as http:
        started = time.monotonic()
        found = await asyncio.gather(*(one(http, number, started + seconds, args) for number in range(clients)))
        took = time.monotonic() - started
        await asyncio.gather(*(give_up(http, number, args) for number in range(clients // 2)))
        asked = time.monotonic()
        await http.get("api/v1/sources")
        (await http.post("api/v1/tokenize", json={"text": "Pavel kept a hammer in the pocket."})).raise_for_status()
        if time.monotonic() - asked > 10:
            raise SystemExit("the server went on with answers that nobody waits for")
    return found, took


async def one(http: httpx.AsyncClient, number: int, until: float, args: argparse.Namespace) -> Client:
    """One client."""
    client, request = Client(), 0
    while time.monotonic() < until:
        began, readings = time.monotonic(), 0
        try:
            async with http.stream("POST", "api/v1/read", json=body(number, request, args)) as response:
                if response.status_code == 429:
                    client.refused += 1
                    await asyncio.sleep(float(response.headers["retry-after"]))
                    continue
                response.raise_for_status()
                async for line in response.aiter_lines():
                    frame = json.loads(line[6:]) if line.startswith("data: {") else {}
                    if "error" in frame:
                        raise ValueError(frame["error"])
                    if frame.get("type") == "reading":
                        readings += 1
                        if readings == 1:
                            client.first.append(time.monotonic() - began)
        except (httpx.HTTPError, ValueError) as error:
            client.errors.append(f"{type(error).__name__}: {error}")
            continue
        client.whole.append(time.monotonic() - began)
        client.readings += readings
        request += 1
    return client


async def give_up(http: httpx.AsyncClient, number: int, args: argparse.Namespace) -> None:
    """Ask for everything and hang up at the first frame."""
    wanted = body(number, 0, args) | {"positions": "all", "samples": 8}
    async with http.stream("POST", "api/v1/read", json=wanted) as response:
        async for _ in response.aiter_lines():
            return


def body(number: int, request: int, args: argparse.Namespace) -> dict[str, object]:
    text = story_document("test", 0, number * 1000 + request).text
    wanted = {"positions": f"-{args.tokens}:", "samples": args.samples, "claims": not args.no_claims}
    return {"text": text, "stream": True} | wanted


def summary(alone: list[Client], crowd: list[Client], took: float) -> dict[str, object]:
    whole, first = ([value for client in crowd for value in getattr(client, name)] for name in ("whole", "first"))
    errors = [error for client in crowd for error in client.errors]
    served = [client.readings for client in crowd]
    return {
        "errors": len(errors),
        "first_error": errors[0] if errors else None,
        "refused": sum(client.refused for client in crowd),
        "requests": len(whole),
        "readings_per_s": sum(served) / took,
        "p50_s": quantile(whole, 0.5),
        "p95_s": quantile(whole, 0.95),
        "first_p50_s": quantile(first, 0.5),
        "first_p95_s": quantile(first, 0.95),
        "fairness": min(served) / max(served) if max(served) else None,
        "readings_of_a_client": [min(served), max(served)],
        "alone_p50_s": quantile(alone[0].whole, 0.5),
        "alone_readings_per_s": alone[0].readings / sum(alone[0].whole) if alone[0].whole else None,
    }


def quantile(values: list[float], q: float) -> float | None:
    return float(np.quantile(values, q)) if values else None


def memory(process: psutil.Process) -> float:
    """Resident memory of the server, MB."""
    return process.memory_info().rss / 1e6


def show(result: dict[str, object]) -> None:
    rows = {
        "clients": "clients",
        "errors": "errors",
        "refused with 429": "refused",
        "readings per second": "readings_per_s",
        "readings per second, one client alone": "alone_readings_per_s",
        "whole answer, p50 (s)": "p50_s",
        "whole answer, p95 (s)": "p95_s",
        "whole answer, one client alone, p50 (s)": "alone_p50_s",
        "first reading, p50 (s)": "first_p50_s",
        "first reading, p95 (s)": "first_p95_s",
        "fairness: fewest / most readings of a client": "fairness",
        "server memory before (MB)": "rss_before_mb",
        "server memory after (MB)": "rss_after_mb",
    }
    print(f"| {result['clients']} clients, {result['tokens']} tokens per request | |\n|---|---|")
    for name, key in rows.items():
        value = result[key]
        print(f"| {name} | {f'{value:.2f}' if isinstance(value, float) else value} |")


if __name__ == "__main__":
    main()
