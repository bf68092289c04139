"""A trained model as MindIR: scores of any rows, without this package."""

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import mindspore as ms
import numpy as np
from google.protobuf.message import DecodeError
from mindspore import Tensor, nn
from mindspore.train.mind_ir_pb2 import ModelProto

from hamur.files import replacing
from hamur.models.prediction import graph_mode

SUFFIX = ".mindir"
TYPES = {1: np.dtype(np.float32), 6: np.dtype(np.int32)}  # of inputs, by their number in a MindIR


def export(model, path) -> Path:
    """Write a model to ``path`` (``.mindir``, added if missing); returns it as a Path.

    The number of rows stays open.  `load_mindir` calls it from any number of threads; without this
    package, ``nn.GraphCell(ms.load(path))`` from one.  Ids and scaling are those of the model's
    schema.

    ====================  =========================================  ==========================
    model                 inputs                                     outputs
    ====================  =========================================  ==========================
    ranking               sparse (B, F), dense (B, C), domain (B,),  probabilities (B,)
                          with lists multi_ids, multi_weight (B, S)
    multi-task            sparse, dense                              probabilities (B, T)
    pomoe                 sparse, dense, features (1, V)             logits (B, 1, T)
    pomoe, .features       a preference (1, T)                        features (1, V)
    conet, conet_biao     user, target item, target category,        probabilities (B,) that the
                          source item, source category (B,) each     user likes the target item
    conet_s               the first three                            the same
    ====================  =========================================  ==========================

    pomoe is two files: "scorer.mindir" has "scorer.features.mindir" beside it.  A CoNet score that
    averages several source behaviours is the mean of one call each.

    No row is scored as another one: an id outside its vocabulary reads as 0, 'unknown', in every
    field; a domain outside 0..D-1 (there is no unknown one) and a number that is not finite give
    NaN for their row alone.
    The file appears whole or not at all.  A graph above 1 GB is "scores_graph.mindir", which is
    returned, and a folder "scores_variables" beside it, which belong together.
    Raises:  ValueError: a model whose scores cannot be served (``norm_inference="batch"``, pomoe
        with the gate of the public code), MindSpore cannot write it, or no file is named.  OSError:
        the folder cannot be written.
    """
    path = Path(path)
    if not path.name:
        raise ValueError(f"export: {str(path)!r} names no file; give one, such as scores{SUFFIX}.")
    path = path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)
    graphs = model.serving_graphs()
    model.set_train(False)
    files = [_write(graph, path.with_name(path.stem + graph.suffix + SUFFIX)) for graph in graphs]
    return files[0]


export_mindir = export


def _write(graph, path) -> Path:
    """The graph at path; MindSpore takes neither blanks nor accents in it, so writes elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        name = re.sub(r"[^0-9a-zA-Z@_.:-]", "_", path.stem)
        try:
            with graph_mode():
                file = str(Path(folder, name + SUFFIX))
                ms.export(graph.cell, *graph.inputs, file_name=file, file_format="MINDIR")
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"{path}: MindSpore cannot export {type(graph.cell).__name__}: {reason}"
            ) from error
        written = sorted(p for p in Path(folder).rglob("*") if p.is_file())[::-1]  # graph last
        for file in written:
            target = path if len(written) == 1 else path.parent / file.relative_to(folder)
            with replacing(target) as temporary:
                shutil.copyfile(file, temporary)
    return target


def load_mindir(path) -> Callable:
    """What `export` wrote, as a function of arrays: scores = load_mindir(path)(sparse, dense, ...).

    Threads may share it: one call at a time runs, and none of `predict` or a training beside it
    (a graph called from several threads hangs or ends the process).  No rows have no scores.
    Raises:  FileNotFoundError; ValueError: no MindIR.  A call raises ValueError: inputs of another
        number, shape or type than `export` names, or of different numbers of rows.
    """
    content = Path(path).read_bytes()
    try:
        graph = ModelProto.FromString(content).graph
        with graph_mode():
            cell = nn.GraphCell(ms.load(str(path)))
    except (DecodeError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{path}: no complete MindIR; write it again with hamur.training.export."
        ) from error
    known = [(tuple(i.tensor[0].dims), TYPES[i.tensor[0].data_type]) for i in graph.input]

    def inputs_of(rows: int) -> list[tuple]:
        return [(tuple(rows if d < 0 else d for d in dims), kind) for dims, kind in known]

    def scores(*inputs) -> np.ndarray:
        arrays = [np.ascontiguousarray(values) for values in inputs]
        rows = next((len(array) for array in arrays if array.ndim), 0)
        expected = inputs_of(rows)
        found = [(array.shape, array.dtype) for array in arrays]
        if found != expected:
            raise ValueError(
                f"{path} takes {_listed(expected)} for {rows} rows, got {_listed(found)}."
            )
        if not rows:  # a graph may end the process then; a row of zeros tells the scores' shape
            arrays = [np.zeros(*one) for one in inputs_of(1)]
        with graph_mode():
            return cell(*map(Tensor, arrays)).asnumpy()[:rows]

    return scores


def _listed(inputs):
    return ", ".join(f"{dtype} {shape}" for shape, dtype in inputs) or "nothing"
