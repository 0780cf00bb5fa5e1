"""Builds the extension beside the headers of this source tree: pip install --no-build-isolation bindings/python.

Needs a C++20 compiler, pybind11 (python3-pybind11 or pybind11-dev) and liblz4; no network.
"""
import pathlib

from setuptools import Extension, setup

here = pathlib.Path(__file__).resolve().parent
include = [str(here.parent.parent / "include")]
try:
    import pybind11
    include.append(pybind11.get_include())
except ImportError:
    pass  # pybind11-dev puts its headers where the compiler looks

setup(
    name="spillway",
    version="0.1.0",
    description="Objects that processes share without copying: the pool, the segment store, typed buffers",
    license="BSD-2-Clause",
    python_requires=">=3.10",
    install_requires=["numpy"],
    packages=["spillway"],
    package_data={"spillway": ["py.typed", "*.pyi"]},
    ext_modules=[Extension("spillway._spillway", ["src/extension.cc"], depends=sorted(str(p.relative_to(here)) for p in (here / "src").iterdir()),
                           include_dirs=include, libraries=["lz4"], language="c++", define_macros=[("SPILLWAY_TYPED_LZ4", "1")],
                           extra_compile_args=["-std=c++20", "-O2", "-g0", "-fvisibility=hidden"])],
)
