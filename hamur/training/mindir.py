"""A trained model as a graph, MindIR or ONNX: scores of any rows, without this package."""

import re
import shutil
import tempfile
from pathlib import Path

import mindspore as ms
from google.protobuf.message import DecodeError
from mindspore import Tensor, nn
from mindspore.train.mind_ir_pb2 import ModelProto

from hamur.files import replacing
from hamur.models.prediction import SIZES, graph_mode
from hamur.training import onnx
from hamur.training.served_graph import ServedGraph

SUFFIX, ONNX = ".mindir", ".onnx"


def export(model, path, as_onnx=None) -> Path:
    """Write a model to ``path``; returns it as a Path.

    as_onnx: a further file, the ONNX beside a MindIR at next to no cost.
    ``.onnx`` gives an ONNX, of opset 18, every other name a MindIR (``.mindir``, added if missing).
    The number of rows stays open.  `load_mindir` and `load_onnx` call it from any number of
    threads; without this package, ``nn.GraphCell(ms.load(path))`` from one, or onnxruntime.  Ids
    and scaling are those of the model's schema.

    ====================  =========================================  ==========================
    model                 inputs                                     output "probability"
    ====================  =========================================  ==========================
    ranking               sparse (B, F), dense (B, C), domain (B,),  (B,)
                          with lists multi_ids, multi_weight (B, S)
    multi-task            sparse, dense                              (B, T)
    pomoe                 sparse, dense, preference (B, T), or       (B, T)
                          (1, T) for all rows; in ONNX also (T,)
    conet, conet_biao     user, target_item, target_category,        (B,) that the user likes the
                          source_item, source_category (B,)          target item
    conet_s               the first three                            the same
    ====================  =========================================  ==========================

    A CoNet score that averages several source behaviours is the mean of one call each.

    No row is scored as another one: an id outside its vocabulary reads as 0, 'unknown', in every
    field; a domain outside 0..D-1 (there is no unknown one) and a number that is not finite give
    NaN for their row alone.
    The file appears whole or not at all.  Of a MindIR above 1 GB it is "scores_graph.mindir", which
    is returned, with a folder "scores_variables" beside it, of an ONNX "scores.onnx" with
    "scores.onnx.weights"; they belong together.
    Raises:  ValueError: a model whose scores cannot be served (``norm_inference="batch"``, pomoe
        with the gate of the public code), MindSpore cannot write it, the package onnx is missing,
        or no file is named.  OSError: the folder cannot be written.
    """
    path = Path(path)
    if not path.name:
        raise ValueError(f"export: {str(path)!r} names no file; give one, such as scores{SUFFIX}.")
    if path.suffix not in (SUFFIX, ONNX):
        path = path.with_name(path.name + SUFFIX)
    graph = model.serving_graph()
    model.set_train(False)
    if path.suffix == ONNX:
        as_onnx = path
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        files = _write(graph, path, folder)
        if path.suffix != ONNX:
            path = _place(files, folder, path.parent)
        if as_onnx is not None:
            mindir = ModelProto.FromString(files[-1].read_bytes())
            weights = {each.name: each.asnumpy() for each in graph.cell.get_parameters()}
            folder, as_onnx = folder / "onnx", Path(as_onnx)
            files = onnx.write(mindir, weights, folder / as_onnx.name)
            _place(files, folder, as_onnx.parent)
    return path


def _place(files, folder, target) -> Path:
    """Copy files of a folder to another one; where the last of them is."""
    for file in files:
        path = target / file.relative_to(folder)
        with replacing(path) as temporary:
            shutil.copyfile(file, temporary)
    return path


export_mindir = export


def _write(graph, path, folder) -> list[Path]:
    """Files of a MindIR in a folder, the graph last.  MindSpore takes neither blanks nor accents in
    their name, and gives the inputs names of its own."""
    name = re.sub(r"[^0-9a-zA-Z@_.:-]", "_", path.stem)
    try:
        with graph_mode():
            file = str(folder / (name + SUFFIX))
            ms.export(graph.cell, *graph.inputs, file_name=file, file_format="MINDIR")
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{path}: MindSpore cannot export {type(graph.cell).__name__}: {reason}"
        ) from error
    *weights, file = sorted(p for p in folder.rglob("*") if p.is_file())[::-1]
    mindir = ModelProto.FromString(file.read_bytes())
    names = dict(zip((each.name for each in mindir.graph.input), graph.names, strict=True))
    for each in mindir.graph.input:
        each.name = names[each.name]
    for node in mindir.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    file = file if weights else file.with_name(path.name)
    file.write_bytes(mindir.SerializeToString())
    return [*weights, file]


def load_mindir(path) -> ServedGraph:
    """What `export` wrote, as a function of arrays: scores = load_mindir(path)(sparse, dense, ...).

    Threads may share it: one call at a time runs, and none of `predict` or a training beside it
    (a graph called from several threads hangs or ends the process).
    Raises:  FileNotFoundError; ValueError: no MindIR.  A call raises ValueError, see `ServedGraph`.
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

    def run(arrays):
        with graph_mode():
            return cell(*map(Tensor, arrays)).asnumpy()

    inputs = {each.name: each.tensor[0] for each in graph.input}
    inputs = {name: (tuple(t.dims), onnx.TYPES[t.data_type]) for name, t in inputs.items()}
    return ServedGraph(path, inputs, run, SIZES)  # a new number of rows costs a quarter of a second
