"""What a terminal shows while a command works."""

import io
import re

import pytest
from click.testing import CliRunner

from converters.cli import main
from converters.commands.display import Display, display_on_stderr
from tests.embedding_job import write_images, write_model


class Terminal(io.StringIO):
    """A terminal that keeps what is written on it."""

    def isatty(self):
        return True


def text_on(terminal):
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", terminal.getvalue())


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    return Terminal()


@pytest.mark.parametrize("path", ["a [1].ckpt", "[/b]", "[red]x", ":smile:", "{task.id}", r"back\[slash]"])
def test_paths_are_text_and_not_markup(terminal, path):
    display = Display(terminal)
    display.step(f"Opening {path}")
    display.downloaded(1000, 2000)
    display.hide()
    assert f"Opening {path} " in text_on(terminal)


def test_a_step_has_a_bar_of_its_own(terminal):
    display = Display(terminal)
    display.step("Opening model")
    display.downloaded(1000, 2000)
    display.step("Predicting")
    display.images(3, 14)
    display.hide()
    last = text_on(terminal).rstrip().splitlines()[-1]
    assert "Predicting" in last and "3/14" in last and "kB" not in last


def test_nothing_is_shown_without_a_terminal():
    stream = io.StringIO()
    display = Display(stream)
    display.step("Opening model")
    display.images(1, 2)
    display.hide()
    assert stream.getvalue() == ""


def test_the_display_ends_with_an_error(terminal, monkeypatch):
    monkeypatch.setattr("sys.stderr", terminal)
    with pytest.raises(ValueError, match="no model"), display_on_stderr() as display:
        display.step("Opening model")
        raise ValueError("no model")
    shown = terminal.getvalue()
    display.step("Later")
    assert terminal.getvalue() == shown


def test_opening_is_shown_while_the_model_opens(tmp_path, monkeypatch):
    """The names of steps and files are shown as they are, and standard output has the answers only."""
    import converters.images.models as models

    folder = tmp_path / "[b] images [/b]"
    write_images(folder, 2, broken=(1,))
    model = write_model(tmp_path / "model [1].keras", num_classes=5)
    steps = []
    load, step = models.load_checked_model, Display.step
    monkeypatch.setattr(Display, "step", lambda self, text: (steps.append(text), step(self, text)))
    monkeypatch.setattr(models, "load_checked_model", lambda path: (steps.append("loaded"), load(path))[1])
    result = CliRunner(env={"FORCE_COLOR": "1", "COLUMNS": "300"}).invoke(main, ["predict", str(model), str(folder)])
    assert result.exit_code == 1, result.output
    assert steps[steps.index("loaded") - 1] == f"Opening {model}"
    assert result.stdout.splitlines()[0] == str(folder / "000.png") and len(result.stdout.splitlines()) == 6
    assert f"Broken: {folder / '001.png'} is not an image" in result.stderr


def test_paths_in_tables(tmp_path):
    write_images(tmp_path / "[bold] images", 2)
    (tmp_path / "models [").mkdir()  # so "[/b]" is part of the path
    model = write_model(tmp_path / "models [/b].keras", num_classes=5)
    output = tmp_path / "models [/b] [1].npz"
    result = CliRunner().invoke(main, ["embed", str(model), str(tmp_path / "[bold] images"), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert output.name in result.stdout.replace("\n", "")
    missing = tmp_path / "none [/b].keras"
    result = CliRunner().invoke(main, ["predict", str(missing), str(tmp_path)])
    assert result.exit_code == 2 and f"{missing} does not exist" in result.stderr
