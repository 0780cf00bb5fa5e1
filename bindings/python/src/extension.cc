// extension.cc - all of the extension as one translation unit, which is what is compiled.
//
// Apart, each of these files takes 10 s before its first line of its own: pybind11 and the typed headers,
// read and their inline functions compiled again. 185 s of processor time for nine files, 50 for this one.
#include "arguments.cc"
#include "convert.cc"
#include "decode.cc"
#include "encode.cc"
#include "encode_record.cc"
#include "module.cc"
#include "record_view.cc"
#include "views.cc"
#include "writer.cc"
