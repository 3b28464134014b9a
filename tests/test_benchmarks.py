"""The benchmark harness: its arithmetic, and its cheapest section. No figure that it measures is judged here."""

import json
import sys

import keras
import numpy as np
import pytest

from benchmarks import conversion, jobs, latency, machine, pictures, processes, results, savings, timing, training
from benchmarks.__main__ import SECTIONS
from benchmarks.peers import CONTENDERS, OURS
from benchmarks.subjects import Subject, Work

SCHEDULE = timing.Schedule(rounds=3, turn_seconds=0, turn_calls=2, untimed=1, pause=0.5)


class FakeTime:
    """A clock that callables advance."""

    def __init__(self):
        self.now = 0.0

    def taking(self, seconds, calls=None, name=None):
        def call():
            self.now += seconds
            if calls is not None:
                calls.append(name)

        return call


def test_samples_are_summarised():
    found = timing.summarise([4.0, 1.0, 3.0, 2.0, 5.0])
    assert found == timing.Timing(median=3.0, minimum=1.0, lower_quartile=2.0, upper_quartile=4.0, calls=5)
    assert timing.summarise([2.0]) == timing.Timing(2.0, 2.0, 2.0, 2.0, 1)
    with pytest.raises(ValueError, match="no sample"):
        timing.summarise([])


def test_a_timing_is_divided_into_its_parts():
    assert timing.summarise([4.0]).per(4) == timing.Timing(1.0, 1.0, 1.0, 1.0, 1)
    assert timing.summarise([4.0]).milliseconds()["median ms"] == 4000.0


def test_contenders_take_turns_and_each_round_begins_with_another():
    time, calls, pauses = FakeTime(), [], []
    contenders = {name: time.taking(seconds, calls, name) for name, seconds in (("a", 1.0), ("b", 2.0), ("c", 4.0))}
    found = timing.interleaved(contenders, SCHEDULE, clock=lambda: time.now, sleep=pauses.append)
    turns = "".join(calls[3:][::3])  # three calls make a turn
    assert "".join(calls[:3]) == "abc"
    assert turns == "abc" + "bca" + "cab"
    assert {name: (one.median, one.calls) for name, one in found.items()} == {"a": (1, 6), "b": (2, 6), "c": (4, 6)}
    assert pauses == [0.5] * 9


def test_a_turn_lasts_as_long_as_asked():
    time = FakeTime()
    schedule = timing.Schedule(rounds=2, turn_seconds=1.0, turn_calls=2)
    found = timing.interleaved({"a": time.taking(0.25)}, schedule, clock=lambda: time.now, sleep=lambda _: None)
    assert found["a"].calls == 2 * 4


def test_preparations_are_not_timed():
    time = FakeTime()
    prepare = time.taking(10.0)
    found = timing.interleaved({"a": time.taking(1.0)}, SCHEDULE, prepare, lambda: time.now, lambda _: None)
    assert found["a"].median == 1.0


@pytest.mark.parametrize(
    ("found", "bound", "at_least", "met"),
    [
        (1.0, 1.5, False, True),
        (1.5, 1.5, False, True),
        (1.6, 1.5, False, False),
        (1.6, 1.5, True, True),
        (1, 1.5, True, False),
    ],
)
def test_targets_are_judged(found, bound, at_least, met):
    target = results.Target("what", found, bound, at_least=at_least)
    assert target.met is met
    assert ("no" in target.row()["met"]) is not met


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.5, "1234"),
        (12.34, "12.3"),
        (1.234, "1.23"),
        (0.01234, "0.012"),
        (0.00012, "1.2e-04"),
        (0.0, "0.000"),
        (3, "3"),
        (None, ""),
        ("a", "a"),
    ],
)
def test_numbers_are_printed_with_three_digits(value, text):
    assert results.number(value) == text


def test_tables_align_numbers_and_leave_gaps():
    table = results.markdown_table([{"who": "a", "ms": 1.0}, {"who": "b", "ms": None, "note": "x"}])
    assert table.splitlines() == ["| who | ms | note |", "| --- | ---: | --- |", "| a | 1.00 |  |", "| b |  | x |"]


def test_rows_are_pivoted_in_the_order_given():
    rows = [{"who": w, "work": k, "ms": v} for w, k, v in (("b", "y", 1.0), ("b", "x", 2.0), ("a", "x", 3.0))]
    assert results.pivot(rows, "who", "work", "ms") == [
        {"who": "b", "y": 1.0, "x": 2.0},
        {"who": "a", "y": None, "x": 3.0},
    ]


def test_results_are_written_down(tmp_path):
    target = results.Target("speed", 2.0, 1.5, at_least=True)
    result = results.Result(
        "some", "How.", {"T": [{"a": 1.0}]}, [{"a": 1.0}], [target], {"peer": "not installed: x"}, {"cores": "2"}
    )
    results.write(result, tmp_path / "results")
    values = json.loads((tmp_path / "results" / "some.json").read_text())
    text = (tmp_path / "results" / "some.md").read_text()
    assert values["measurements"] == [{"a": 1.0}] and values["targets"][0]["met"] is True
    assert "Left out: peer (not installed: x)." in text and "Machine: cores 2." in text


