"""Commands in the process of the tests, as a user calls the scripts."""


def exit_code(main, *arguments) -> int:
    try:
        return main(*arguments)
    except SystemExit as stop:  # argparse ends the process itself
        return stop.code


def assert_refused(capsys, words, main, *arguments) -> None:
    """Wrong usage or data: exit code 2 and, after warnings of the data, one line on stderr, with
    these words."""
    assert exit_code(main, *arguments) == 2
    error = capsys.readouterr().err
    assert error.endswith("\n")
    (line,) = (line for line in error.splitlines() if not line.startswith("warning: "))
    for word in words:
        assert word in line
