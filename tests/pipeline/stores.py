"""Archives written by hand, so that a test knows every number in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from legible.archive import keeping
from legible.archive.keeping import Placed, Sampling, Series
from legible.archive.schema import open_for_writing, transaction
from legible.documents import Document
from legible.reading.reading import ReadClaim, Reading


def reading(pos: int, token: str, claims: Sequence[ReadClaim], fve: float | None = 0.5, **others: object) -> Reading:
    """A reading whose explanation is its claims, one a sentence."""
    text = " ".join(f"{claim.text}." for claim in claims)
    values = {"explanation": text, "flags": (), **others}
    mse = None if fve is None else 1 - fve
    return Reading(pos, token, pos, 1, 1.0, direction_mse=mse, fve_token=fve, claims=tuple(claims), **values)


def claim(
    relation: str | None, value: str | None, p_true: float | None = None, text: str | None = None, **more: object
) -> ReadClaim:
    """A claim whose words are its relation and value."""
    return ReadClaim(text if text is not None else f"{relation} {value}", relation, value, p_true=p_true, **more)  # type: ignore[arg-type]


def write_store(path: Path, name: str, documents: Mapping[tuple[str, str], Sequence[Reading]]) -> Path:
    """A store in which checkpoint `name` read documents {(doc_id, text): readings}; adds to a store that is there."""
    connection = open_for_writing(path)
    with transaction(connection):
        cursor = connection.execute(
            "INSERT INTO checkpoints (name, fingerprint, target, target_sha256, layer, variance) VALUES (?,?,?,?,?,?)",
            (name, f"weights of {name}", "target", "0" * 64, 1, 1.0),
        )
        checkpoint = cursor.lastrowid
        run = connection.execute("INSERT INTO runs VALUES (NULL, ?, 1, 0.0, 0, 10, '')", (checkpoint,)).lastrowid
        series = Series(run or 0, checkpoint or 0, Sampling(1, 0.0, 0, 10))
        for (doc_id, text), readings in documents.items():
            placed = []
            for one in readings:
                key = f"{doc_id} {one.pos}"
                keeping.keep_answer(connection, series, key, key, [])
                answer = connection.execute("SELECT max(id) FROM answers").fetchone()[0]
                start = text.find(one.token)
                placed.append(Placed(one, (start, start + len(one.token)), answer))
            keeping.keep_visit(connection, series, Document(doc_id, text), "all", placed, False, len(placed))
    connection.close()
    return path
