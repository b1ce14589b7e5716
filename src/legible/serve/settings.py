"""What one server allows: who may ask, how much and for how long."""

from dataclasses import dataclass

LOOPBACK = frozenset(("127.0.0.1", "localhost", "[::1]"))
"""Host names that only this machine can mean."""


@dataclass(frozen=True)
class Settings:
    """Limits of one server. The sizes of single fields stand in `legible.serve.wire`.

    token: what every API request must bring.
    hosts: names that the Host header may say; a foreign one is a page that rebinds its own name to our address.
    any_address: also allow every literal address as Host; needed where the server is bound to all of them.
    batch: rows (explanations) written together; quantum: most of them for one request.
    queue: requests in work or waiting; one more is answered 429.
    deadline: seconds a request may take, its waiting included.
    body_bytes, body_seconds: of a request's body.
    jobs, running_jobs, job_bytes: jobs remembered, jobs at work at a time, bytes of results of all of them.
    """

    token: str
    hosts: frozenset[str] = LOOPBACK
    any_address: bool = False
    batch: int = 128
    quantum: int = 64
    queue: int = 64
    deadline: float = 300.0
    body_bytes: int = 4_000_000
    body_seconds: float = 20.0
    jobs: int = 32
    running_jobs: int = 2
    job_bytes: int = 32_000_000
