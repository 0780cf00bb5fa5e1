// A plugin that allocates in its constructor and destructor is loaded and unloaded many times; blocks pass
// between it and the program, and outlive it. argv[1]: how many times.
#include <dlfcn.h>

#include <filesystem>
#include <string>

#include "tests/victims/victim.h"

using namespace victim;

int main(int argc, char** argv) {
  const size_t times = size_argument(argc, argv, 1, 30);
  const std::string beside = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const std::string plugin = beside + "/plugin_allocates.so";
  char* outlives[100] = {};
  for (size_t i = 0; i < times; ++i) {
    void* handle = dlopen(plugin.c_str(), RTLD_NOW | RTLD_LOCAL);
    EXPECT(handle, "dlopen: %s", dlerror());
    auto* make = reinterpret_cast<void* (*)(size_t)>(dlsym(handle, "plugin_makes_a_block"));
    auto* take = reinterpret_cast<void (*)(void*)>(dlsym(handle, "plugin_frees"));
    EXPECT(make && take, "dlsym: %s", dlerror());
    auto* p = static_cast<char*>(make(5 * MiB));
    EXPECT(p && p[0] == 0x5A, "the plugin's block");
    free(p);
    take(must_malloc(5 * MiB));
    take(must_malloc(300));
    outlives[i % 100] = static_cast<char*>(make(4 * MiB + 4096 * i));
    EXPECT(dlclose(handle) == 0, "dlclose: %s", dlerror());
    EXPECT(outlives[i % 100][4 * MiB] == 0x5A || i == 0, "a block lost its data with its plugin");
    if (i % 2) free(outlives[i % 100]), outlives[i % 100] = nullptr;
  }
  for (char* p : outlives) free(p);
  return done();
}
