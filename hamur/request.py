"""The JSON of a request -> raw rows -> the JSON of its answer, without HTTP."""

import dataclasses
import math
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from hamur.errors import DataError

ABSENT = object()
OPTIONAL = ("timestamp", "category")  # columns of the rows of a cross-domain model


class Refused(Exception):
    """A request without scores: a status of HTTP, one line, and the row (from 1) and the field that
    are to blame."""

    def __init__(self, status: int, reason: str, row: int | None = None, field: str | None = None):
        self.status, where = status, {"row": row, "field": field}
        where = {name: value for name, value in where.items() if value is not None}
        place = "".join(f"{name} {value!r}: " for name, value in where.items())
        self.answer = {"detail": place + " ".join(reason.split()), **where}


class Asked(BaseModel):
    """The body of POST /predict."""

    model_config = ConfigDict(extra="allow", strict=True)  # all extra keys would be one error each
    rows: Annotated[list[dict[str, Any]], FailFast(), Field(min_length=1)]
    preference: list[Any] | None = None
    unknown_domain: str | None = None
    histories: Annotated[list[dict[str, Any]], FailFast()] = []  # of CoNet, see `PairPredictor`

    @classmethod
    def parse(cls, body: bytes) -> "Asked":
        """Raises:  Refused."""
        try:
            asked = cls.model_validate_json(body)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)[0]
            status = 400 if found["type"] == "json_invalid" else 422
            field, row = (*found["loc"], None, None)[:2]
            about = dict(field=field) if row is None else dict(row=row + 1)
            raise Refused(status, found["msg"], **about) from None
        for name in asked.model_extra:
            known = ", ".join(cls.model_fields)
            raise Refused(422, f"no such key; known are {known}", field=name[:80])
        return asked


class Scorer:
    """A `Predictor` that takes bodies."""

    def __init__(self, model, max_rows: int):
        self.model, self.max_rows = model, max_rows
        self.about = {"name": model.name, "labels": model.schema.labels}
        self.optional = OPTIONAL if "cross_domain" in model.about else ()

    def answer(self, body: bytes) -> dict:
        """Raises:  Refused."""
        asked = Asked.parse(body)
        if len(asked.rows) > self.max_rows:
            reason = f"{len(asked.rows)} rows; at most {self.max_rows} per request"
            raise Refused(413, reason)
        options = dict(preference=_weights(asked.preference), unknown_domain=asked.unknown_domain)
        if asked.histories:
            if not self.optional:
                raise Refused(422, "are for cross-domain models", field="histories")
            options["histories"] = self.cells(asked.histories)
        rows = self.cells(asked.rows)
        try:
            scores = self.model.predict(rows, **options)
        except DataError as error:  # its remedies are those of files
            names = ("problem", "value", "expected")
            told = {name: error.parts[name] for name in names if name in error.parts}
            text = DataError(**told, remedy="").message.removesuffix(". Remedy: ")
            raise Refused(422, text, error.line, error.column) from None
        except ValueError as error:
            if asked.preference is None and asked.unknown_domain is None:
                raise
            raise Refused(422, str(error)) from None
        report = dataclasses.asdict(self.model.report)
        return {"probabilities": scores.tolist(), **report, "model": self.about}

    def cells(self, rows: list[dict]) -> list[dict]:
        """The rows without what the model does not read, lists as text."""
        encoders, cells = self.model.encoders, []
        separators = {spec.column: spec.separator for spec in encoders.columns.multi}
        for number, row in enumerate(rows, 1):
            cells.append({name: row.get(name, ABSENT) for name in encoders.needed})
            cells[-1] |= {name: row[name] for name in self.optional if name in row}
            for name, cell in cells[-1].items():
                problem = None
                if cell is ABSENT:
                    problem = "missing; null is a cell without a value"
                elif isinstance(cell, float) and not math.isfinite(cell):
                    problem = f"{cell} is no number of JSON"
                elif isinstance(cell, (list, dict)):
                    cells[-1][name], problem = _joined(cell, separators.get(name))
                if problem:
                    raise Refused(422, problem, number, name)
        return cells

    def described(self) -> dict:
        """The answer to GET /schema; its example has values that the model knows."""
        schema, encoders = self.model.schema, self.model.encoders
        domain = encoders.columns.domain
        return {
            "columns": {name: encoders.columns.kinds[name] for name in encoders.needed},
            "fields": [{"name": spec.name, "kind": spec.kind} for spec in schema.fields],
            "labels": schema.labels,
            "domain": domain and domain.column,
            "domains": schema.domain_names,
            "example": encoders.example(),
        }


def _joined(cell: list | dict, separator: str | None) -> tuple[str | None, str | None]:
    """The text of a list, or what is wrong with it."""
    if separator is None or isinstance(cell, dict):
        return None, "takes text or a number" + (", or a list of them" if separator else "")
    texts = [str(one) for one in cell if type(one) in (str, int)]
    if len(texts) < len(cell) or any(separator in text for text in texts):
        return None, f"a list may hold text without {separator!r} and whole numbers"
    return separator.join(texts), None


def _weights(preference: list | None) -> np.ndarray | None:
    """(T,), or (B, T) per row."""
    if preference is None:
        return None
    try:
        weights = np.array(preference)
    except ValueError:  # rows of different lengths
        weights = np.array(None)
    if weights.dtype.kind not in "if" or weights.ndim > 2:
        raise Refused(422, "takes numbers, one list or one per row", field="preference")
    return weights.astype(np.float64)
