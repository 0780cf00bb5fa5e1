#include "pooldaemon/store/hosted_stores.h"

namespace spillway::pool {

std::string HostedStores::open(const std::vector<std::string>& directories) {
  for (const std::string& directory : directories) {
    StoreResult<spillway::Store> store = spillway::Store::open_shared(directory);
    if (!store) return "stores: " + store.status().message();
    stores_.push_back(std::move(*store));
  }
  return "";
}

}  // namespace spillway::pool
