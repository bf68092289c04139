"""Building the library: what a user without a compiler, or with a broken one, sees."""

import pytest

from hamur.kernels import build


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(build.VARIABLE, raising=False)
    build.library.cache_clear()
    yield
    build.library.cache_clear()


def test_a_machine_without_a_compiler_trains_without(monkeypatch, caplog):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert build.library() is None
    assert not build.enabled()
    assert "no C++ compiler" in caplog.text


def test_a_compiler_that_fails_is_told_in_one_line(monkeypatch, caplog, tmp_path):
    compiler = tmp_path / "broken"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] || { echo sorry >&2; exit 1; }\n')
    compiler.chmod(0o700)
    monkeypatch.setenv("CXX", str(compiler))
    assert build.library() is None
    assert caplog.messages == [
        "the fused kernels could not be built, training runs without them: sorry"
    ]
    assert not list((tmp_path / "hamur" / "kernels").iterdir())


def test_a_folder_that_cannot_be_written(monkeypatch, caplog, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert build.library() is None
    assert "could not be built" in caplog.text


def test_the_variable_switches_the_kernels_off(monkeypatch):
    monkeypatch.setenv(build.VARIABLE, "plain")
    assert not build.enabled()
    build.library.cache_clear()
    monkeypatch.setenv(build.VARIABLE, "fast")
    with pytest.raises(ValueError, match="HAMUR_KERNELS is 'fast'; valid values are fused, plain"):
        build.enabled()
