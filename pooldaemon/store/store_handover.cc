// store_handover.cc - large objects' memory goes from a daemon that ends in order to the one after it,
// through the service manager, so that an upgrade does not empty the pool. What is handed over is on disk,
// too (drain came first): a descriptor that gets lost costs a read, and one that is not what the manifest
// says is left.
#include <algorithm>
#include <charconv>

#include "base/core/units.h"
#include "pooldaemon/store/store.h"

namespace spillway::pool {
namespace {

// "object-ID-CHECKSUM-USED": what must be so of the object, and when it was last used (the machine's clock).
constexpr std::string_view kPrefix = "object-";

bool parse(std::string_view name, std::array<uint64_t, 3>& numbers) {
  if (!name.starts_with(kPrefix)) return false;
  name.remove_prefix(kPrefix.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), numbers[i], 16);
    if (error != std::errc()) return false;
    name.remove_prefix(static_cast<size_t>(end - name.data()));
    if (i + 1 == numbers.size()) return name.empty();
    if (!name.starts_with('-')) return false;
    name.remove_prefix(1);
  }
  return false;
}

}  // namespace

size_t Store::hand_over(const std::function<bool(const std::string& name, int fd)>& keep, size_t most) {
  hear_all();
  refresh_uses();
  std::vector<const Object*> all;
  for (const Object* o : table_)
    // A user's file may have been changed since; it has no checksum.
    if (o != nullptr && o->memory && o->memory->large && o->disk && o->disk->listed && !o->disk->users &&
        o->disk->checksum != 0)
      all.push_back(o);
  std::sort(all.begin(), all.end(), [](const Object* a, const Object* b) { return a->used_ns > b->used_ns; });
  if (all.size() > most) all.resize(most);
  size_t kept = 0;
  for (const Object* o : all) {
    const int fd = o->memory->fd().get();
    // Its maker may have the buffer it lies in mapped until it sees that we have gone; from now on nobody
    // else.
    if (!os::is_sealed_for_others(fd) && !os::seal_memfd_for_others(fd).ok()) continue;
    if (!keep(fmt::format("{}{:x}-{:x}-{:x}", kPrefix, o->id, o->disk->checksum, o->used_ns), fd)) break;
    ++kept;
  }
  return kept;
}

size_t Store::take_over(std::vector<HandedOver> all) {
  struct Offer {
    Object* object;
    uint64_t used_ns;
    os::Fd fd;
  };
  std::vector<Offer> offers;
  for (HandedOver& handed : all) {
    std::array<uint64_t, 3> numbers;
    if (!parse(handed.name, numbers)) continue;
    Object* const o = object_by(numbers[0]);
    const bool same = o != nullptr && o->disk && !o->memory && o->state == wire::Residency::kSpilled &&
                      o->bytes >= wire::kLargeBytes && o->disk->checksum == numbers[1] && numbers[1] != 0;
    if (!same || os::length_of(handed.fd.get()) < o->bytes || !os::is_sealed_for_others(handed.fd.get()))
      continue;
    offers.push_back({o, numbers[2], std::move(handed.fd)});
  }
  // The last used first: the limit may be lower than it was.
  std::sort(offers.begin(), offers.end(),
            [](const Offer& a, const Offer& b) { return a.used_ns > b.used_ns; });
  std::vector<Object*> taken;
  for (Offer& offer : offers) {
    if (offer.object->memory) continue;  // kept twice
    // A buffer may be longer than the object in it.
    const uint64_t bytes =
        std::max(round_up(offer.object->bytes, kPageBytes), os::allocated_bytes(offer.fd.get()));
    if (used_with(bytes, std::nullopt) > room_limit()) continue;
    auto memory = make_ref<Memory>(*this);
    memory->take(std::move(offer.fd));
    memory->charge = bytes;
    charged_bytes_ += bytes;
    offer.object->memory = std::move(memory);
    offer.object->state = wire::Residency::kBoth;
    offer.object->used_ns = offer.used_ns;
    taken.push_back(offer.object);
  }
  for (auto o = taken.rbegin(); o != taken.rend(); ++o) policy_.insert(**o);
  return taken.size();
}

}  // namespace spillway::pool
