"""`hamur.load(folder)`: the predictor of a run or of an exported model."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from hamur import model_folder, training
from hamur.data.schema import Schema
from hamur.data.table import Table
from hamur.errors import DataFileNotFoundError, DataFormatError, no_folder
from hamur.pair_predictor import PairPredictor
from hamur.predictor import Predictor
from hamur.same_run import read_config

WEIGHTS, RECORDED = "model.safetensors", "best_predictor.safetensors"
BACKENDS = ("mindir", "onnx")
BLOCK = 32  # rows that have preferences of their own, in a call


def load(folder: str | Path, backend: str | None = None) -> Predictor:
    """The predictor of a run, or of an exported model, wherever its folder is now.

    backend: of an export, "mindir" or "onnx", which needs no MindSpore; by default the first that
        is there and can run.
    Raises:  DataFileNotFoundError; DataFormatError: damaged or missing files, or the run of an
        earlier version; ValueError: a model whose scores depend on the other rows; a backend that
        the folder has no graph for, or that is not installed.
    """
    folder = _existing(folder)
    graphs = {
        path.suffix[1:]: path
        for path in folder.glob(f"{model_folder.GRAPH}*")
        if path.suffix[1:] in BACKENDS
    }
    if not graphs and backend is None:
        model, schema, about = load_run(folder)
        predictor = predictor_of(schema, partial(score_rows, model), about)
        predictor.score_many = partial(score_rows, model, many=True)
        return predictor
    about, schema = model_folder.read(folder)
    chosen = [name for name in BACKENDS if name in graphs and backend in (None, name)]
    if not chosen:
        known = ", ".join(graphs) or "none"
        raise ValueError(
            f"{folder}: `backend={backend}`, but the graphs here are {known}; export "
            "the model again, or leave out `backend`."
        )
    if chosen[0] == "mindir" and not _has_mindspore():
        chosen = chosen[1:]
    if not chosen:
        raise ValueError(
            f"{folder}: a MindIR needs MindSpore, which is not installed; export the model as ONNX."
        )
    loader = getattr(training, f"load_{chosen[0]}")
    return predictor_of(schema, loader(graphs[chosen[0]]).of_table, about)


def load_run(folder: str | Path) -> tuple:
    """(model, schema with encoders, content of schema.json) of a run; raises as `load`."""
    folder = _existing(folder)
    _check_is_run(folder)
    about, schema = model_folder.read(folder)
    config = read_config(folder / "config.json", model_folder.REMEDY)
    return _model(folder, config, schema), schema, about


def _existing(folder: str | Path) -> Path:
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        remedy = "name the folder of a run or of an export"
        raise DataFileNotFoundError(no_folder(folder), file=folder, remedy=remedy)
    return folder


def _has_mindspore() -> bool:
    try:
        import mindspore  # noqa: F401
    except ImportError:
        return False
    return True


def predictor_of(schema: Schema, score: Callable, about: dict) -> Predictor:
    """about: the content of schema.json; score: see `Predictor`."""
    kind = PairPredictor if "cross_domain" in about else Predictor
    return kind(schema, score, about.get("model", ""), about)


def _check_is_run(folder: Path) -> None:
    """Raises DataFormatError for no run, and for one that does not say how rows are encoded."""
    path, problem = folder / model_folder.SCHEMA, "no run is here"
    if path.exists():
        return
    remedy = "name the folder of a run or of an export"
    if (folder / "config.json").exists():
        config = read_config(folder / "config.json", model_folder.REMEDY)
        script, options = config.get("script", "<script>"), config["options"]
        flags = {n: options[n] for n in ("model_name", "preset", "seed") if n in options}
        flags |= {"save_dir": folder, "overwrite": 1}
        flags = " ".join(f"--{name} {value}" for name, value in flags.items())
        problem = "a run of an earlier version, or of generated tables: it does not tell how raw "
        problem += "rows become its inputs"
        remedy = f"train it again with its options: examples/{script}.py {flags}"
    raise DataFormatError(problem, file=path, remedy=remedy)


def _model(folder: Path, config: dict, schema: Schema):
    """The trained model, built as config.json says and filled with the weights."""
    from hamur import models
    from hamur.layers.adapter_config import AdapterConfig
    from hamur.training.checkpoint import load_weights, restore

    name, reads_all = config["options"].get("model_name"), True
    try:
        sizes = {key: _tuple(value) for key, value in config["model_config"].items()}
        if name in models.CROSS_DOMAIN:
            from hamur.data.cross_domain.collate import FieldSizes
            from hamur.models.conet import CoNetConfig

            # No score reads what conet_biao learns about its source behaviours.
            name, reads_all = name.removesuffix("_biao"), name != "conet_biao"
            absent = (1,) * (len(FieldSizes._fields) - schema.num_sparse)
            fields = FieldSizes(*schema.vocab_sizes, *absent)
            model = models.CROSS_DOMAIN[name](fields, CoNetConfig(**sizes))
        elif name in models.RANKING and "side" in sizes:  # some names are in both families
            adapter = config["options"].get("adapter", False)
            sizes = AdapterConfig(**sizes)
            model = models.RANKING[name](schema, config=sizes, adapter=adapter)
        else:
            model = models.MULTI_TASK[name](schema, config=models.MultiTaskConfig(**sizes))
    except (LookupError, TypeError, AttributeError) as error:
        problem = f"no model of this version: {' '.join(str(error).split())}"
        about = dict(file=folder / "config.json", remedy=model_folder.REMEDY)
        raise DataFormatError(problem, **about) from None
    if getattr(model, "batch_statistics", False):
        raise ValueError(
            f"{folder}: norm_inference='batch' scores a row with the statistics of its batch, so "
            "that no row has a score of its own. Train with preset best or paper."
        )
    path = folder / WEIGHTS
    if not path.is_file():  # of the tree of the public code
        path = folder.parent.parent / "checkpoint" / folder.name / RECORDED
    weights = load_weights(path if path.is_file() else folder / WEIGHTS)
    if not reads_all:
        own = {parameter.name for parameter in model.get_parameters()}
        weights = {name: array for name, array in weights.items() if name in own}
    restore(model, weights, path)
    return model


def _tuple(value):
    return tuple(value) if isinstance(value, list) else value


def score_rows(model, table: Table, preference=None, many: bool = False) -> np.ndarray:
    """(B,) or (B, T) probabilities; preference: see `Predictor`; many: see `training.predict`."""
    from hamur.training import predict

    if np.ndim(preference) < 2:
        return predict(model, table, preference=preference, many=many)
    scores = np.empty((len(table), len(model.schema.labels)), np.float32)
    distinct, which = np.unique(np.asarray(preference, float), axis=0, return_inverse=True)
    order, which = np.argsort(which, kind="stable"), np.sort(which)
    begin = 0
    while begin < len(order):
        # All rows of one preference, or BLOCK rows with as many preferences.
        end = int(np.searchsorted(which, which[begin], "right"))
        if end - begin >= BLOCK:
            rows = order[begin:end]
            scores[rows] = predict(model, table.take(rows), preference=distinct[which[begin]])
        else:
            end = min(begin + BLOCK, len(order))
            rows = order[begin:end]
            points = distinct[np.resize(which[begin:end], BLOCK)]
            of_all = predict(model, table.take(rows), preference=points)
            scores[rows] = of_all[np.arange(len(rows)), np.arange(len(rows))]
        begin = end
    return scores
