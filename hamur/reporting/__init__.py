"""Results of a run: files on disk, tables on the terminal, plots, statistics over seeds.

    results   what describes a run, and predictions.parquet
    tables    what was loaded, and the metrics of every domain, as text
    plots     the learning curve and the AUC of every domain as PNG
    seeds     mean, spread and paired comparison over runs; `python -m hamur.reporting.seeds`

The modules are imported by name (`from hamur.reporting import results`): plots and seeds load
matplotlib and scipy, which a run without --plot does not need.
"""
