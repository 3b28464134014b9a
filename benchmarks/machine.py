"""What the figures were measured on."""

import datetime
import importlib.metadata
import os
import pathlib
import platform

PACKAGES = [
    "tensorflow",
    "keras",
    "numpy",
    "tf-slim",
    "tf_keras",
    "ai-edge-litert",
    "onnx",
    "tf2onnx",
    "onnxruntime",
    "openvino",
    "torch",
    "transformers",
]


def cores() -> int:
    """Cores that this process may use; every runtime gets as many threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def describe() -> dict[str, str]:
    """Fact -> value: processor, cores, memory, system, load, date and the versions of what is installed."""
    facts = {
        "processor": _processor(),
        "cores": str(cores()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
        "date": datetime.date.today().isoformat(),
    }
    return facts | {package: version for package in PACKAGES if (version := _version(package))}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    facts = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    name = facts.get("model name", "").strip() or platform.processor() or platform.machine()
    # Some virtual machines hide the processor's name; what decides the speed of convolutions shows all the same.
    units = [unit for unit in ("avx2", "avx512f", "avx512_vnni", "amx_bf16") if unit in facts.get("flags", "").split()]
    return f"{name} ({', '.join(units)})" if units else name
