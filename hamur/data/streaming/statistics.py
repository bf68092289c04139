"""What a prepared data set holds: rows, positives, users, items, unknown ids; JSON and table."""

from collections.abc import Sequence

import numpy as np

from hamur.data.arrays import blocks
from hamur.data.encode import UNKNOWN
from hamur.data.schema import Schema
from hamur.data.splits import SPLITS, fingerprint
from hamur.data.table import Splits, Table
from hamur.data.text.bad_rows import BadRows, counts_by_file


def statistics(
    splits: Splits,
    schema: Schema,
    bad_rows: Sequence[BadRows] = (),
    user: str | None = None,
    item: str | None = None,
) -> dict:
    """The content of stats.json; reads every split once, block by block.

    user, item: the fields whose distinct known ids are counted; of others only the size is told.
    """
    named = {"users": user, "items": item}
    counted = {kind: schema.sparse_names.index(name) for kind, name in named.items() if name}
    return {
        "dataset": schema.name,
        "labels": list(schema.labels),
        "domains": list(schema.domain_names),
        "vocabularies": {spec.name: spec.vocab_size for spec in schema.fields if spec.vocab_size},
        "files": counts_by_file(bad_rows),
        "splits": {part: _split(table, schema, counted) for part, table in zip(SPLITS, splits)},
    }


def _split(table: Table, schema: Schema, counted: dict[str, int]) -> dict:
    num_domains = schema.num_domains
    rows = np.zeros(num_domains, np.int64)
    positives = np.zeros((len(schema.labels), num_domains), np.int64)
    unknown = np.zeros(schema.num_sparse, np.int64)
    unknown_lists = np.zeros(len(table.multi_valued), np.int64)
    seen = {
        kind: np.zeros((num_domains, schema.vocab_sizes[f]), bool) for kind, f in counted.items()
    }
    for part in blocks(len(table)):
        sparse, domain, labels = table.sparse[part], table.domain[part], table.labels[part]
        rows += np.bincount(domain, minlength=num_domains)
        for t in range(len(positives)):
            positives[t] += np.bincount(domain, labels[:, t], num_domains).astype(np.int64)
        unknown += (sparse == UNKNOWN).sum(axis=0)
        for m, lists in enumerate(table.multi_valued):
            unknown_lists[m] += lists.unknown(part).sum()
        for kind, f in counted.items():
            seen[kind][domain, sparse[:, f]] = True
        table.release()

    def figures(d: int | slice) -> dict:
        content = {"rows": int(rows[d].sum())}
        for name, count in zip(schema.labels, positives):
            content[f"{name}_positives"] = int(count[d].sum())
        for kind, ids in seen.items():
            known = ids[d].any(axis=0) if isinstance(d, slice) else ids[d]
            content[kind] = int(known[UNKNOWN + 1 :].sum())
        return content

    names = [name for name in schema.sparse_names if name != schema.domain_field]
    places = [schema.sparse_names.index(name) for name in names]
    of_lists = {spec.name: int(rows) for spec, rows in zip(schema.multi, unknown_lists)}
    return figures(slice(None)) | {
        "domains": {str(d): figures(d) for d in range(num_domains)},
        "unknown": {name: int(unknown[f]) for name, f in zip(names, places)} | of_lists,
        "row_ids_sha256": None if table.row_id is None else fingerprint(table.row_id),
    }


def _total(stats: dict) -> dict:
    """Rows and positives of all splits together."""
    names = ["rows", *(f"{name}_positives" for name in stats["labels"])]
    splits = list(stats["splits"].values())
    domains = {
        d: {name: sum(split["domains"][d][name] for split in splits) for name in names}
        for d in splits[0]["domains"]
    }
    return {name: sum(split[name] for split in splits) for name in names} | {"domains": domains}


def as_table(stats: dict) -> str:
    """Rows, positives, rates, users and items of every split and domain, as text."""
    kinds = [kind for kind in ("users", "items") if kind in stats["splits"]["train"]]
    header = ["split", "domain", "rows"]
    for name in stats["labels"]:
        header += [name, "rate"]
    lines = [header + kinds]
    for part, split in (stats["splits"] | {"total": _total(stats)}).items():
        own = [(name, split["domains"][str(d)]) for d, name in enumerate(stats["domains"])]
        for name, figures in [*own, ("all", split)]:
            line = [part, name, f"{figures['rows']:,}"]
            for label in stats["labels"]:
                positives = figures[f"{label}_positives"]
                rate = f"{positives / figures['rows']:.5f}" if figures["rows"] else "n/a"
                line += [f"{positives:,}", rate]
            lines.append(line + [f"{figures[kind]:,}" if kind in figures else "" for kind in kinds])
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = [
        "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths)))
        for line in lines
    ]
    left_out = [
        f"{name}: {file['rows_read']:,} rows read, {file['rows_kept']:,} kept"
        + "".join(f"; {reason} {count:,}" for reason, count in file["dropped"].items())
        for name, file in stats["files"].items()
    ]
    return "\n".join(text + [""] + left_out)
