"""The leaderboard and the report of the comparison: corrected verdicts, and what is written."""

import csv

import pytest
from scipy import stats

from hamur.reporting import leaderboard, report
from hamur.reporting.leaderboard import Entry, corrected, make_board

DOMAINS = ("<script>alert(1)</script>", "a|b\\|\n*c*")


def run(auc, seed=0, valid=None, **train):
    """metrics.json with an AUC; the log loss is 1 - AUC."""

    def split(value):
        entry = {"auc": value, "logloss": 1 - value}
        size = {"rows": 50, "positives": 20}
        domains = {"0": entry | size, "1": {"auc": None, "logloss": 0.5} | size}
        return entry | {"macro_auc": value, "worst_auc": value, "domains": domains}

    block = {"parameters": 1234, "embedding_parameters": 1000, "best_epoch": 2, "seconds": 10.0}
    block |= {"rows_per_second": 5000.0, "peak_rss_mib": 300.0} | train
    return {"test": split(auc), "valid": split(auc if valid is None else valid), "train": block}


def entry(name, *aucs, valid=None, **kept):
    runs = {2022 + n: run(auc, valid=valid) for n, auc in enumerate(aucs)}
    return Entry(name, runs, dict.fromkeys(runs, 4.0), **kept)


BASE = (0.70, 0.71, 0.72, 0.73)


def shifted(by, noise=0.001):
    return tuple(v + by + noise * (-1) ** n for n, v in enumerate(BASE))


def seeds(values):
    return dict(enumerate(values))


def against(baseline, candidates):
    return {name: (baseline, values) for name, values in candidates.items()}


def test_verdicts_are_those_of_holm_and_intervals_agree_with_them():
    """Four models.  By hand, p from t = mean / (std / 2) with 3 degrees of freedom: the differences
    d + 0.001 and d - 0.001, twice each, have std 0.001 sqrt(4 / 3)."""
    shifts = {"best": 0.01, "worst": -0.008, "second": 0.0022, "third": 0.0021}
    values = {name: seeds(shifted(by)) for name, by in shifts.items()}
    found = corrected(against(seeds(BASE), values))
    error = 0.001 * (4 / 3) ** 0.5 / 2
    p = {name: 2 * stats.t.sf(abs(by) / error, 3) for name, by in shifts.items()}
    assert p["third"] < 0.05  # significant alone, not as one of four:
    expected = {"best": 4 * p["best"], "worst": 3 * p["worst"], "second": 2 * p["second"]}
    expected["third"] = expected["second"]  # larger than p["third"]
    assert {name: each.p for name, each in found.items()} == pytest.approx(expected, rel=1e-6)
    words = {name: each.verdict for name, each in found.items()}
    within = "within noise"
    assert words == {"best": "above", "worst": "below", "second": within, "third": within}
    level = {"best": 0.05 / 4, "worst": 0.05 / 3, "second": 0.05 / 2, "third": 0.05 / 2}
    for name, each in found.items():
        half = stats.t.ppf(1 - level[name] / 2, 3) * error
        assert (each.low, each.high) == pytest.approx((shifts[name] - half, shifts[name] + half))
        assert (each.low <= 0 <= each.high) == (each.p >= 0.05)


@pytest.mark.parametrize("seed", range(20))
def test_an_interval_leaves_0_out_exactly_where_the_corrected_test_rejects(seed):
    import numpy as np

    random = np.random.default_rng(seed)
    base = random.normal(size=5)
    values = {n: base + random.normal(random.normal() * 3, 1, size=5) for n in range(6)}
    found = corrected(against(seeds(base), {name: seeds(each) for name, each in values.items()}))
    for each in found.values():
        assert (each.verdict == "within noise") == (each.p >= leaderboard.ALPHA)


def test_a_model_equal_to_the_baseline_is_within_noise_and_one_seed_has_no_interval():
    assert corrected(against(seeds(BASE), {"same": seeds(BASE)}))["same"].verdict == "within noise"
    one = corrected(against({1: 0.7}, {"a": {1: 0.8}, "b": {2: 0.8}}))
    assert [each.verdict for each in one.values()] == ["one seed, no interval", "no common seed"]


def board(*others, base=BASE):
    return make_board([entry("domain_feature", *base), *others], "domain_feature")


def test_the_domains_of_a_figure_are_one_family():
    others = [entry("a", *shifted(0.01)), entry("b", *shifted(0.0))]
    entries = [entry("domain_feature", *BASE), *others]
    for each in entries:
        for metrics in each.runs.values():
            metrics["test"]["domains"]["1"] = metrics["test"]["domains"]["0"]
    found = next(e for e in make_board(entries, "domain_feature") if e.name == "a").against
    assert found["auc_domain_0"].p == found["auc_domain_1"].p > 0  # 4 p and 3 p, in order
    assert found["auc_domain_0"].p == pytest.approx(2 * found["auc"].p)  # 4 tests against 2


