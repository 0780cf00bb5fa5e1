// extension.cc - all of the extension as one translation unit, which is what is compiled.
//
// Apart, each of these files reads pybind11 and the typed headers, and compiles their inline functions again:
// 185 s of processor time for nine files, 55 for this one.
#include "arguments.cc"
#include "convert.cc"
#include "decode.cc"
#include "encode.cc"
#include "encode_record.cc"
#include "module.cc"
#include "record_view.cc"
#include "views.cc"
#include "writer.cc"