def test_only_a_sections_own_place_in_the_page_changes():
    page = "x\n<!-- begin a -->\nold\n<!-- end a -->\ny\n<!-- begin b -->\nkept\n<!-- end b -->\n"
    assert results.with_section(page, "a", r"new \1") == page.replace("old", r"new \1")
    with pytest.raises(ValueError, match="no place for 'c'"):
        results.with_section(page, "c", "text")


def test_the_page_has_a_place_for_every_section():
    from benchmarks.__main__ import HERE

    page = (HERE / "README.md").read_text()
    for section in SECTIONS:
        assert f"<!-- begin {section} -->" in page and f"<!-- end {section} -->" in page
    assert results.with_section((HERE.parent / "README.md").read_text(), "benchmarks", "table")


def test_the_machine_is_described():
    facts = machine.describe()
    assert int(facts["cores"]) == machine.cores() >= 1
    assert {"processor", "memory", "system", "tensorflow", "keras", "numpy"} <= facts.keys()


def test_the_peak_of_a_process_is_its_own():
    """Held in this process or in a process before, memory does not count; held by the process itself, it does."""
    held = np.ones(2**24)  # 128 MiB
    small = processes.run([sys.executable, "-I", "-S", "-c", "print('hello')"])
    large = processes.run([sys.executable, "-I", "-S", "-c", "x = b'x' * 2**27"])
    assert small.output == "hello\n"
    assert small.peak_bytes < 2**26 < 2**27 < large.peak_bytes < held.nbytes * 2


def test_a_failing_process_is_an_error():
    with pytest.raises(RuntimeError, match=r"failed with status 3: .*reason"):
        processes.run([sys.executable, "-c", "import sys; print('the reason', file=sys.stderr); sys.exit(3)"])


def test_wrong_logits_are_found():
    right = np.array([[1.0, -2.0]])
    assert latency.check("peer", right + 1e-4, right) == pytest.approx(5e-5)
    assert latency.check("peer", right, None) is None
    for wrong in (right + 0.1, right * np.nan):
        with pytest.raises(ArithmeticError, match="peer differs"):
            latency.check("peer", wrong, right)


def test_targets_are_ratios_of_the_contenders_that_took_part():
    row = {"work": "MobileNet V2 1.0 224", "batch": 1}
    rows = [
        row | {"contender": f"{OURS}: inference_function", "median ms": 2.0},
        row | {"contender": "keras.applications: tf.function", "median ms": 4.0},
        row | {"contender": f"{OURS}: LiteRT", "median ms": 1.0},
        row | {"contender": "keras.applications: OpenVINO", "median ms": 0.5},
    ]
    found = {target.what: (target.found, target.met) for target in latency.targets(rows)}
    assert found == {
        "inference_function: speed against keras.applications: tf.function, batch 1": (2.0, True),
        "our LiteRT export: time against keras.applications: OpenVINO, batch 1": (2.0, False),
    }


def test_every_target_names_contenders_that_there_are():
    names = {contender.name for contender in CONTENDERS}
    assert {name for _, over, under, _, _ in latency.TARGETS for name in (over, under)} <= names
    assert set(latency.NOT_QUICK) <= names


def test_a_contender_without_its_package_is_named():
    absent = CONTENDERS[0]._replace(packages=("numpy", "no_such_package"))
    assert absent.missing() == "not installed: no_such_package"
    assert CONTENDERS[0].missing() is None


def test_latency_of_a_tiny_network(tmp_path):
    """Those contenders that need no export, on the smallest network that everybody has."""
    subject = Subject(Work("mobilenet_v1", 0.25, 32), tmp_path)
    ways = ("fused, tf.function", "tf.function", "frozen graph, TF1 session")
    contenders = [contender for contender in CONTENDERS if contender.way in ways]
    rows = latency.measure_batch(subject, 2, timing.Schedule(1, 0, 1, 0, 0), contenders)
    assert [row["contender"] for row in rows] == [contender.name for contender in contenders]
    assert all(row["work"] == "MobileNet V1 0.25 32" and row["calls"] == 1 for row in rows)
    assert all(0 < row["min ms"] == row["median ms"] == 2 * row["median ms per image"] for row in rows)
    assert all(row["difference"] < latency.TOLERANCE for row in rows)
    (table,) = latency.tables(rows).values()
    assert [row["contender"] for row in table] == [contender.name for contender in contenders]


def test_shares_of_a_training_step_add_up():
    ends = {"forward, training": 1.0, "forward and backward": 3.0, "whole step": 3.5, "fit": 4.0}
    found = training.shares({stage: timing.summarise([seconds]) for stage, seconds in ends.items()})
    assert found == {
        "forward ms": 1000.0,
        "backward ms": 2000.0,
        "optimizer ms": 500.0,
        "Keras ms": 500.0,
        "fit ms": 4000.0,
        "percent": "25 / 50 / 12 / 12",
    }


