"""Results of a run: files on disk, tables on the terminal, plots, statistics over seeds.

    results   what describes a run, and predictions.parquet
    tables    what was loaded, and metrics per domain, as text
    front     figures, measures and tables of a multi-task front
    weights   learned weights of source behaviours; cross_domain: what such a run reports
    plots     all plots, as PNG
    leaderboard, report   models over seeds against a baseline: CSV, Markdown, one HTML page
    page      HTML that needs nothing but itself; figures: its plots
    compare   runs over seeds: mean, spread, paired interval; `python -m hamur.reporting.seeds`
    doctor    what the runs of a comparison say about each domain; doctor_page: in words

The modules are imported by name (`from hamur.reporting import results`): plots and compare load
matplotlib and scipy, which a run without --plot does not need.
"""
