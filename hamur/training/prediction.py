"""Prediction: one pass over a table, whatever the number of metrics computed from it."""

from hamur.models.prediction import BATCH_SIZE, graph_mode

__all__ = ["graph_mode", "predict", "predict_split", "predictor_of"]


PREDICTORS = 4  # of a model, for as many sizes of batches


def predictor_of(model, batch_size=None):
    """The model's predictor for batches of this size (None: its own choice), kept in the model, so
    that validation and later predictions share what is compiled."""
    if not hasattr(model, "_predictors"):
        object.__setattr__(model, "_predictors", {})
    kept = model._predictors
    kept[batch_size] = kept.pop(batch_size, None) or model.predictor(batch_size)
    while len(kept) > PREDICTORS:
        del kept[next(iter(kept))]
    return kept[batch_size]


def predict(model, table, batch_size=None, preference=None, many=False):
    """Probabilities (N,) float64 of a table, in its order: sigmoid of float32 logits, in float64.

    Multi-task models give (N, T) float32; pomoe takes a preference (T,), by default the even one,
    or several at once as (R, T) and then gives (N, R, T).

    A model compiles graphs for `SIZES` of rows (seconds each) where it first needs them, and none
    later, whatever the rows and their domains.  Threads may share a model: one at a time predicts,
    and waits while another one trains.
    batch_size: rows of a call, at most.  many: more rows of such domains follow, so that calls of
    the table's own composition, several times as fast, are worth compiling.
    Raises:  ValueError: a row that does not fit the model's schema, batch statistics
        (``norm_inference="batch"``) of a batch with one row, a preference that is not on the
        simplex or that the model does not take.
    """
    table.validate(model.schema)
    with graph_mode():
        predictor = predictor_of(model, batch_size)
        if preference is not None and not predictor.takes_preferences:
            raise ValueError(f"{type(model).__name__} takes no preference; only pomoe does.")
        if many or predictor.ready(table, preference):
            return predictor(table, preference)
        return predictor_of(model).any_rows(table, preference, batch_size or BATCH_SIZE)


def predict_split(model, table, batch_size=None):
    """`predict` in calls of the table's own composition, as validation makes them: what a run
    reports must not depend on what its process has compiled before."""
    table.validate(model.schema)
    with graph_mode():
        return predictor_of(model, batch_size)(table)
