"""Builds the extension beside the headers of this source tree: pip install --no-build-isolation bindings/python.

Needs a C++20 compiler, pybind11 (python3-pybind11 or pybind11-dev) and liblz4; no network. A copy of this folder alone takes the
headers that `make install` has put beside the compiler's own, or those in $SPILLWAY_INCLUDE.
"""
import os
import pathlib

from setuptools import Extension, setup

here = pathlib.Path(__file__).resolve().parent
places = [os.environ.get("SPILLWAY_INCLUDE", here.parent.parent / "include"), "/usr/local/include", "/usr/include"]
include = [str(place) for place in places if (pathlib.Path(place) / "spillway/typed.hpp").exists()][:1]
if not include:
    raise SystemExit(f"setup.py: no spillway/typed.hpp in {', '.join(map(str, places))}; expected the folder where it lies, in "
                     "bindings/python of the source tree, or the headers installed, or SPILLWAY_INCLUDE=DIR")
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
