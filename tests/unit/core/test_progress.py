"""The silent progress takes every call that a pipeline makes."""

from foretail.core.progress import Progress, Silent


def test_silent_says_nothing(capsys):
    progress: Progress = Silent()
    with progress.stage("fit", total=3) as stage:
        stage.advance()
        stage.advance(2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == ""