@pytest.mark.parametrize("positives, judged", [(9, False), (10, True), (40, True), (41, False)])
def test_a_domain_of_few_test_rows_of_a_class_has_no_verdict(positives, judged):
    """Two seeds of 4 positives and 7 negatives often differ by the same 1 / 28: p = 0."""
    entries = [entry("domain_feature", 0.5, 0.5), entry("a", 0.75, 0.75)]
    for each in entries:
        for metrics in each.runs.values():
            metrics["test"]["domains"]["0"]["positives"] = positives
    found = next(e for e in make_board(entries, "domain_feature") if e.name == "a")
    names = {"auc_domain_0", "logloss_domain_0"}
    assert names & set(found.against) == (names if judged else set())
    assert "auc" in found.against and found.text("auc_domain_0") == "0.7500 ± 0.0000"
    table = leaderboard.domain_tables([found], DOMAINS)["AUC"][1]
    assert table[0][1].endswith(" above") == judged


def test_the_order_is_that_of_validation_and_failed_models_come_last():
    good_on_test = entry("lucky", *shifted(0.1), valid=0.6)
    failed = Entry("broken", {}, failures={2022: "exit code 3: the loss is nan"})
    names = [e.name for e in board(failed, good_on_test, entry("steady", *BASE, valid=0.8))]
    assert names == ["steady", "domain_feature", "lucky", "broken"]


@pytest.mark.parametrize(
    "others, sentence",
    [
        ([], "domain_feature was trained alone, so nothing is compared."),
        ([entry("a", *shifted(0.0))], "No model is above domain_feature beyond noise."),
        (
            [entry("a", *shifted(0.1)), entry("b", *shifted(-0.1)), entry("c", *shifted(0.2))],
            "2 of 3 models are above domain_feature beyond noise: c, a. "
            "1 of 3 models is below domain_feature beyond noise: b.",
        ),
        (
            [entry("a", 0.9)],
            "No model has two seeds in common with domain_feature: no interval, so no verdict.",
        ),
    ],
)
def test_the_answer_in_one_sentence(others, sentence):
    assert leaderboard.answer(board(*others), "domain_feature") == sentence


def about():
    data = (["domain", "rows"], [[name, "5"] for name in DOMAINS])
    facts = ["3 models", f"of {DOMAINS[0]}"]
    return report.About(DOMAINS[0], "domain_feature", DOMAINS, facts, data, "python x", {"a": "1"})


def whole(folder):
    entries = board(
        entry("above<b>", *shifted(0.1)),
        Entry("partly", {2022: run(0.7)}, {2022: 1.0}, {2023: f"exit code 1: {DOMAINS[0]}"}),
        Entry("none", {}, failures={2022: "exit code 3: nan"}),
    )
    leaderboard.write(folder, entries, "domain_feature", DOMAINS)
    (folder / "report.html").write_text(report.render(entries, about()))
    return entries


def test_the_files_hold_every_figure_and_mark_failures(tmp_path):
    whole(tmp_path)
    with (tmp_path / "leaderboard.csv").open() as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    top = rows["above<b>"]
    assert float(top["auc"]) == pytest.approx(0.815) and top["auc_verdict"] == "above"
    assert float(top["auc_low"]) < 0.1 < float(top["auc_high"])
    assert top["logloss_verdict"] == "below" and top["auc_domain_0_verdict"] == "above"
    assert top["auc_domain_1"] == "" and float(top["logloss_domain_1"]) == 0.5
    assert (top["parameters"], top["seeds"], top["failed"]) == ("1234", "4", "0")
    assert (rows["partly"]["seeds"], rows["partly"]["failed"]) == ("1", "1")
    assert rows["partly"]["auc_verdict"] == "one seed, no interval"
    assert rows["none"]["auc"] == "" and "seconds" not in "".join(top)
    text = (tmp_path / "leaderboard.md").read_text()
    assert "none, seed 2022: failed, exit code 3: nan" in text and "| 1 of 2 |" in text
    # A name cannot end a cell or a line, and is neither HTML nor Markdown.
    assert "| a\\|b\\\\\\| \\*c\\* |\n" in text
    assert "<script" not in text and "failed, exit code 1: &lt;script&gt;" in text
    costs = (tmp_path / "costs.csv").read_text().splitlines()
    assert costs[1].startswith("above<b>,5000.0,300.0,10.0,4.0")


def test_the_report_escapes_names_of_the_data_and_is_the_same_bytes_again(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        whole(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    text = (tmp_path / "a/report.html").read_text()
    assert "<script" not in text and "above&lt;b&gt;" in text
    assert '<span class="above">above</span>' in text
    # Of log loss, below is better: it has the colour of above.
    assert '<span class="above">below</span>' in text


def test_seconds_to_the_best_epoch_are_those_of_the_epochs_until_then(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,seconds,auc\n1,1.5,0.6\n2,2.0,0.7\n3,4.0,0.6\n")
    assert leaderboard.seconds_to_best(path, 2) == 3.5
    for damaged in (b"epoch,seconds\n1,abc\n", b"epoch,auc\n1,0.6\n", b"\x9d\xff\n1\n", b"\0\n1"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"history\.csv: no table of epochs\. Remedy: remove"):
            leaderboard.seconds_to_best(path, 2)
