#!/usr/bin/env python3
"""Instructions per inference on ARM, of edgecnn and of onnxruntime, counted by qemu on one thread.

    .venv/bin/python tools/arm/instructions.py resnet18 mobilenet_v2 --size 96

Needs what `make test-arm` needs (Debian or Ubuntu; qemu 4.2 to 8.2 for the plug-in) and keeps everything in ./arm. The
instructions of loading and preparing are subtracted: (those of RUNS[1] inferences - those of RUNS[0]) / the difference.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ARM = ROOT / "arm"
SITE = ARM / "onnxruntime"
RUNS = 2, 6
TAGS = "manylinux2014", "manylinux_2_26", "manylinux_2_27", "manylinux_2_28"
CPU = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3
"""


def prepare() -> None:
    """The plug-in, edgecnn and onnxruntime for aarch64."""
    ARM.mkdir(exist_ok=True)
    source, plugin = ROOT / "tools/arm/count.c", ARM / "libcount.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", source, "-o", plugin], check=True)
    subprocess.run([ROOT / "tools/arm/python.sh", ARM], check=True, cwd=ROOT)
    version = "{}.{}".format(*sys.version_info)
    if not (SITE / ".done").exists():
        platforms = [f"--platform={tag}_aarch64" for tag in TAGS]
        abis = [f"--abi={abi}" for abi in (f"cp{version.replace('.', '')}", "abi3", "none")]
        subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--target", SITE,
                        "--upgrade", f"--python-version={version}", "--implementation=cp", *abis, *platforms,
                        "--only-binary=:all:", "onnxruntime"], check=True)
        (SITE / ".done").touch()
    describe_processor(ARM / "sysroot")


def describe_processor(sysroot: Path) -> None:
    """onnxruntime reads what kind of processor it has from /proc and /sys, of which emulation shows the host's."""
    cpus = sysroot / "sys/devices/system/cpu"
    files = {sysroot / "proc/cpuinfo": CPU, cpus / "kernel_max": "255\n"}
    files |= {cpus / name: "0-0\n" for name in ("possible", "present", "online")}
    files |= {cpus / "cpu0/topology" / name: "0\n"
              for name in ("physical_package_id", "core_id", "core_siblings_list", "thread_siblings_list")}
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def export(network: str) -> Path:
    """NETWORK.ecnn and NETWORK.onnx of edgecnn.models; the path without the ending."""
    import edgecnn as ec

    model, path = getattr(ec.models, network)(), ARM / "networks" / network
    path.parent.mkdir(exist_ok=True)
    model.save(path.with_suffix(".ecnn"))
    model.export_onnx(path.with_suffix(".onnx"))
    return path


def count(engine: str, network: Path, size: int, runs: int) -> tuple[int, list[float]]:
    """Instructions of the whole process, and the first outputs."""
    result = ARM / "instructions"
    file = network.with_suffix(".onnx" if engine == "onnxruntime" else ".ecnn")
    environment = os.environ | {"QEMU_PLUGIN": f"{ARM / 'libcount.so'},out={result}"}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # the plug-in counts exactly for one thread only
    environment |= {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}  # the same start every time
    done = subprocess.run([ROOT / "tools/arm/qemu.sh", ARM, ROOT / "tools/arm/infer.py", engine, file, str(size), str(runs)],
                          env=environment, check=True, capture_output=True, text=True)
    return int(result.read_text()), [float(v) for v in done.stdout.split()]


def per_inference(engine: str, network: Path, size: int) -> tuple[float, list[float]]:
    few, y = count(engine, network, size, RUNS[0])
    many, _ = count(engine, network, size, RUNS[1])
    return (many - few) / (RUNS[1] - RUNS[0]), y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["mobilenet_v2", "resnet18"], metavar="NETWORK")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--convolution", nargs="*", default=[], metavar="ALGORITHM", help="also with this one forced")
    args = parser.parse_args()
    prepare()
    print("| network | engine | million instructions | of onnxruntime's | largest difference |\n|---|---|---|---|---|")
    for network in args.networks:
        path, peer = export(network), None
        for engine in ["onnxruntime", "edgecnn", *(f"edgecnn:{a}" for a in args.convolution)]:
            instructions, y = per_inference(engine, path, args.size)
            peer = peer or (instructions, y)
            difference = max(abs(a - b) for a, b in zip(y, peer[1], strict=True)) / max(map(abs, peer[1]))
            cells = f"{instructions / 1e6:.1f} | {instructions / peer[0]:.2f} | {difference:.0e}"
            print(f"| {network} {args.size}x{args.size} | {engine} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
