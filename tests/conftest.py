"""What every test file shares: quiet TensorFlow, the reference material, and which cases `make test` leaves out."""

import gc
import hashlib
import os
import pathlib
import re
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import pytest

from tests.file_server import serving

# What `make test` leaves to `.ci/run` and `make test-all`: patterns of tests that take seconds each, and whose claim
# another case or a cheaper test makes too.
LEFT_OUT = [
    r"test_backends.py::test_(images|fit_under|dtype_policies.*\[(float16|mixed)|inference_function.*keras)",
    r"test_benchmarks.py::test_(latency|savings)",
    r"test_build_first_stride.py::(test_every_endpoint.*(None|1|2|8)\]|test_two|.*(v1|v3|inception_v2)\])",
    r"test_build_golden.py::.*(iv2|v3|inception|140_224|100_224|x_v2_(0.2|0.9|os)|075|float32.*x_v)",
    r"test_build_imports.py::test_examples",
    r"test_build_mobilenet_v3.py::test_(pool_and_head|a_map.*[023]\]|receptive.*small-False)",
    r"test_build_networks.py::.*\[(mobilenet_v1|mobilenet_v3|inception_v2)",
    r"test_build_networks.py::test_v2_residuals.*\[(0.5|0.75|1.0|1.3|1.4)-",
    r"test_build_networks.py::test_(variables|endpoints)_equal_slim.*(0.5|0.75|1.0|1.3)\]",
    r"test_build_networks.py::test_logits_are.*float16\]",
    r"test_build_networks.py::test_(a_training_step|a_model_of|a_channels_first_default|a_seed|v2_width|heads_share|open_sizes)",
    r"test_build_published.py::test_the_.*(140_224|inception)",
    r"test_build_widths.py::test_inception_stem.*\[(0.1|0.25|0.3|0.375|2.0)-",
    r"test_checkpoints_writing.py::test_any_bits.*\[hdf5-(bool|int|uint|float32|float64|complex64)",
    r"test_checkpoints_hdf5.py::test_damage_is_detected_at",
    r"test_cli.py::test_(verify_against_a_frozen|verify_on_photographs|verify_points|existing_output|convert_json)",
    r"test_convert_containers.py::",
    r"test_convert_copies.py::test_(the_(saved|averaged)|conversion.*archive|two_other)",
    r"test_convert_folded.py::test_(a_frozen|a_partly|an_inception|a_text|a_folded|the_command)",
    r"test_convert_litert.py::(?!test_(a_real_8_bit|a_wrong|broken))",
    r"test_convert_manifest.py::test_(it_tells|checksums_are|what_is_no_manifest.*x00)",
    r"test_convert_background.py::test_(other_families|a_new_layer)",
    r"test_convert_network_files.py::(?!test_a_renamed.*mobilenet_v1-renamed\])",
    r"test_convert_names.py::test_(inception_with|a_backbone_without|a_dense|of_several|quantization|a_second)",
    r"test_convert_names.py::test_(a_detection|a_layer_in|two_clones|weights_in.*\[(\]|net1))|test_convert_names.py::.*(inception_v2|\[\w+\]$)",
    r"test_convert_padding.py::",
    r"test_convert_parity.py::test_every_endpoint.*(inception|140_224|float64-mobilenet_v2)",
    r"test_convert_real.py::.*(224|float64|without_logits)",
    r"test_convert_recognition.py::test_(any_other.*(v3|inception|0.2)|last_layer|one_misshapen)",
    r"test_convert_recognition.py::test_(variant_of.*(minimalistic|small)|detection.*large)",
    r"test_convert_recognition.py::test_(published\[.*-(0.5|0.75|1.0|1.3|1.4)\]|variant.*\[(?!0.75-))",
    r"test_convert_sources.py::(?!test_averages.*2\))",
    r"test_docs.py::test_code_runs",
    r"test_cli_display.py::test_(opening_is|paths_in)",
    r"test_checkpoints_shards.py::test_the_labels.*LABEL",
    r"test_embed_job.py::test_(an_interrupted_run.*(4|12|14)|a_classifier|memory|parts_of|two_proc|.*\[\.parquet)",
    r"test_evaluate_counts.py::",
    r"test_evaluate_command.py::test_(folders|accuracy)",
    r"test_examples.py::test_(fine_tuning_on|demo_with)",
    r"test_export_cli.py::test_(a_model|the_difference|int8_with|folders_and|a_mismatch|a_file_that)",
    r"test_export_int8.py::test_the_range_of_the_whole.*(v2|v3)\]",
    r"test_export_transformers.py::test_(what_transformers_cannot|a_written.*1.4)",
    r"test_export_inference.py::test_(float64|several|outputs_for.*False)|test_export_inference.py::.*\[(mobilenet_v1|mobilenet_v3|inception_v2)",
    r"test_export_keras_applications.py::(?!test_(classifiers.*v1|a_fused))",
    r"test_export_refusals.py::test_(a_mismatch|only_saved|all_images|existing|a_failing)",
    r"test_fetch_command.py::test_families.*45",
    r"test_fetch_hugging_face.py::test_the_last",
    r"test_fetch_verified.py::test_(a_value|of_plain|a_name_as|other_heads.*[12]|the_table|a_file_is)",
    r"test_fuse_networks.py::.*\[(mobilenet_v1|mobilenet_v3|inception_v2)|test_fuse_networks.py::test_saved",
    r"test_fuse_networks.py::test_(arguments|dtype_policies.*-mixed|slim_names|heads.*(classif|vector)|images.*e0)",
    r"test_hub_export.py::(test_(command|contract|hub_keras|training)|.*v2)",
    r"test_hub_modules.py::(?!test_every_output.*v1.*TF2)",
    r"test_info_measures.py::(.*(v3|inception|140_224)|test_the_output.*v2|test_one_model.*\[(224|192|160|128)|test_a_saved)|test_info_plot.py::",
    r"test_oracle.py::test_(names|inference|training|fused|made_up)",
    r"test_own_models.py::test_(.*nested_functional|momentum|preprocessing|.*layer_by_layer|a_new_head|few_changed|a_single)",
    r"test_packaging.py::test_conversion",
    r"test_pictures.py::test_(the_commands|labels)",
    r"test_predict_command.py::test_(a_broken|a_model_that|images_from|weights_that|notes_on.*(predict|evaluate)|the_panda.*224)",
    r"test_report_html.py::test_a_browser.*390",
    r"test_runtimes.py::test_a_runtime_that",
    r"test_training_parity.py::.*(inception|v3|iv2|slim.*v2|test_bessel|test_momentum)",
    r"test_trust_fuzz.py::.*HDF5 from elsewhere",
    r"test_trust_graphs.py::test_(modules_that|what_a_loader.*TF1|.*many nodes-True|.*extra_nodes)",
    r"test_trust_pair.py::test_a_replacement_that_is_killed.*\[[12]",
    r"test_trust_together.py::test_embed_with.*True",
    r"test_trust_properties.py::test_(two_scopes|scopes_and)|test_trust_properties.py::.*\[(mobilenet_v1|mobilenet_v3|inception_v2)",
    r"test_verify_faults.py::test_a_((right|bound|model).*(v2|inception)|sample.*(swapped|taken|zero)|bound)",
    r"test_verify_seeds.py::",
    r"test_verify_sources.py::test_(different|other_strides_that_can_be|a_graph|a_module|strides|the_exact|few)",
    r"test_verify_sources.py::.*(keepdims|offset|no bound|True|changes[12])",
]
# Sweeps that take minutes as a whole: the beginning of their names -> the sample that `.ci/run` runs. `make test-all`
# runs every case. A single slow test has the mark `long` instead.
# Of cases named after a network, MobileNet V2; where `make test` runs a case too, V1, which is smaller.
NETWORK, MOBILENETS = r"^[^(]*$|mobilenet_v2", r"^[^(]*$|mobilenet_v[12]"
SAMPLES = {
    "test_convert_parity.py::test_every_endpoint": "mobilenet_v1_025_128|mobilenet_v2_(035_96|140_224)|inception_v2",
    "test_convert_recognition.py::test_any_other_multiplier": "0.6|0.2|1.6",
    "test_convert_sources.py::": NETWORK,
    "test_build_first_stride.py::test_every_endpoint": "mobilenet_v2",
    "test_build_published.py::test_the_": "025_128|035_96|140_224|inception",
    "test_docs.py::test_code_runs": "README|parity|packages|trust",
    "test_hub_export.py::": MOBILENETS,
    "test_hub_modules.py::": MOBILENETS,
    "test_oracle.py::test_inference": "mobilenet_v1_025_128|x_v2_0.2|x_iv2_0.5",
    "test_trust_fuzz.py::test_damage": "V2|HDF5 from elsewhere",
    "test_verify_faults.py::test_a_sample": "mobilenet_v1",
}

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


