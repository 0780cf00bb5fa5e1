#include "libpool/segstore/shared_files.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace spillway::segstore {
namespace {

constexpr const char* kSharedMemory = "/dev/shm";
constexpr const char* kPrefix = "spillway-store-";
constexpr const char* kPrefixInStore = "index-";

std::optional<IndexHeader> head_of(int directory, const std::string& name) {
  IndexHeader head{};
  Result<os::Fd> fd = os::open_in(directory, name.c_str(), os::OpenFor::kReading);
  Result<uint64_t> got = fd ? os::read_some(fd->get(), &head, sizeof head, 0) : fd.error();
  if (!got || *got < sizeof head) return std::nullopt;
  head.store_path[sizeof head.store_path - 1] = '\0';
  return head;
}

bool is_of(const IndexHeader& head, const os::FileFacts& directory) {
  return head.directory_inode == directory.inode && head.directory_device == directory.device;
}

const char* directory_for(const std::string& index_directory) {
  return index_directory.empty() ? kSharedMemory : index_directory.c_str();
}

}  // namespace

Result<std::vector<std::string>> new_shared_names(int directory, const std::string& index_directory) {
  uint64_t number = 0;
  if (Errno e = os::random_bytes(&number, sizeof number); !e.ok()) return e;
  Result<os::FileFacts> facts = os::facts_of(directory);
  if (!facts) return facts.error();
  char text[17];
  snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
  std::vector<std::string> names;
  names.push_back(std::string(directory_for(index_directory)) + "/" + kPrefix + std::to_string(facts->owner) +
                  "-" + text);
  names.push_back(std::string(kPrefixInStore) + text);
  return names;
}

Errno fill_head(IndexHeader& head, int directory, const std::string& path, const std::string& boot_id) {
  Result<os::FileFacts> facts = os::facts_of(directory);
  if (!facts) return facts.error();
  head.directory_device = facts->device;
  head.directory_inode = facts->inode;
  memcpy(head.boot_id, boot_id.data(), std::min(boot_id.size(), sizeof head.boot_id - 1));
  memcpy(head.store_path, path.data(), std::min(path.size(), sizeof head.store_path - 1));
  return {};
}

void remove_shared_file(int directory, const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const bool is_in_store = slash == std::string::npos && name.rfind(kPrefixInStore, 0) == 0;
  if (!is_in_store && name.rfind(kPrefix, 0) != 0) return;
  Result<os::FileFacts> own = os::facts_of(directory);
  std::optional<IndexHeader> head = head_of(directory, path);
  if (is_in_store || (own && head && is_of(*head, *own))) (void)os::unlink_in(directory, path.c_str());
}

void sweep_shared_files(int store, const std::string& index_directory,
                        const std::vector<std::string>& in_use) {
  Result<os::Fd> directory = os::open_directory(directory_for(index_directory), false);
  Result<os::FileFacts> own = os::facts_of(store);
  if (!directory || !own) return;
  struct Context {
    std::string prefix;
    std::vector<std::string> names;
  } context{kPrefix + std::to_string(own->owner) + "-", {}};
  (void)os::list_names(
      directory->get(),
      [](void* to, const char* name) {
        auto& found = *static_cast<Context*>(to);
        if (strncmp(name, found.prefix.c_str(), found.prefix.size()) == 0) found.names.emplace_back(name);
      },
      &context);
  for (const std::string& name : context.names) {
    const std::optional<IndexHeader> head = head_of(directory->get(), name);
    if (!head || head->store_path[0] != '/') continue;
    bool is_left_over = false;
    if (is_of(*head, *own)) {
      const std::string path = std::string(directory_for(index_directory)) + "/" + name;
      is_left_over = std::find(in_use.begin(), in_use.end(), path) == in_use.end();
    } else if (head->magic == kIndexMagic || head->magic == kRingMagic) {
      Result<os::Fd> home = os::open_directory(head->store_path, false);
      is_left_over = !home && home.error() == ENOENT;
      if (home) {
        Result<os::FileFacts> facts = os::facts_of(home->get());
        is_left_over = facts && !is_of(*head, *facts);
      }
    }
    if (is_left_over) (void)os::unlink_in(directory->get(), name.c_str());
  }
}

std::string foreign_name(int directory) {
  std::string found;
  (void)os::list_names(
      directory,
      [](void* to, const char* name) {
        for (const char* own : {"LOCK", "CONTROL", "RESERVE", "MANIFEST.new", "lost+found"})
          if (strcmp(name, own) == 0) return;
        if (strncmp(name, kPrefixInStore, strlen(kPrefixInStore)) != 0) *static_cast<std::string*>(to) = name;
      },
      &found);
  return found;
}

}  // namespace spillway::segstore