def test_gains_are_ratios_to_the_first():
    medians = {"none": 0.3, "less work": 0.1, "more work": 0.6}
    rows = training.gains("a network", {name: timing.summarise([seconds]) for name, seconds in medians.items()})
    assert [(row["change"], row["speed"]) for row in rows] == [
        ("none", 1.0),
        ("less work", pytest.approx(3.0)),
        ("more work", pytest.approx(0.5)),
    ]


def test_savings_do_what_they_are_called():
    work = Work("mobilenet_v1", 0.25, 32)
    models = {name: make(work) for name, make in savings.SAVINGS.items()}
    plain = models.pop("none")
    assert plain.losses and not models["no weight decay"].losses
    trained = {name: [weight.path for weight in model.trainable_weights] for name, model in models.items()}
    assert (
        trained["no weight decay"] == trained["mixed bfloat16"] == [weight.path for weight in plain.trainable_weights]
    )
    frozen = trained["batch norms frozen"]
    assert frozen and not [path for path in frozen if "gamma" in path or "beta" in path]
    assert [path.rsplit("/", 1)[-1] for path in trained["all but the classification layer frozen"]] == [
        "kernel",
        "bias",
    ]
    assert models["mixed bfloat16"].get_layer(index=2).compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"


def test_the_headline_begins_with_the_fastest_for_many_images():
    medians = {("slow", 1): 2.0, ("slow", 32): 4.0, ("one by one", 1): 1.0, ("fast", 1): 3.0, ("fast", 32): 1.5}
    rows = [
        {"work": str(latency.V2_LARGE), "batch": batch, "contender": name, "median ms per image": value}
        for (name, batch), value in medians.items()
    ]
    text = latency.headline([*rows, rows[0] | {"work": "another", "contender": "elsewhere"}])
    assert [line.split(" | ")[0] for line in text.splitlines()[4:]] == ["| fast", "| slow", "| one by one"]
    assert "| fast | 3.00 | 1.50 |" in text


def test_conversion_is_judged_by_the_bare_import():
    def run(seconds, peak):
        return processes.Run(seconds, seconds, peak * 2**20, "")

    runs = {conversion.BARE: run(2.0, 500), conversion.CONVERT: run(3.0, 620), conversion.HELP: run(0.1, 20)}
    rows = [conversion.row(name, [one]) for name, one in runs.items()]
    found = [(target.found, target.met) for target in conversion.targets(rows, checkpoint_bytes=40 * 2**20)]
    assert found == [(1.5, True), (3.0, True), (0.1, True)]
    on_jax = {conversion.JAX_BARE: run(1.0, 200), conversion.JAX_CONVERT: run(2.0, 300)}
    rows += [conversion.row(name, [one]) for name, one in on_jax.items()]
    found = [(target.found, target.met) for target in conversion.targets(rows, checkpoint_bytes=40 * 2**20)]
    assert found == [(1.5, True), (2.0, False), (3.0, True), (0.1, True)]


def test_pictures_are_seeded_and_photograph_like(tmp_path, monkeypatch):
    monkeypatch.setitem(pictures.DISTINCT, pictures.SMALL, 2)
    folder = pictures.write_pictures(tmp_path / "pictures", pictures.SMALL, 3)
    files = sorted(folder.iterdir())
    sizes = [file.stat().st_size for file in files]
    assert len(files) == 3 and files[0].samefile(files[2]) and not files[0].samefile(files[1])
    # A photograph has one to four bits per pixel at this quality; a plain area less, and noise more.
    assert all(1 < 8 * size / (500 * 375) < 4 for size in sizes)
    np.testing.assert_array_equal(pictures.picture((50, 40), 1), pictures.picture((50, 40), 1))


def test_targets_of_jobs_are_ratios_of_images_a_second():
    speeds = {"embed --runtime auto, warm": 100.0, "limit": 110.0, "ONNX Runtime, Pillow": 50.0}
    rows = [{"process": name, "images/s": speed} for name, speed in speeds.items()]
    limit, peer = jobs.targets_of(Work("mobilenet_v2", 0.35, 96), rows)
    assert (limit.found, limit.met) == (pytest.approx(1.1), True)
    assert (peer.found, peer.at_least, peer.met) == (2.0, True, True) and "ONNX Runtime, Pillow" in peer.what


def test_what_is_not_installed_is_left_out_of_the_jobs(monkeypatch):
    monkeypatch.setattr(jobs.importlib.util, "find_spec", lambda name: None if name in ("timm", "openvino") else name)
    assert jobs.absent(quick=False) == {
        "PyTorch, timm": "not installed: timm",
        "embed --runtime openvino": "not installed: openvino",
    }
    assert jobs.absent(quick=True)["Beam"] == "not in a quick run"


def test_a_program_beside_which_embed_is_measured(tmp_path, capsys):
    from benchmarks import job_programs

    pictures.write_pictures(tmp_path / "pictures", pictures.SMALL, 2)
    job_programs.main(job_programs.DECODE, str(tmp_path / "pictures"), "32", "0.35", str(tmp_path))
    count, seconds = capsys.readouterr().out.split()
    assert count == "2" and float(seconds) > 0
