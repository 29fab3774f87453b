"""Where a run was made: machine, programs and their versions."""

import importlib.metadata
import os
import platform
from pathlib import Path

import psutil

from shared.broker import connect
from shared.settings import Settings

PACKAGES = (
    "almenara",
    "torch",
    "openvino",
    "rq",
    "celery",
    "celery-batches",
    "litserve",
    "mosec",
    "redis",
    "pillow",
    "httpx",
)


def describe(settings: Settings) -> dict[str, str]:
    """What a reader needs to judge the figures; asks the broker for its version."""
    about = connect(settings).info("server")
    broker = about.get("valkey_version") or about["redis_version"]
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "processor": _processor(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "broker": f"{about.get('server_name', 'redis')} {broker}, appendfsync always",
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
        "checkpoint": settings.checkpoint.name,
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{cores} cores of {platform.processor()}"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{cores} cores of {names[0]}" if names else f"{cores} cores"
