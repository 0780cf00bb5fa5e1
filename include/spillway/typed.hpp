// typed.hpp - structured data read in place from shared memory: everything under spillway/typed/, at once.
//
// Build: builder over a sink (typed/builder.hpp, stream.hpp). Read: blob::open or verify, then root<T>
// (typed/view.hpp). Format: docs/typed_format.md. With -DSPILLWAY_TYPED_LZ4 (and -llz4) long texts are
// compressed.
#pragma once
#include "spillway/typed/blob.hpp"
#include "spillway/typed/builder.hpp"
#include "spillway/typed/copy.hpp"
#include "spillway/typed/describe.hpp"
#include "spillway/typed/dump.hpp"
#include "spillway/typed/mapping.hpp"
#include "spillway/typed/search.hpp"
#include "spillway/typed/section.hpp"
#include "spillway/typed/set_algebra.hpp"
#include "spillway/typed/sink.hpp"
#include "spillway/typed/stream.hpp"
#include "spillway/typed/verify.hpp"
#include "spillway/typed/view.hpp"