def pytest_sessionstart():
    """Forgets the width of the terminal, which xdist passes on: what the commands print depends on it."""
    os.environ.pop("COLUMNS", None)


def pytest_collection_modifyitems(items):
    """Marks the cases that are not in the sample of their sweep as long, and what `make test` leaves out as slow."""
    left_out = re.compile("|".join(f"tests/{pattern}" for pattern in LEFT_OUT))
    for item in items:
        if left_out.search(item.nodeid):
            item.add_marker(pytest.mark.slow)
        for beginning, sample in SAMPLES.items():
            if f"tests/{beginning}" in item.nodeid and "[" in item.nodeid and not re.search(sample, item.nodeid):
                item.add_marker(pytest.mark.long)


@pytest.fixture(scope="module", autouse=True)
def _released_memory():
    """Frees the models and graphs of each file of tests."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()
    gc.collect()


@pytest.fixture(autouse=True)
def _no_kept_networks(request, monkeypatch):
    """Without the conversion of every network that `predict` runs, which takes seconds, but where it is tested."""
    if request.module.__name__ != "tests.test_predict_kept":
        monkeypatch.setattr("converters.images.kept_classifier.MOST_IMAGES", 0)


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder ``shared`` next to the checkout: real weights, a real hub module, photographs."""
    if not SHARED.is_dir():
        pytest.skip("the reference material (folder `shared` next to the checkout) is missing")
    return SHARED


@pytest.fixture
def server(request, monkeypatch):
    """A server on the loopback address that serves the ``BODY`` of the test's module."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(request.module.BODY) as files:
        yield files


@pytest.fixture
def published(monkeypatch, tmp_path, server):
    """That server in place of all others, its file as the archive of every model, and a cache of the test's own."""
    from checkpoints import archives, origins

    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MOBILENETS_MIRRORS", raising=False)
    monkeypatch.delenv("MOBILENETS_OFFLINE", raising=False)
    digest = hashlib.sha256(server.body).hexdigest()
    for name, (first, *_) in archives.REGISTRY.items():
        archive = first._replace(urls=(server.url(first.url.partition("://")[2]),), sha256=digest)
        monkeypatch.setitem(archives.REGISTRY, name, (archive,))
    monkeypatch.setattr(origins, "module_urls", lambda path: (server.url(f"tfhub-modules/{path}.tar.gz"),))
    return server
