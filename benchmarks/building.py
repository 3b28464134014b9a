"""Time to build a network with new weights, next to keras.applications."""

import keras

from benchmarks.results import Result, Target
from benchmarks.subjects import CLASSES, INCEPTION, V3_LARGE, V3_SMALL, Work, new_application, new_model
from benchmarks.timing import Schedule, interleaved

WORKS = (Work("mobilenet_v1", 1.0, 224), Work("mobilenet_v2", 1.0, 224), V3_LARGE, V3_SMALL, INCEPTION)

METHOD = (
    "Median time of one constructor call, with 1001 classes and random initial weights, in turns within one warm "
    "process; Keras's session is cleared between the calls, outside the time. keras.applications has no Inception V2: "
    "it is compared with InceptionV3, which has 95 convolutions; ours has 71."
)


def measure(quick: bool) -> Result:
    """All families; fewer repeats where quick."""
    schedule = Schedule(rounds=1 if quick else 15, turn_seconds=0, turn_calls=1, untimed=0)
    rows, targets = [], []
    for work in WORKS:
        peer, build_peer = counterpart(work)
        builds = {"mobilenets": lambda work=work: new_model(work), f"keras.applications.{peer}": build_peer}
        timings = interleaved(builds, schedule, prepare=keras.backend.clear_session)
        family = work.network
        for name, timing in timings.items():
            rows.append({"family": family, "built by": name} | timing.milliseconds())
        ours, theirs = timings.values()
        what = f"{family}: time to build against keras.applications.{peer}"
        targets.append(Target(what, ours.median / theirs.median, 1.0))
    return Result("building", METHOD, {"Time to build": rows}, rows, targets)


def counterpart(work: Work):
    """Name and constructor call of what keras.applications has in a family's place."""
    if work.family == "inception_v2":
        return "InceptionV3", lambda: keras.applications.InceptionV3(
            weights=None, classes=CLASSES, classifier_activation=None
        )
    names = {"mobilenet_v1": "MobileNet", "mobilenet_v2": "MobileNetV2"}
    peer = f"MobileNetV3{work.variant.capitalize()}" if work.variant else names[work.family]
    return peer, lambda: new_application(work)
