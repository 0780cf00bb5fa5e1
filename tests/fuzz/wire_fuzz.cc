// wire_fuzz.cc - any bytes at all to what reads the pool's messages, object headers and manifests.
// The sources are included: the fuzz script builds one file.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <string>

#include "base/os/fatal.cc"
#include "base/os/file.cc"
#include "base/os/memfd.cc"
#include "base/os/socket.cc"
#include "libpool/wire/channel.cc"

using namespace spillway;

namespace {

void must(bool holds, const char* what) {
  if (!holds) os::die("does not hold: %s", what);
}

// The bytes in pieces, as a stream may deliver them: the frames are the same.
std::string frames_of(std::string_view bytes, size_t piece) {
  wire::Assembler assembler;
  wire::Frame frame;
  std::string seen;
  while (true) {
    switch (assembler.next(frame)) {
      case wire::Assembler::Next::kNonsense:
        return seen + "!";
      case wire::Assembler::Next::kFrame:
        must(frame.payload.size() == frame.header.payload_bytes, "a frame has as many bytes as it says");
        seen += std::to_string(frame.header.verb) + ":" + frame.payload + ";";
        continue;
      case wire::Assembler::Next::kIncomplete:
        break;
    }
    if (bytes.empty()) return seen;
    size_t capacity = 0;
    char* const room = assembler.room(capacity);
    must(capacity > 0, "there is room for more");
    os::Received received;
    received.bytes = std::min({capacity, piece, bytes.size()});
    memcpy(room, bytes.data(), received.bytes);
    bytes.remove_prefix(received.bytes);
    assembler.took(received);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  must(frames_of(bytes, 1) == frames_of(bytes, 1 << 20), "frames do not depend on how the bytes arrive");

  wire::Reader r(bytes);
  while (r.ok() && r.left() > 0) {
    const uint8_t kind = r.number<uint8_t>();
    const size_t before = r.left();
    if (kind % 4 == 0) (void)r.number<uint64_t>();
    if (kind % 4 == 1) must(r.bytes(100).size() <= 100, "a string is no longer than its cap");
    if (kind % 4 == 2)
      must(r.choice(wire::Hint::kRecomputable) <= wire::Hint::kRecomputable, "an enum is one of its values");
    if (kind % 4 == 3) (void)r.number<uint16_t>();
    must(r.left() <= before, "a reader does not go back");
  }
  if (!r.ok())
    must(r.left() == 0 && r.number<uint64_t>() == 0 && r.bytes(10).empty(), "after a failure all is empty");
  return 0;
}
