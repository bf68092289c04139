"""A serving graph as ONNX, which other runtimes read: translated from MindIR, operator by operator.

MindSpore's own exporter fails at a number of rows that stays open, and knows no ``Unstack``.  The
MindIR of a serving graph is one list of operators without branches, so that a table of operators is
enough.  Importing this module imports neither MindSpore, onnx nor onnxruntime.
"""

from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np

from hamur.training.served_graph import ServedGraph

OPSET, IR_VERSION = 18, 8  # onnxruntime reads them since 1.14
SEPARATE_BYTES = 2**30  # of weights; above, they have a file of their own: a graph holds 2 GiB
TYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_}  # of a MindIR's tensors, and ONNX's
BOOL, INT32 = 30, 34  # types as numbers of MindSpore
CASTS = {BOOL: 9, INT32: 6, 35: 7, 43: 1}
ENDLESS = 2**63 - 1


class Graph:
    """The ONNX graph that is being written.

    A value is the name of a tensor (text), an array, a number, a list of sizes or axes, which may
    be names, or, of operators with several results, a tuple of values.
    """

    def __init__(self):
        self.nodes, self.constants = [], {}

    def add(self, operator, *values, outputs=1, **attributes):
        """A new node; returns the name of its output, or a tuple of names if outputs > 1.  Numbers
        take the type of the first tensor."""
        tensors = [value for value in values if isinstance(value, (str, np.ndarray))]
        if tensors and operator != "CastLike":
            values = [
                self.add("CastLike", each, tensors[0]) if isinstance(each, (int, float)) else each
                for each in values
            ]
        inputs = list(map(self.named, values))  # which may add nodes
        name = f"{operator}_{len(self.nodes)}"
        names = tuple(f"{name}_{place}" for place in range(outputs))
        node = import_module("onnx.helper").make_node(operator, inputs, names, name, **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def named(self, value) -> str:
        """The name of a value; constants become tensors of the graph."""
        if isinstance(value, str):
            return value
        if isinstance(value, (list, tuple)):
            if any(isinstance(size, str) for size in value):
                return self.add("Concat", *(self.add("Reshape", s, [1]) for s in value), axis=0)
            value = np.array(value, np.int64)
        array = np.asarray(value, np.float32 if isinstance(value, float) else None)
        name = f"constant_{len(self.constants)}"
        key = (array.dtype.str, array.shape, array.tobytes())
        return self.constants.setdefault(key, (name, array))[0]


def same(name):
    """An operator of the same inputs."""
    return lambda graph, *values: graph.add(name, *values)


def matmul(graph, a, b, transpose_a=False, transpose_b=False, perm=(1, 0)):
    a = graph.add("Transpose", a, perm=perm) if transpose_a else a
    b = graph.add("Transpose", b, perm=perm) if transpose_b else b
    return graph.add("MatMul", a, b)


def filled_like(number, graph, x):
    return graph.add("Expand", graph.add("CastLike", number, x), graph.add("Shape", x))


def reduced(name, graph, x, axes, keep_dims=False, dtype=None):
    return graph.add(name, x, *([] if axes is None else [axes]), keepdims=int(keep_dims))


def reduce_all(graph, x, axes, keep_dims):
    misses = graph.add("Cast", graph.add("Not", x), to=CASTS[INT32])
    return graph.add("Equal", reduced("ReduceSum", graph, misses, axes, keep_dims), 0)


def largest(graph, x, axis, keep_dims):
    place = graph.add("ArgMax", x, axis=axis, keepdims=int(keep_dims))
    return place, reduced("ReduceMax", graph, x, [axis], keep_dims)


def layer_norm(graph, x, gamma, beta, axis, _, epsilon):
    return (graph.add("LayerNormalization", x, gamma, beta, axis=axis, epsilon=epsilon),)


def stack(graph, values, axis):
    return graph.add("Concat", *(graph.add("Unsqueeze", v, [axis]) for v in values), axis=axis)


def split(graph, x, axis, number):
    parts = graph.add("Split", x, outputs=number, axis=axis, num_outputs=number)
    return (parts,) if number == 1 else parts


def unstack(graph, x, axis, number):
    return tuple(graph.add("Squeeze", part, [axis]) for part in split(graph, x, axis, number))


def strided_slice(graph, x, begin, end, strides, begin_mask, end_mask, ellipsis, new_axis, single):
    """Bit n of a mask stands for axis n: from its start, to its end, one place that goes."""
    if ellipsis or new_axis:
        raise ValueError("StridedSlice with an ellipsis or a new axis has no translation to ONNX.")
    gone = [axis for axis in range(len(begin)) if single >> axis & 1]
    for axis, (start, stop, stride) in enumerate(zip(begin, end, strides)):
        if axis in gone:
            stop = ENDLESS if start == -1 else start + 1
        else:
            start = 0 if begin_mask >> axis & 1 else start
            stop = ENDLESS if end_mask >> axis & 1 else stop
        if (start, stop, stride) != (0, ENDLESS, 1):
            x = graph.add("Slice", x, [start], [stop], [axis], [stride])
    return graph.add("Squeeze", x, gone) if gone else x


def one_hot(graph, ids, depth, on, off, axis):
    places = np.arange(depth, dtype=np.int32)  # onnxruntime has no OneHot of int32
    return graph.add(
        "Where", graph.add("Equal", graph.add("Unsqueeze", ids, [axis]), places), on, off
    )


# Operator of MindIR: function of the graph and its inputs, then its ATTRIBUTES -> value.
NAMES = ("Exp", "Greater", "Less", "Log", "Neg", "Reshape", "Shape", "Sigmoid", "Sqrt", "Squeeze")
NAMES += ("Tanh",)
OTHER_NAMES = {"EqScalar": "Equal", "GreaterEqual": "GreaterOrEqual", "LogicalAnd": "And"}
OTHER_NAMES |= {
    "Maximum": "Max",
    "Minimum": "Min",
    "ReLU": "Relu",
    "Select": "Where",
    "ScalarMul": "Mul",
}
OTHER_NAMES |= {f"{name}s": name for name in ("Add", "Sub", "Mul", "Div")}  # by a number
OPERATORS = {name: same(name) for name in {*NAMES, *OTHER_NAMES.values()}}
OPERATORS |= {name: same(other) for name, other in OTHER_NAMES.items()}
OPERATORS |= {
    "ArgMaxWithValue": largest,
    "BatchMatMul": partial(matmul, perm=(0, 2, 1)),
    "BiasAdd": lambda graph, x, bias, data_format: graph.add("Add", x, bias),
    "BroadcastTo": lambda graph, x, sizes: graph.add(
        "Expand", x, [1 if s == -1 else s for s in sizes]
    ),
    "Cast": lambda graph, x, dtype: graph.add("Cast", x, to=CASTS[dtype]),
    "Concat": lambda graph, values, axis: graph.add("Concat", *values, axis=axis),
    "Depend": lambda graph, x, order: x,
    "ExpandDims": lambda graph, x, axis: graph.add("Unsqueeze", x, [axis]),
    "Gather": lambda graph, x, ids, axis, batch: graph.add("Gather", x, ids, axis=axis),
    "IsFinite": lambda graph, x: graph.add(
        "Not", graph.add("Or", graph.add("IsNaN", x), graph.add("IsInf", x))
    ),
    "LayerNorm": layer_norm,
    "Load": lambda graph, x, order: x,
    "Log1p": lambda graph, x: graph.add("Log", graph.add("Add", x, 1.0)),
    "MakeTuple": lambda graph, *values: values,
    "MatMul": matmul,
    "MatMulExt": matmul,
    "OneHot": one_hot,
    "Ones": lambda graph, sizes, dtype: graph.add(
        "Expand", graph.add("Cast", [1], to=CASTS[dtype]), sizes
    ),
    "OnesLike": partial(filled_like, 1),
    "ReduceAll": reduce_all,
    "ReduceMean": partial(reduced, "ReduceMean"),
    "Rsqrt": lambda graph, x: graph.add("Reciprocal", graph.add("Sqrt", x)),
    "Softmax": lambda graph, x, axes: graph.add("Softmax", x, axis=axes[0]),
    "Split": split,
    "Stack": stack,
    "StridedSlice": strided_slice,
    "SumExt": partial(reduced, "ReduceSum"),
    "Transpose": lambda graph, x, perm: graph.add("Transpose", x, perm=perm),
    "TupleGetItem": lambda graph, values, place: (
        values[place] if isinstance(values, tuple) else graph.add("Gather", values, place)
    ),
    "Unstack": unstack,
    "UpdateState": lambda graph, *order: None,
    "ZerosLike": partial(filled_like, 0),
}
ATTRIBUTES = {"Stack": ("axis",), "Unstack": ("axis", "num")}


def translate(mindir, parameters):
    """The onnx.ModelProto of a MindIR (its ModelProto); inputs keep their names, and a preference
    may have one dimension less.  parameters: {name: array}, the weights.

    Raises:  ValueError: an operator that `OPERATORS` lacks.
    """
    helper, numpy_helper = map(import_module, ("onnx.helper", "onnx.numpy_helper"))

    def described(name, tensor):
        sizes = ["rows" if size < 0 else size for size in tensor.dims]
        sizes = None if name == "preference" else sizes  # of one or two dimensions
        return helper.make_tensor_value_info(name, tensor.data_type, sizes)

    source, graph = mindir.graph, Graph()
    primitives = {f"REF::{each.name}": each for each in mindir.primitives}
    weights = {each.name: each.name.partition(":")[2] for each in source.parameter}
    values = {each.name: each.name for each in source.input} | weights
    for each in source.input:
        if each.name == "preference":
            values[each.name] = graph.add("Reshape", each.name, list(each.tensor[0].dims))
    for node in source.node:
        if node.op_type == "Constant":
            value = constant(node.attribute[0])
        else:
            primitive = primitives.get(node.op_type)
            kind = primitive.op_type if primitive else node.op_type
            if kind not in OPERATORS:
                raise ValueError(
                    f"the operator {kind} has no translation to ONNX; export the model as MindIR."
                )
            options = {each.name: constant(each) for each in primitive.attribute}
            options = [options[name] for name in ATTRIBUTES.get(kind, ())]
            value = OPERATORS[kind](graph, *(values[name] for name in node.input), *options)
        values[node.output[0]] = value
    graph.add("Identity", values[source.output[0].name])
    graph.nodes[-1].output[0] = "probability"
    inputs = [described(each.name, each.tensor[0]) for each in source.input]
    outputs = [described("probability", source.output[0].tensor[0])]
    read = {name for node in graph.nodes for name in node.input}
    arrays = {name: parameters[name] for name in weights.values() if name in read}
    arrays |= dict(graph.constants.values())
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return helper.make_model(
        helper.make_graph(graph.nodes, "hamur", inputs, outputs, tensors),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="hamur",
    )


def constant(attribute):
    """The value of a constant of MindIR; None of text and of the marks that order effects."""
    if attribute.type == attribute.TENSORS:
        tensor = attribute.tensors[0]
        return np.frombuffer(tensor.raw_data, TYPES[tensor.data_type]).reshape(tuple(tensor.dims))
    if attribute.type == attribute.TUPLE:
        return tuple(map(constant, attribute.values))
    if attribute.type == attribute.FLOAT:
        return attribute.f
    if attribute.type in (attribute.BOOL, attribute.INT64):
        return attribute.ints[0] if attribute.ints else attribute.i
    return None


def _package(name):
    try:
        return import_module(name)
    except ImportError as error:
        remedy = "pip install 'hamur[onnx]'"
        raise ValueError(f"ONNX needs the package {name}, which is missing: {remedy}.") from error


def write(mindir, parameters, path) -> list[Path]:
    """Write `translate`'s model to a file in a new folder, and weights above `SEPARATE_BYTES` to
    one beside it; the files, the model last.

    Raises:  ValueError: as `translate`, or onnx is not installed.
    """
    onnx = _package("onnx")
    model, weights = translate(mindir, parameters), path.with_name(f"{path.name}.weights")
    path.parent.mkdir()
    if sum(array.nbytes for array in parameters.values()) <= SEPARATE_BYTES:
        onnx.save_model(model, path)
        return [path]
    onnx.save_model(model, path, save_as_external_data=True, location=weights.name)
    return [weights, path]


def load_onnx(path) -> ServedGraph:
    """What `export` wrote, as `load_mindir` gives it; it needs onnxruntime, no MindSpore.  Threads
    that share it run side by side.

    Raises:  FileNotFoundError; ValueError: no ONNX of `export`, or onnxruntime is not installed.
    """
    onnxruntime = _package("onnxruntime")
    if not Path(path).is_file():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is in the exception
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        types = {"tensor(float)": np.float32, "tensor(int32)": np.int32}
        tasks = session.get_outputs()[0].shape[-1]
        inputs = {
            each.name: ([-1 if size == "rows" else size for size in each.shape], types[each.type])
            for each in session.get_inputs()
        }
        if "preference" in inputs:  # of one or two dimensions
            inputs["preference"] = ([-1, tasks], np.float32)
    except Exception as error:  # of onnxruntime's own classes, which share no base
        raise ValueError(
            f"{path}: no complete ONNX; write it again with hamur.training.export."
        ) from error

    def run(arrays):
        return session.run(None, dict(zip(inputs, arrays)))[0]

    return ServedGraph(path, inputs, run)
