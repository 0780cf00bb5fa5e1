#include "libpreload/callsite.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace spillway {
namespace {

// A name of this library, to recognise its own frames.
const void* own_base() {
  static const void* base = nullptr;
  Dl_info info{};
  if (base == nullptr && dladdr(reinterpret_cast<const void*>(&own_base), &info) != 0) base = info.dli_fbase;
  return base;
}

const char* file_name(const char* path) {
  const char* slash = strrchr(path, '/');
  return slash != nullptr ? slash + 1 : path;
}

}  // namespace

void CallSites::load_unwinder() {
  void* library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return;
  // The name <libunwind.h> maps unw_backtrace() to on every architecture.
  backtrace_ = reinterpret_cast<int (*)(void**, int)>(dlsym(library, "unw_backtrace"));
}

CallSite* CallSites::find(void* const* frames) {
  uint64_t hash = 0;
  for (int i = 0; i < CallSite::kFrames; ++i)
    hash = (hash ^ reinterpret_cast<uint64_t>(frames[i])) * 0x9E3779B97F4A7C15u;  // Fibonacci hashing
  for (size_t probe = 0; probe < kSites; ++probe) {
    CallSite& site = sites_[((hash >> 32) + probe) % kSites];
    bool unused = false;
    if (!site.used.load(std::memory_order_acquire)) {
      // Two threads may enter one place twice; the report then shows it in two lines.
      if (site.used.compare_exchange_strong(unused, true)) {
        std::copy(frames, frames + CallSite::kFrames, site.frames);
        site.readable.store(true, std::memory_order_release);
        return &site;
      }
    }
    if (site.readable.load(std::memory_order_acquire) &&
        std::equal(frames, frames + CallSite::kFrames, site.frames))
      return &site;
  }
  return nullptr;
}

CallSite* CallSites::note(uint64_t bytes) {
  if (backtrace_ == nullptr) return nullptr;
  // The unwinder may allocate; such a block is not anybody's call site.
  static thread_local bool busy = false;
  if (busy) return nullptr;
  busy = true;
  void* stack[24] = {};
  const int depth = backtrace_(stack, 24);
  busy = false;

  void* frames[CallSite::kFrames] = {};
  int kept = 0;
  for (int i = 0; i < depth && kept < CallSite::kFrames; ++i) {
    Dl_info info{};
    if (kept == 0 && dladdr(stack[i], &info) != 0 && info.dli_fbase == own_base()) continue;
    frames[kept++] = stack[i];
  }
  if (kept == 0) return nullptr;
  CallSite* site = find(frames);
  if (site != nullptr) {
    site->bytes.fetch_add(bytes, std::memory_order_relaxed);
    site->calls.fetch_add(1, std::memory_order_relaxed);
  }
  return site;
}

size_t CallSites::top(CallSite** sites, size_t count) {
  size_t found = 0;
  for (CallSite& site : sites_) {
    if (!site.readable.load(std::memory_order_acquire) || site.calls == 0) continue;
    // Insertion into a short sorted list.
    size_t at = std::min(found, count);
    while (at > 0 && sites[at - 1]->bytes < site.bytes) --at;
    if (at == count) continue;
    found = std::min(found + 1, count);
    for (size_t i = found - 1; i > at; --i) sites[i] = sites[i - 1];
    sites[at] = &site;
  }
  return found;
}

void describe(const CallSite& site, char* text, size_t bytes) {
  size_t used = 0;
  text[0] = '\0';
  for (void* frame : site.frames) {
    if (frame == nullptr || used + 1 >= bytes) break;
    Dl_info info{};
    // A return address is one past the call; a call at a function's end must not name the next function.
    const char* address = static_cast<const char*>(frame) - 1;
    const char* arrow = used != 0 ? "  <- " : "";
    int n;
    if (dladdr(address, &info) == 0)
      n = snprintf(text + used, bytes - used, "%s%p", arrow, frame);
    else if (info.dli_sname != nullptr)
      n = snprintf(
          text + used, bytes - used, "%s%s+0x%zx (%s)", arrow, info.dli_sname,
          static_cast<size_t>(static_cast<const char*>(frame) - static_cast<const char*>(info.dli_saddr)),
          file_name(info.dli_fname));
    else
      n = snprintf(
          text + used, bytes - used, "%s%s+0x%zx", arrow, file_name(info.dli_fname),
          static_cast<size_t>(static_cast<const char*>(frame) - static_cast<const char*>(info.dli_fbase)));
    if (n > 0) used = std::min(used + static_cast<size_t>(n), bytes - 1);
  }
}

}  // namespace spillway
