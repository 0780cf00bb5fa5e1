// section.hpp - parts of a blob built apart (by other threads, in other processes) and put together by
// memcpy.
//
// References are self-relative and stay inside a section, so a section is right wherever it lies, at a
// multiple of 64. Its record types must be those of the blob: give every pool_builder the same registry.
#pragma once
#include "spillway/typed/builder.hpp"

namespace spillway::typed {

// Closed objects and the types they use. Positions count as if the section's first byte were kHeaderBytes.
struct section {
  std::vector<std::byte> bytes;
  registry types;
};

class pool_builder {
 public:
  explicit pool_builder(const registry& types = {}, build_options options = {})
      : builder_(out_, std::move(options)) {
    builder_.registry().adopt(types);
  }
  builder& build() { return builder_; }
  std::uint64_t size() const { return out_.position() - kHeaderBytes; }
  // What was added so far; the pool_builder is used up.
  section take() {
    section s;
    out_.pad(round_up(out_.position(), 64) - out_.position());
    s.bytes = out_.take();
    s.bytes.erase(s.bytes.begin(), s.bytes.begin() + static_cast<std::ptrdiff_t>(kHeaderBytes));
    s.types = builder_.registry();
    return s;
  }

 private:
  memory_sink out_;
  builder builder_;
};

// Where a section came to lie: turns its references into the blob's.
class placed_section {
 public:
  explicit placed_section(std::uint64_t start) : start_(start) {}
  template <class R>
  R operator()(R r) const {
    r.position += start_ - kHeaderBytes;
    return r;
  }

 private:
  std::uint64_t start_;
};

// Errors (thrown): incompatible when the section's types are not the blob's, or the first of them.
inline placed_section append(builder& b, const section& s) {
  if (!b.registry().begins_with(s.types)) {
    if (!s.types.begins_with(b.registry()))
      fail(errc::incompatible, "a section: its record types are not the blob's");
    b.registry().adopt(s.types);
  }
  sink& out = b.writer().out();
  out.pad(round_up(out.position(), 64) - out.position());
  const std::uint64_t start = out.position();
  out.append(s.bytes.data(), s.bytes.size());
  return placed_section(start);
}

}  // namespace spillway::typed
