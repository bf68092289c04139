"""What tells one set of source files and options from another."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

WHOLE_DIGEST_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 20


def source_digest(paths: Iterable[Path]) -> dict[str, str]:
    """File name -> size and md5; above 1 GiB the md5 of the first and the last MiB."""
    digests = {}
    for path in paths:
        size, digest = path.stat().st_size, hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            if size < WHOLE_DIGEST_BYTES:
                update(digest, file)
            else:
                digest.update(file.read(_CHUNK_BYTES))
                file.seek(size - _CHUNK_BYTES)
                digest.update(file.read(_CHUNK_BYTES))
        digests[path.name] = f"{size}-{digest.hexdigest()}"
    return digests


def update(digest, file) -> None:
    """Adds what an open file still holds."""
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)


def key_of(source: Path, options: dict) -> str:
    """Names the folder of these options on this source."""
    text = json.dumps([str(source.resolve()), options], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
