"""Lets PyPI's CUDA build of torch be imported on a machine without CUDA.

    cuda_stubs.py SITE_PACKAGES/torch/lib

The libraries of torch are linked to CUDA's, which are two more gigabytes and useless without a GPU. For each that is
missing this builds an empty one: the same soname, the same symbols under the same versions, and every function returns
100 (`cudaErrorNoDevice`), so that torch finds no device and goes on.
"""

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

CUDA = re.compile(r"lib(cu(?!da\.so)|nv|nccl)")
# Symbols without a version do not say which library they are from; their prefix does.
PREFIXES = {
    "libcudart": ("cuda", "__cuda"),
    "libcufile": ("cuFile",),
    "libnccl": ("nccl", "pnccl"),
    "libnvshmem_host": ("nvshmem",),
}
# These prefixes begin with another library's.
LONGER = {"libcublas": "cublasLt", "libcusparse": "cusparseLt"}
LIST = ".stubs"


def readelf(option, path):
    return subprocess.run(["readelf", "-W", option, path], check=True, capture_output=True, text=True).stdout


def needed(path):
    return [name for name in re.findall(r"\(NEEDED\).*\[(.+?)\]", readelf("-d", path)) if CUDA.match(name)]


def version_owners(path):
    """Version name -> the library it is wanted from."""
    owners, library = {}, None
    for line in readelf("-V", path).splitlines():
        if found := re.search(r"File: (\S+)", line):
            library = found[1]
        elif (found := re.search(r"Name: (\S+)\s+Flags", line)) and library:
            owners[found[1]] = library
    return owners


def symbols(path):
    """(name, version or None, whether it is defined here) of the dynamic symbols."""
    for line in readelf("--dyn-syms", path).splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[0].rstrip(":").isdigit():
            name, _, version = fields[7].partition("@")
            yield name, version.lstrip("@") or None, fields[6] != "UND"


def build(folder, soname, wanted):
    by_version = defaultdict(set)
    for name, version in wanted:
        by_version[version].add(name)
    names = sorted({name for name, _ in wanted})
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        scratch = Path(scratch)
        code, built = scratch / "stub.c", scratch / soname
        # An object file wants at least one definition.
        code.write_text("".join(f"int {name}(void) {{ return 100; }}\n" for name in names) or "int nothing_here;\n")
        command = ["gcc", "-w", "-shared", "-fPIC", "-fno-builtin", f"-Wl,-soname,{soname}", "-o", built, code]
        versions = sorted(version for version in by_version if version)
        if versions:
            script = scratch / "versions"
            script.write_text("".join(
                f"{version} {{ global: {' '.join(f'{name};' for name in sorted(by_version[version]))} }};\n"
                for version in versions
            ))
            command.append(f"-Wl,--version-script={script}")
        subprocess.run(command, check=True)
        # Replaced, never rewritten: a running vLLM may have the old one mapped.
        built.replace(folder / soname)


def main(folder):
    listed = folder / LIST
    stubs = set(listed.read_text().split()) if listed.exists() else set()
    real = [path for path in sorted(folder.glob("*.so*")) if path.name not in stubs]
    sonames, versioned, bare, defined = set(), defaultdict(set), set(), set()
    for path in real:
        sonames.update(needed(path))
        owners = version_owners(path)
        for name, version, is_here in symbols(path):
            if is_here:
                defined.add(name)
            elif version is None:
                bare.add(name)
            elif CUDA.match(owners.get(version, "")):
                versioned[owners[version]].add((name, version))
    missing = sorted(sonames - {path.name for path in real})
    for soname in missing:
        stem = soname.split(".so")[0]
        prefixes = PREFIXES.get(stem, (stem.removeprefix("lib"),))
        other = LONGER.get(stem)
        mine = {(name, None) for name in bare - defined
                if name.startswith(prefixes) and not (other and name.startswith(other))}
        build(folder, soname, mine | versioned[soname])
    listed.write_text("".join(f"{soname}\n" for soname in missing))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
