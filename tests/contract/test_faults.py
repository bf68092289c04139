"""The table of injected faults: what each must end with, and which test injects it.

Columns: the fault; the door it comes through; the exit code (or what Python sees); words of the
message, each of which is in a text of the package; what remains on disk; the tests.
"""

import ast
from pathlib import Path

import pytest

from tests.contract.test_broken_inputs import assert_refused

TESTS = Path(__file__).resolve().parents[1]
SCRIPT, PYTHON, BOTH = "script", "Python", "script and Python"
SERVER = "HTTP"  # where the code is the status
ERROR, SAME = "DataError or ValueError", "the right value"

FAULTS = {
    "signals": [
        ("signals at random moments, then --resume", SCRIPT, "130, 143", "", "bit-equal end",
         "commands/test_random_signals.py::test_after_any_signal_the_same_command_ends_equal"),
        ("SIGINT or SIGTERM in an epoch loop", SCRIPT, "130, 143", "interrupted", "best epoch",
         "commands/test_scripts.py::test_a_signal_ends_a_script_with_the_best_epoch_on_disk"),
        ("the same to fit", PYTHON, SAME, "", "state of the last epoch",
         "training/test_resume.py::test_a_signal_ends_fit_at_the_next_step"),
        ("a second signal", SCRIPT, "130, 143", "a second signal ends it at once", "last epoch",
         "test_interrupts.py::test_a_second_signal_ends_a_loop_at_once"),
    ],
    "damaged caches, runs, weights": [
        ("a byte of a cached array flipped", BOTH, "2", "the file has changed since it was written",
         "as it was", "data/test_cache.py::test_flipped_byte_is_found_unless_switched_off"),
        ("a cache file missing, short, or of another version", BOTH, "2",
         "another size than was written", "made again by a loader",
         "data/test_cache.py::test_damaged_cache_is_named_and_then_repaired"),
        ("the cache of another data set", BOTH, "2", "", "as it was",
         "data/test_cache.py::test_a_cache_of_another_data_set_is_refused_and_its_script_named"),
        ("weights cut, changed, not finite", PYTHON, ERROR, "", "as it was",
         "training/test_checkpoint.py::test_damaged_weights_are_one_line"),
        ("weights of another type or shape", PYTHON, ERROR, "belongs to another model",
         "nothing is half restored",
         "training/test_checkpoint.py::test_nothing_is_restored_where_one_array_does_not_fit"),
        ("a torn state of last/", BOTH, "2", "", "as it was",
         "training/test_checkpoint.py::test_a_damaged_state_is_one_line"),
        ("JSON torn, of another form, with NaN", BOTH, "2", "no JSON object", "as it was",
         "test_files.py::test_damaged_json_is_told_with_its_place_and_a_remedy"),
        ("results that are compared, damaged", SCRIPT, "2", "train the run again", "as it was",
         "reporting/test_compare.py::test_damaged_results_are_refused_in_one_line_or_told"),
    ],
    "serving": [
        ("requests that are no JSON, or of other rows", SERVER, "4xx", "", "-",
         "test_server.py::test_200_malformed_requests_are_one_line_each_and_the_server_goes_on"),
        ("more rows or bytes than allowed, or without end", SERVER, "413", "at most ", "-",
         "test_server.py::test_bytes_are_counted_while_they_come"),
        ("a request that meets a defect", SERVER, "500", "internal error", "-",
         "test_server.py::test_a_defect_says_nothing_to_the_client_and_no_cell_to_the_log"),
        ("SIGTERM to a server while it answers", SCRIPT, "0", "", "all answers",
         "test_server.py::test_sigterm_ends_a_server_when_it_has_answered"),
        ("graphs without end", PYTHON, SAME, "", "-",
         "training/test_requests.py::test_graphs_that_were_not_used_for_long_go"),
        ("predictions and training in threads", PYTHON, SAME, "", "-",
         "training/test_requests.py::test_a_prediction_waits_for_a_training_in_another_thread"),
        ("requests of any number of rows", PYTHON, SAME, "", "-",
         "training/test_requests.py::test_no_request_of_up_to_300_rows_compiles"),
        ("an export that cannot be written", PYTHON, ERROR, "", "nothing",
         "training/test_predict.py::"
         "test_an_export_that_cannot_be_written_is_one_line_and_leaves_nothing"),
        ("a wrong call of a loaded graph", PYTHON, ERROR, "", "-",
         "training/test_predict.py::test_a_loaded_graph_names_what_is_wrong_with_a_call_or_a_file"),
        ("dense values that are not finite in an exported graph", PYTHON, "-", "", "-",
         "contract/test_contract.py::"
         "test_an_exported_graph_reads_unknown_ids_as_0_and_scores_no_wrong_row"),
        ("an id beyond its vocabulary, or -1, in an exported graph", PYTHON, SAME, "", "-",
         "contract/test_contract.py::"
         "test_an_exported_graph_reads_unknown_ids_as_0_and_scores_no_wrong_row"),
    ],
    "divergence": [
        ("--learning_rate 1e6", SCRIPT, "3", "diverged", "no results; the marked run",
         "training/test_divergence.py::test_a_step_of_a_million_ends_with_3_and_leaves_no_results"),
        ("scores that are not finite", PYTHON, "DivergenceError", "", "-",
         "training/test_divergence.py::"
         "test_scores_that_are_not_finite_are_told_before_any_metric_reads_them"),
        ("a model worse than a constant", SCRIPT, "0", "", "marked results",
         "training/test_divergence.py::test_a_bad_model_is_marked_in_the_results"),
        ("training rows of one class", BOTH, "2", "use rows of both classes", "nothing",
         "training/test_divergence.py::test_training_rows_of_one_class_are_refused"),
    ],
    "bombs": [
        ("a line without end, in every text format", BOTH, "2", "", "nothing",
         "data/text/test_blocks.py::test_a_line_too_long_is_named_in_every_format"),
        ("a literal that costs memory", BOTH, "2", "", "nothing",
         "data/text/test_blocks.py::test_what_costs_memory_to_parse_is_refused_before"),
        ("a packed file of repetition", BOTH, "2", "", "nothing",
         "data/text/test_blocks.py::test_a_packed_file_of_nothing_but_repetition_is_refused"),
        ("a long text that Parquet repeats", BOTH, "2", "", "nothing",
         "data/test_parquet.py::test_a_long_text_that_is_repeated_costs_its_length_once"),
        ("archives with folders, links, other members", BOTH, "2", "", "nothing",
         "data/text/test_archives.py::test_odd_archives_are_refused_and_nothing_is_written"),
    ],
    "mutations": [
        ("lines of every text format", BOTH, "2", "", "-",
         "data/text/test_fuzz.py::test_damaged_lines_are_read_rightly_or_refused"),
        ("archives", BOTH, "2", "", "-",
         "data/text/test_archives.py::test_damaged_archives_are_refused_or_harmless"),
        ("Parquet files", BOTH, "2", "", "-",
         "data/test_parquet_damage.py::test_damaged_files_are_refused_or_read_as_arrow_shows_them"),
        ("files of runs, caches, checkpoints", BOTH, "2", "", "as it was",
         "test_damaged_files.py::test_every_damaged_file_is_refused_or_harmless"),
        ("nonsense where no checksum is", BOTH, "2", "", "as it was",
         "test_damaged_files.py::test_nonsense_without_a_checksum_is_refused_or_taken"),
    ],
    "raw files": [
        ("a folder of no data set, of empty files, noise, NUL, words, folders", SCRIPT, "2",
         "not recognised", "no cache, no run",
         "contract/test_broken_inputs.py::test_data_that_cannot_be_read"),
        ("the sample of another data set", SCRIPT, "2", "not recognised", "no cache, no run",
         "contract/test_broken_inputs.py::test_the_sample_of_another_data_set"),
        ("ids of Parquet with a null, beyond 2**53", BOTH, "2 or skipped", "", "-",
         "data/test_parquet.py::test_whole_numbers_of_every_type_are_the_same_cells"),
        ("a Parquet type that a column cannot have", BOTH, "2", "", "-",
         "data/test_parquet.py::test_types_that_a_column_cannot_have_are_refused_by_name"),
        ("a folder of Parquet parts", BOTH, SAME, "", "-",
         "data/test_parquet.py::test_a_folder_of_parts_is_a_table"),
        ("Amazon 2018 and 2023", BOTH, SAME, "", "-",
         "data/amazon/test_load.py::test_releases_are_read_as_that_of_2014"),
        ("a key that no Amazon line has", BOTH, "2", "no line has the keys that are needed", "-",
         "data/amazon/test_load.py::test_a_key_that_no_line_has_and_meta_data_of_other_items"),
        ("MovieLens 100K, 10M, latest", BOTH, SAME, "", "-",
         "data/movielens/test_releases.py::test_a_pair_of_genres_is_the_same_from_every_release"),
    ],
    "prepared caches": [
        ("--overwrite where other files are", SCRIPT, "2", "", "the other files",
         "data/streaming/test_occupied.py::test_overwrite_removes_nothing_that_it_did_not_write"),
        ("a writer killed in a save", SCRIPT, "0", "", "no temporary file",
         "data/streaming/test_occupied.py::test_what_killed_writers_left_is_removed_by_the_next"),
        ("a finished job of a preparation damaged", SCRIPT, "0", "", "done again",
         "data/streaming/test_occupied.py::test_a_finished_job_whose_files_are_damaged_is_done_again"),
        ("a torn workspace", SCRIPT, "2", "", "as it was",
         "data/streaming/test_occupied.py::test_a_torn_workspace_is_one_line"),
    ],
    "flags and folders of results": [
        ("a crash between a write and its rename", BOTH, "-", "", "the old file",
         "test_folders.py::test_a_file_is_on_the_disk_before_it_has_its_name"),
        ("--resume before the first epoch is finished", BOTH, "0", "", "the run begins",
         "training/test_resume.py::test_resuming_begins_where_nothing_is"),
        ("--overwrite and a failure in epoch 1", SCRIPT, "2", "", "nothing of the old run",
         "commands/test_scripts.py::"
         "test_a_run_that_begins_removes_the_old_one_before_it_has_a_configuration"),
        ("what cannot be divided, under msrun", SCRIPT, "2", "start it without msrun", "nothing",
         "training/test_workers.py::test_what_cannot_be_divided_is_refused"),
        ("kill -9 of a worker", SCRIPT, "2", "a worker was lost", "the last state",
         "commands/test_worker_scripts.py::test_a_killed_worker_ends_the_job_and_any_number_resumes"),
        ("SIGTERM to one worker", SCRIPT, "143", "interrupted", "the state of that step",
         "commands/test_worker_scripts.py::test_a_signal_to_one_worker_ends_all_with_a_state"),
        ("more memory than there is", BOTH, "2", "that there are", "nothing",
         "training/test_memory.py::test_a_training_that_cannot_fit_is_refused_before_it_begins"),
        ("two processes in one folder", SCRIPT, "2", "is writing to this folder", "the first one's",
         "test_folders.py::test_one_process_writes_to_a_folder_and_its_death_frees_it"),
        ("a defect of the package", SCRIPT, "1", "", "as it was",
         "commands/test_config.py::test_a_defect_is_one_line_too_and_the_exit_code_1"),
        ("ratings of one class", BOTH, "2", "one class", "nothing",
         "commands/test_cross_domain_data.py::test_tables_that_make_no_pair_are_told"),
        ("official scores in batches of training", SCRIPT, SAME, "", "-",
         "commands/test_scripts.py::test_official_scores_are_made_in_batches_of_training"),
        ("a number that is not finite, of every flag", SCRIPT, "2", "must be finite", "nothing",
         "commands/test_config.py::test_no_numeric_flag_takes_what_is_not_finite"),
        ("an odd value of every flag, an unknown flag", SCRIPT, "2", "no flag", "nothing",
         "contract/test_broken_inputs.py::test_values_that_a_flag_does_not_take"),
        ("--save_dir in the place of a file, or of damaged results", SCRIPT, "2", "", "as it was",
         "contract/test_broken_inputs.py::test_a_folder_of_results_that_cannot_be_one"),
        ("a file of options", SCRIPT, "2", "unknown key", "nothing",
         "contract/test_broken_inputs.py::test_a_file_of_options"),
        ("the ground truth of other data", SCRIPT, "2", "is no column of 0 and 1", "nothing",
         "contract/test_broken_inputs.py::test_a_ground_truth_of_other_data"),
        ("a full disk in a save", BOTH, "2", "", "the older weights",
         "training/test_checkpoint.py::test_a_full_disk_is_one_line_and_leaves_the_old_weights"),
        ("a text that names what is not there", BOTH, "-", "", "-",
         "contract/test_remedies.py::test_every_flag_that_a_text_names_is_one_of_a_script"),
        ("an argument in the place of a flag", SCRIPT, "2", "", "-",
         "contract/test_remedies.py::test_the_library_marks_every_argument"),
    ],
}  # fmt: skip
ROWS = [pytest.param(*row, id=row[0]) for rows in FAULTS.values() for row in rows]


@pytest.fixture(scope="module")
def texts():
    """All texts of the package."""
    found = []
    for path in sorted((TESTS.parent / "hamur").rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text()))
        found += [
            n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)
        ]
    return found


@pytest.mark.parametrize(("fault", "door", "code", "words", "left", "test"), ROWS)
def test_the_table_names_tests_and_texts_that_exist(fault, door, code, words, left, test, texts):
    assert fault and left and door in (SCRIPT, PYTHON, BOTH, SERVER)
    first = "0123" if door != SERVER else "45"
    assert code in (ERROR, SAME, "DivergenceError", "-") or code[0] in first
    assert not words or any(words in text for text in texts)
    file, _, name = test.partition("::")
    body = ast.parse((TESTS / file).read_text()).body
    assert name in {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_no_fault_is_there_twice():
    names = [row[0] for rows in FAULTS.values() for row in rows]
    assert len(set(names)) == len(names)


def test_a_dropped_flag_is_unknown(tmp_path, capsys):
    where = ("--raw", tmp_path, "--out", tmp_path / "out")
    assert_refused(capsys, "prepare_data", *where, "--export", "biao_json")
