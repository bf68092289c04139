"""The bundled samples, which the repository has and an installed package lacks."""

from pathlib import Path

from hamur.errors import DataFileNotFoundError


def path_or_sample(path: str | Path | None, sample: Path) -> Path:
    """The path of a data set, or without one that of its bundled sample.

    Raises:  DataFileNotFoundError: no path, and no sample either.
    """
    if path is not None:
        return Path(path).expanduser()
    if not sample.exists():
        raise DataFileNotFoundError(
            f"no data set is named, and {sample.name} comes with the repository only",
            remedy="name one; `hamur synthetic` generates files in the formats of all data sets",
        )
    return sample
