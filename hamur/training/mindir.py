"""A trained model as MindIR: scores of any rows, without this package."""

from pathlib import Path

import mindspore as ms

SUFFIX = ".mindir"


def export(model, path) -> Path:
    """Write a model to ``path`` (``.mindir``, added if missing); returns it as a Path.

    The number of rows stays open.  Load with ``nn.GraphCell(ms.load(path))`` and call it with
    Tensors; ids and scaling are those of the model's schema.

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

    pomoe is two files: "scorer.mindir" has "scorer.features.mindir" beside it.  An id of 0 is
    'unknown'; a CoNet score that averages several source behaviours is the mean of one call each.
    Raises:  ValueError: a model whose scores cannot be served: ``norm_inference="batch"``, pomoe
        with the gate of the public code.
    """
    path = Path(path)
    path = path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)
    graphs = model.serving_graphs()
    path.parent.mkdir(parents=True, exist_ok=True)
    for graph in graphs:
        file = path.with_name(path.stem + graph.suffix + SUFFIX)
        graph.cell.set_train(False)
        # Written in place: MindSpore divides a file above 1 GB into several that name each other.
        ms.export(graph.cell, *graph.inputs, file_name=str(file), file_format="MINDIR")
    return path


export_mindir = export
